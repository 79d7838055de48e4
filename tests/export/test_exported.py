"""ONNX and torch.export of both architectures and every kind of backbone: the maps of PyTorch, at sizes that no example
had."""

import json
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import BACKBONE_REGISTRY, build_model
from PIL import Image
from tiny_runs import NARROW

from gbw_panoptic import load
from gbw_panoptic.data import register_all
from gbw_panoptic.engine.description import build_model_description
from gbw_panoptic.engine.settings import build_settings
from gbw_panoptic.errors import UserError
from gbw_panoptic.export import onnx_file
from gbw_panoptic.export.checking import compare
from gbw_panoptic.export.graphs import graph_of

ROOT = Path(__file__).parents[2]
CENTRES = (
    "MODEL.PANOPTIC_DEEPLAB.CENTER_THRESHOLD",
    0.0,
    "MODEL.PANOPTIC_DEEPLAB.TOP_K_INSTANCE",
    30,
    "MODEL.PANOPTIC_DEEPLAB.STUFF_AREA",
    9,
)
MASKS = (
    "MODEL.MASK2FORMER.OBJECT_THRESHOLD", 0.0, "MODEL.MASK2FORMER.OVERLAP_THRESHOLD", 0.0,
    "MODEL.MASK2FORMER.ENCODER_LAYERS", 1,
    "MODEL.MASK2FORMER.DECODER_LAYERS", 2, "MODEL.MASK2FORMER.NUM_QUERIES", 12, "MODEL.MASK2FORMER.HIDDEN_DIM", 32,
)  # fmt: skip
PYRAMID = (
    "MODEL.SEM_SEG_HEAD.IN_FEATURES",
    "['res2', 'res3', 'res5']",
    "MODEL.INS_EMBED_HEAD.IN_FEATURES",
    "['res2', 'res3', 'res5']",
)
VIT = (
    "quick/source_only.yaml", *NARROW, *CENTRES, *PYRAMID, "MODEL.BACKBONE.NAME", "build_vit_backbone",
    "MODEL.VIT.PYRAMID_CHANNELS", 32,
    "MODEL.VIT.OUT_FEATURES", "['res2', 'res3', 'res5']", "MODEL.VIT.VARIANT",
)  # fmt: skip
#: Name -> configuration and overrides. Between them: two architectures, two kinds of heads, all kinds of backbones,
#: both orders of channels, both tasks.
MODELS = {
    "resnet": ("quick/source_only.yaml", *NARROW, *CENTRES, "INPUT.FORMAT", "BGR"),
    "mit_daformer": ("streets/panoptic_deeplab_mit_b0_source_only.yaml", *CENTRES),
    "efficientnet": ("demo/source_only.yaml", *CENTRES),
    "compact_semantic": ("study/source_only.yaml", *CENTRES, "MODEL.TASK", "semantic", "WEIGHTING.CENTER", "none",
                         "WEIGHTING.OFFSET", "none"),
    "mask2former": ("quick/mask2former_source_only.yaml", *MASKS),
    "mask2former_swin": ("quick/mask2former_source_only.yaml", *MASKS, "MODEL.BACKBONE.NAME", "build_swin_backbone",
                         "MODEL.SWIN.WINDOW_SIZE", 3),
    "eomt": ("streets/eomt_source_only.yaml", *MASKS),  # untrained: its masks are on
    "dinov2": (*VIT, "dinov2_tiny"),  # its table of positions is enlarged by a factor
    "dinov3": (*VIT, "dinov3_tiny"),
    "convnext": (
        "quick/source_only.yaml", *NARROW, *CENTRES, *PYRAMID, "MODEL.BACKBONE.NAME", "build_timm_backbone",
        "MODEL.TIMM.NAME", "convnext_atto",
        "MODEL.TIMM.OUT_FEATURES", "['res2', 'res3', 'res5']",
    ),
}  # fmt: skip


def random_model(configured, folder: Path, config: str, *opts):
    """A model of a configuration with random weights of some size, as a file that brings everything along."""
    register_all()
    cfg = configured(config, folder, *opts, "MODEL.DEVICE", "cpu")
    torch.manual_seed(0)
    network = build_model(cfg).eval()
    for name, parameter in network.named_parameters():
        if "predictor" in name and parameter.ndim > 1:  # decided outputs, neither all of them about 0 nor saturated
            torch.nn.init.normal_(parameter, std=0.15 if "mask_predictor" in name else 0.5)
    contents = {"model": network.state_dict(), "settings": build_settings(cfg).values}
    torch.save({**contents, "description": build_model_description(cfg).state_dict()}, folder / "model.pth")
    return load(folder / "model.pth", scores=False, resize=0)


def images(folder: Path, sizes=((64, 96), (33, 130), (101, 75))) -> Path:
    folder.mkdir()
    for number, size in enumerate(sizes):
        small = np.random.default_rng(number).integers(0, 256, (5, 7, 3), np.uint8)
        Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


def test_every_backbone_of_this_package_is_among_them(configured, tmp_path):
    names = {name for name, build in BACKBONE_REGISTRY if build.__module__.startswith("gbw_panoptic.")}
    assert len(names) > 3 and names <= {
        configured(config, tmp_path, *opts).MODEL.BACKBONE.NAME for config, *opts in MODELS.values()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_onnx_of_every_network_gives_the_maps_of_pytorch(configured, tmp_path, name):
    onnx = pytest.importorskip("onnx")
    config, *opts = MODELS[name]
    model = random_model(configured, tmp_path, config, *opts)
    path = onnx_file.write_onnx(model, tmp_path)
    proto = onnx.load(str(path))
    onnx.checker.check_model(proto, full_check=True)
    assert {entry.domain: entry.version for entry in proto.opset_import}[""] == onnx_file.OPSET
    about = {entry.key: entry.value for entry in proto.metadata_props}
    assert (
        json.loads(about["classes"])[0] == "road"
        and about["channel_order"] == "RGB"
        and about["label_divisor"] == "1000"
    )
    agreement = compare(model, "onnx", tmp_path, [str(images(tmp_path / "images"))])
    assert agreement.images == 3 and set(agreement.differing) == (
        {"semantic"} if "semantic" in name else {"semantic", "panoptic"}
    )
    # random heat maps have plateaus, where rounding makes one centre more or less, and other numbers behind it
    assert agreement.differing["semantic"] <= 0.001 * agreement.pixels and agreement.images_alike >= 2, agreement
    black = np.zeros((40, 64, 3), np.uint8)
    found = onnx_file.runner(path)(black)
    assert all(one.dtype == np.int32 and one.shape == (40, 64) for one in found)


@pytest.mark.slow
def test_the_tool_writes_all_forms_checks_them_and_a_script_without_torch_runs_the_file(configured, run_tool, tmp_path):
    pytest.importorskip("onnxruntime")
    config, *opts = MODELS["resnet"]
    random_model(configured, tmp_path, config, *opts)
    pictures, folder = images(tmp_path / "images"), tmp_path / "out"
    forms = ("--to", "safetensors", "onnx", "torch", "--output", folder, "--check", pictures, "--num", 2)
    made = run_tool(
        "tools/export.py",
        tmp_path / "model.pth",
        *forms,
        "--opts",
        "INPUT.MIN_SIZE_TEST",
        64,
        "INPUT.MAX_SIZE_TEST",
        256,
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout.count("2 images, ") == 2 and "semantic 0 (0.0000 %)" in made.stdout
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.onnx",
        "model.pt2",
        "model.safetensors",
    ]
    command = [
        sys.executable,
        ROOT / "tools" / "run_onnx.py",
        folder / "model.onnx",
        pictures / "0.png",
        tmp_path / "overlay.png",
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert Image.open(tmp_path / "overlay.png").size == (96, 64)
    expected = load(folder, scores=False).predict(pictures / "0.png")  # of the size that the network sees
    assert len(said) == len(expected.segments) and said[0].startswith(expected.segments[0].name)
    program = torch.export.load(folder / "model.pt2").module()
    assert np.array_equal(program(torch.from_numpy(expected.image))[1].numpy(), expected.panoptic)


def test_what_cannot_be_exported_is_one_sentence(configured, tmp_path, monkeypatch):
    config, *opts = MODELS["resnet"]
    model = random_model(configured, tmp_path, config, *opts)
    network = model.predictor.model
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"ONNX: expected the package onnxscript.*gbw-panoptic\[export\]"):
        onnx_file.write_onnx(model, tmp_path)
    assert not list(tmp_path.glob("*.onnx"))
    network.post_processing = replace(network.post_processing, top_k=1001)
    with pytest.raises(UserError, match="TOP_K_INSTANCE: expected at most 1000 for an export, found 1001"):
        graph_of(model)
    with pytest.raises(UserError, match="--check: expected images|expected images or videos"):
        compare(model, "onnx", tmp_path, [str(tmp_path)])


def test_a_check_of_no_graph_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    main = runpy.run_path(str(ROOT / "tools" / "export.py"), run_name="export")["main"]
    words = ("export.py", "nowhere", "--to", "safetensors", "--output", tmp_path / "out", "--check", tmp_path)
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    with pytest.raises(UserError, match="--check: expected onnx or torch behind --to"):
        main()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"), [((), "usage: "), (("no.onnx", "no.png", "out.png"), "error: expected a file at no.onnx")]
)
def test_the_script_says_what_it_misses(words, said, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(sys, "argv", ["run_onnx.py", *words])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(ROOT / "tools" / "run_onnx.py"))
    assert capsys.readouterr().err.startswith(said)
