"""The correction of the decision by tau: one bias, its priors, and its curve; scores with true parts."""

import json

import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from tiny_runs import NARROW

import gbw_panoptic.modeling  # noqa: F401
from gbw_panoptic.data.statistics import ClassStatistics
from gbw_panoptic.engine.evaluation import evaluate
from gbw_panoptic.errors import UserError
from gbw_panoptic.taxonomy import CITYSCAPES
from gbw_panoptic.validation import validate

CONFIG = "quick/self_training_gbw.yaml"
SMALL = (
    *NARROW,
    "MODEL.WEIGHTS",
    "",
    "TEST.NUM_PANELS",
    0,
    "TEST.MODEL",
    "student",
    "DATASETS.TEST",
    "('cityscapes_uda_panoptic_val',)",
)
WEIGHTS = torch.linspace(0.2, 3.0, CITYSCAPES.num_classes)


def weighted(cfg):
    """A model whose classes were weighted, so that all of them are predicted somewhere."""
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    torch.nn.init.normal_(model.sem_seg_head.predictor.weight, std=0.5)
    for parameter in model.ins_embed_head.center_predictor.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.weightings["sem_seg"].mean_weights[0] = WEIGHTS
    return model


def record():
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.randint(0, 256, (3, 64, 128), dtype=torch.uint8, generator=generator),
        "height": 80,
        "width": 160,
    }


def test_it_is_one_bias_of_the_last_convolution(make_cfg):
    plain, corrected = (weighted(make_cfg(CONFIG, *SMALL, "TEST.TAU", tau)) for tau in (0.0, 0.5))
    with torch.no_grad():
        before = plain([record()])[0]
        (found,) = corrected([record()])
        plain.sem_seg_head.predictor.bias -= 0.5 * WEIGHTS.log()
        (expected,) = plain([record()])
    torch.testing.assert_close(found["sem_seg"], expected["sem_seg"], rtol=1e-5, atol=1e-5)
    assert torch.equal(found["panoptic_seg"][0], expected["panoptic_seg"][0])
    assert not torch.equal(found["panoptic_seg"][0], before["panoptic_seg"][0])
    assert (
        found["sem_seg"].argmax(0).float().mean() < before["sem_seg"].argmax(0).float().mean()
    )  # low classes had low weights


def test_frequencies_are_those_of_the_source(make_cfg):
    cfg = make_cfg(CONFIG, *SMALL, "WEIGHTING.PRIOR", "frequencies")
    model = build_model(cfg)
    pixels = ClassStatistics.load(
        MetadataCatalog.get("synthia_panoptic_train").class_statistics, CITYSCAPES.names
    ).pixels
    shares = torch.as_tensor(pixels / pixels.sum())
    found = model.decision_bias(0.5).flatten().double()
    torch.testing.assert_close(found[shares > 0], -0.5 * shares[shares > 0].log(), rtol=1e-5, atol=1e-5)
    assert torch.isfinite(found).all() and not any("log_prior" in name for name in model.state_dict())


def test_a_class_of_mean_weight_zero_has_a_finite_bias(make_cfg):
    model = weighted(make_cfg(CONFIG, *SMALL))
    model.weightings["sem_seg"].mean_weights[0, 3] = 0
    assert torch.isfinite(model.decision_bias(1.0)).all()


@pytest.mark.parametrize(
    "config, options, named",
    [
        ("streets/mask2former_self_training.yaml", ("TEST.TAU", 0.5), "TEST.TAU"),
        ("streets/mask2former_self_training.yaml", ("SELF_TRAINING.TAU", 0.5), "SELF_TRAINING.TAU"),
        ("quick/source_only.yaml", ("SELF_TRAINING.TAU", 0.5), "SELF_TRAINING.TAU"),
        ("quick/self_training.yaml", ("TEST.TAU", 0.5), "TEST.TAU"),
        (CONFIG, ("SELF_TRAINING.TAU", 0.5, "WEIGHTING.BRANCHES", "('mixed',)"), "SELF_TRAINING.TAU"),
        (CONFIG, ("GBW.READING", "scale_free", "GBW.NORMALIZE", True), "GBW.NORMALIZE"),
        (CONFIG, ("GBW.ERRORS", "both", "GBW.GRADIENT", "pixel"), "GBW.ERRORS"),
        (CONFIG, ("GBW.GUARD", 1.0, "WEIGHTING.SEMANTIC", "none"), "GBW.GUARD"),
    ],
)
def test_what_cannot_be_corrected_or_weighted_is_one_sentence(make_cfg, config, options, named):
    with pytest.raises(UserError, match=f"{named}: expected .* found .*; set"):
        validate(make_cfg(config, *options))


@pytest.fixture
def run(make_cfg, tmp_path):
    """The folder of a finished run, the model's configuration, and the model."""
    cfg = make_cfg(
        CONFIG,
        *SMALL,
        "TRAINER.NAME",
        "SourceOnlyTrainer",
        "DATASETS.TARGET",
        "()",
        "OUTPUT_DIR",
        str(tmp_path / "run"),
    )
    model = weighted(cfg)
    (tmp_path / "run" / "config.yaml").write_text(cfg.dump())
    torch.save({"model": model.state_dict()}, tmp_path / "run" / "model_final.pth")
    return tmp_path / "run", cfg, model


def test_the_curve_is_that_of_evaluations_with_every_tau(run, run_tool):
    folder, cfg, model = run
    said = run_tool("tools/tau_curve.py", folder, "--taus", "1", "0")
    assert said.returncode == 0 and "rare precision" in said.stdout and "prior weights" in said.stdout, said.stderr
    scores = json.loads((folder / "tau" / "weights" / "student.json").read_text())["scores"]
    assert list(scores) == ["0", "1"] and scores["0"] != scores["1"]
    for tau, found in scores.items():
        model.tau = float(tau)
        results = evaluate(cfg, {"student": model}, iteration=0)["student"]
        protocol = cfg.TEST.PROTOCOLS[0]
        expected = {"mIoU": results["semantic"][protocol]["mIoU"], "PQ": results["panoptic"][protocol]["PQ"]}
        assert expected == pytest.approx({name: found[name] for name in expected}, abs=2e-3)
    assert (folder / "tau" / "weights" / "1" / "student.json").is_file()


def test_weights_of_an_older_run_are_those_of_its_log(run, run_tool):
    folder, cfg, model = run
    state = {name: value for name, value in model.state_dict().items() if not name.endswith("mean_weights")}
    torch.save({"model": state}, folder / "model_final.pth")
    flat, logged = [], {f"gbw/source/sem_seg/weight/{name}": w for name, w in zip(CITYSCAPES.names, WEIGHTS.tolist())}
    for with_log in (False, True):
        if with_log:
            logged |= {f"gbw/source/sem_seg/share/{name}": 0.1 for name in CITYSCAPES.names}
            (folder / "metrics.json").write_text(json.dumps({"iteration": 9, **logged}) + "\n")
        assert run_tool("tools/tau_curve.py", folder, "--taus", "0", "1").returncode == 0
        scores = json.loads((folder / "tau" / "weights" / "student.json").read_text())["scores"]
        flat.append(scores["0"] == scores["1"])
    assert flat == [True, False]


def test_with_all_parts_true_the_map_is_the_truth(run, run_tool):
    folder, cfg, model = run
    said = run_tool("tools/true_parts.py", folder, "--parts", "classes", "centres+offsets", "classes+centres+offsets")
    assert said.returncode == 0, said.stderr
    found = {}
    for row in ("none", "classes", "centres+offsets", "classes+centres+offsets"):
        scores = json.loads((folder / "true_parts" / row / "student.json").read_text())["scores"]
        found[row] = scores["panoptic"][cfg.TEST.PROTOCOLS[0]]
    assert found["classes"]["PQ_stuff"] > 95 > found["none"]["PQ_stuff"] == found["centres+offsets"]["PQ_stuff"]
    assert (
        found["classes+centres+offsets"]["PQ_things"] > 50 > found["classes"]["PQ_things"]
    )  # some lie within one window of NMS


def test_parts_that_there_are_not(run, run_tool):
    said = run_tool("tools/true_parts.py", run[0], "--parts", "classes+masks")
    assert said.returncode == 2 and "expected some of classes, centres, offsets" in said.stderr


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--model", "teacher"), "expected one of student, which"),
        (("--weights", "none.pth"), "found none"),
        (("--taus", "2"), "number in 0..1"),
    ],
)
def test_wrong_arguments_are_one_sentence(run, run_tool, arguments, words):
    said = run_tool("tools/tau_curve.py", run[0], *arguments)
    assert said.returncode == 2 and words in said.stderr


def test_a_folder_without_a_run_is_one_sentence(tmp_path, run_tool):
    said = run_tool("tools/tau_curve.py", tmp_path)
    assert said.returncode == 2 and "with its config.yaml" in said.stderr
