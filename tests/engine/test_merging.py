"""Merging of checkpoints against its formula, at its limits, and what it refuses; re-estimated batch-norm
statistics."""

import os

import pytest
import torch
from torch import nn

from gbw_panoptic.engine.merging import (
    SCHEDULES,
    layer_depths,
    merge_layer_wise,
    merge_uniformly,
    reestimate_batch_norm,
)
from gbw_panoptic.errors import UserError

TOOL = "tools/merge_checkpoints.py"


class Model(nn.Module):
    """A backbone of three layers with batch norm, and a head."""

    def __init__(self, seed, classes=2):
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.Dropout(0.5))
        self.head = nn.Conv2d(4, classes, 1)
        self.backbone[1].running_mean.normal_()
        self.backbone[1].running_var.uniform_(0.5, 2)

    def forward(self, x):
        return self.head(self.backbone(torch.stack([record["image"] for record in x])))


def states(count=3):
    return [Model(seed).state_dict() for seed in range(count)]


def test_depths_run_from_zero_to_one_by_layer():
    depth = layer_depths(Model(0).state_dict())
    assert depth["backbone.0.weight"] == depth["backbone.0.bias"] == 0
    assert depth["backbone.1.running_var"] == 0.5 and depth["backbone.2.weight"] == 1
    assert not any(name.startswith("head") for name in depth)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_layer_wise_by_hand(schedule):
    anchor, *others = states()
    merged = merge_layer_wise(anchor, others, schedule)
    mean = torch.stack([s["backbone.0.weight"] for s in (anchor, *others)]).mean(0)
    torch.testing.assert_close(merged["backbone.0.weight"], mean)  # first layer: uniform
    torch.testing.assert_close(merged["backbone.2.weight"], anchor["backbone.2.weight"])  # last layer: the anchor
    middle = 1 / 3 + 2 / 3 * 0.5  # both schedules are half-way at depth 1/2
    other = sum(s["backbone.1.weight"] for s in others) / 2
    torch.testing.assert_close(merged["backbone.1.weight"], middle * anchor["backbone.1.weight"] + (1 - middle) * other)
    assert torch.equal(merged["head.weight"], anchor["head.weight"])


def test_variances_are_those_of_the_mixture():
    first, second = states(2)
    merged = merge_uniformly([first, second])
    mean = (first["backbone.1.running_mean"] + second["backbone.1.running_mean"]) / 2
    square = sum(s["backbone.1.running_var"] + s["backbone.1.running_mean"] ** 2 for s in (first, second)) / 2
    torch.testing.assert_close(merged["backbone.1.running_mean"], mean)
    torch.testing.assert_close(merged["backbone.1.running_var"], square - mean**2)


def test_merging_a_model_with_itself_changes_nothing():
    state = states(1)[0]
    for merged in (merge_uniformly([state, state]), merge_layer_wise(state, [state, state], "cosine")):
        assert merged.keys() == state.keys()
        for name, value in state.items():
            torch.testing.assert_close(merged[name], value)
            assert merged[name].dtype == value.dtype


def test_heads_may_differ_layer_wise_but_not_uniformly():
    anchor, other = Model(0).state_dict(), Model(1, classes=5).state_dict()
    assert merge_layer_wise(anchor, [other], "linear")["head.weight"].shape == anchor["head.weight"].shape
    with pytest.raises(UserError, match="number 2 differs in head"):
        merge_uniformly([anchor, other])


def test_other_backbones_are_refused():
    anchor, other = states(2)
    other["backbone.2.weight"] = torch.zeros(1)
    with pytest.raises(UserError, match="has another backbone.2.weight"):
        merge_layer_wise(anchor, [other], "linear")
    with pytest.raises(UserError, match="found none in the anchor"):
        merge_layer_wise({"head": torch.zeros(1)}, [anchor], "linear")


def test_reestimated_statistics_are_those_of_the_images_and_nothing_else_changes():
    model = Model(0).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.randn(6, 3, 8, 8)
    batches = [[{"image": image} for image in images[i : i + 2]] for i in range(0, 6, 2)]
    assert reestimate_batch_norm(model, batches, 3) == 1
    with torch.no_grad():
        values = model.backbone[0](images).transpose(0, 1).flatten(1)
    torch.testing.assert_close(model.backbone[1].running_mean, values.mean(1))
    torch.testing.assert_close(model.backbone[1].running_var, values.var(1), rtol=1e-2, atol=1e-3)
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert changed <= {"backbone.1.running_mean", "backbone.1.running_var", "backbone.1.num_batches_tracked"}
    assert not any(module.training for module in model.modules())


def test_tool_merges_and_reestimates(make_cfg, run_tool, tmp_path):
    from gbw_panoptic.engine import build_models
    from gbw_panoptic.engine.checkpoint import read_checkpoint

    paths = []
    for seed in (0, 1):
        model = build_models(make_cfg("quick/source_only.yaml", "SEED", seed))["student"]
        paths.append(tmp_path / f"{seed}.pth")
        torch.save({"model": model.state_dict()}, paths[-1])
    output = tmp_path / "merged.pth"
    result = run_tool(TOOL, "--anchor", paths[0], "--others", paths[1], "--output", output, "--batch-norm-batches", 2,
                      "--config-file", "configs/quick/self_training.yaml")  # fmt: skip
    assert result.returncode == 0, result.stderr
    merged, anchor = read_checkpoint(str(output))["model"], read_checkpoint(str(paths[0]))["model"]
    assert merged.keys() == anchor.keys()
    assert merged["backbone.stem.conv1.norm.running_mean"].abs().max() > 0  # an untrained model has zeros there
    assert torch.equal(merged["sem_seg_head.predictor.weight"], anchor["sem_seg_head.predictor.weight"])


def test_tool_writes_one_model_alone(run_tool, tmp_path):
    """The small file for inference: one model and the settings, none of the rest."""
    student, teacher = states(2)
    optimizer = {"state": {0: {"exp_avg": torch.zeros(50_000)}}}
    made = {"INPUT.FORMAT": "RGB"}
    torch.save(
        {"model": student, "teacher": teacher, "trainer": {"optimizer": optimizer}, "settings": made},
        tmp_path / "a.pth",
    )
    for name, expected in (("student", student), ("teacher", teacher)):
        result = run_tool(TOOL, "--anchor", tmp_path / "a.pth", "--model", name, "--output", tmp_path / "small.pth")
        assert not result.returncode and "Merged" not in result.stdout and "small.pth: 0.0 MB" in result.stdout
        contents = torch.load(tmp_path / "small.pth", weights_only=True)
        assert contents.keys() == {"model", "settings"} and contents["settings"] == made
        assert all(torch.equal(value, expected[key]) for key, value in contents["model"].items())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_tool_on_a_full_disk_says_which_file_and_leaves_none(run_tool, tmp_path):
    torch.save({"model": Model(0).state_dict()}, tmp_path / "a.pth")
    (tmp_path / "out.pth.tmp").symlink_to("/dev/full")
    result = run_tool(TOOL, "--anchor", tmp_path / "a.pth", "--output", tmp_path / "out.pth")
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert f"Expected to write {tmp_path}/out.pth, found: No space left on device" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


def test_weights_of_more_layers_are_another_backbone():
    anchor, other = states(2)
    for one, two in (
        (anchor, {**other, "backbone.9.weight": torch.zeros(1)}),
        ({**anchor, "backbone.9.weight": torch.zeros(1)}, other),
    ):
        with pytest.raises(UserError, match="another backbone.9.weight than the anchor"):
            merge_layer_wise(one, [two], "linear")


def test_tool_s_errors_are_one_sentence(run_tool, tmp_path):
    torch.save({"model": Model(0).state_dict()}, tmp_path / "a.pth")
    torch.save({"model": {**Model(0).state_dict(), "head.bias": torch.full((2,), float("nan"))}}, tmp_path / "nan.pth")
    for arguments, words in (
        (("--anchor", tmp_path / "none.pth", "--others", tmp_path / "a.pth"), "Expected a weights file at"),
        (
            ("--anchor", tmp_path / "a.pth", "--others", tmp_path / "a.pth", "--model", "teacher"),
            "Expected a teacher in",
        ),
        (("--anchor", tmp_path / "a.pth", "--others", tmp_path / "a.pth", "--batch-norm-batches", 3), "--config-file"),
        (
            ("--anchor", tmp_path / "a.pth", "--others", tmp_path / "nan.pth"),
            "found values that are not (NaN or infinite) in 1 of",
        ),
        (
            ("--anchor", tmp_path / "a.pth", "--output", tmp_path / "absent" / "out.pth"),
            "--output: expected a folder that exists",
        ),
    ):
        result = run_tool(TOOL, "--output", tmp_path / "out.pth", *arguments)
        assert result.returncode == 2 and words in result.stderr and "Traceback" not in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1 and not (tmp_path / "out.pth").exists()
