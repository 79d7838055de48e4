"""Weights at every door: whole, or a backbone alone where training starts; else one sentence, and nothing is loaded."""

import os

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_runs import TINY

from gbw_panoptic.engine.build import build_models, load_for_evaluation
from gbw_panoptic.engine.checkpoint import SafeCheckpointer, load_weights
from gbw_panoptic.engine.reading import read_checkpoint
from gbw_panoptic.errors import UserError
from gbw_panoptic.inference.weights import load_for_prediction
from gbw_panoptic.modeling.published.fitting import describe_misfit, starting, unwrapped_names, whole

HEADS = ("sem_seg_head.", "ins_embed_head.")


@pytest.fixture(scope="module")
def model(streets_root, configured):
    from gbw_panoptic.data import register_all

    before = os.environ.get("DETECTRON2_DATASETS")
    os.environ["DETECTRON2_DATASETS"] = str(streets_root)
    register_all()
    yield build_models(configured("quick/source_only.yaml", streets_root / "unused", *TINY))["student"]
    if before is None:
        del os.environ["DETECTRON2_DATASETS"]


def accepted(door, state, model):
    try:
        return door(state, model, "weights.pth")
    except UserError as error:
        assert "weights.pth" in str(error) and "\n" not in str(error)
        return None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_subset_of_tensors(model, data):
    """The oracle says it in sets of names: whole, or exactly the backbone where training starts."""
    own = model.state_dict()
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    backbone = {name for name in own if name.startswith("backbone.")}
    begin = data.draw(st.sampled_from([set(own), backbone, set(own) - backbone, set()]))
    change = set(data.draw(st.lists(st.sampled_from(sorted(own)), max_size=3)))
    kept = begin ^ change
    prefix = data.draw(st.sampled_from(["", "module.", "_orig_mod.", "module._orig_mod."]))
    state = {prefix + name: own[name] for name in kept}
    is_whole = kept >= set(own) - counters
    is_backbone = kept <= backbone and kept >= backbone - counters and kept
    assert (accepted(whole, state, model) is not None) == is_whole
    assert (accepted(starting, state, model) is not None) == bool(is_whole or is_backbone)


def test_shapes_kinds_and_more_layers(model):
    own = model.state_dict()
    name = next(name for name in own if name.startswith(HEADS[0]) and own[name].ndim == 4)
    for change, words in (
        ({name: own[name][:-1]}, f"found 1 of .*, first {name} \\(of shape"),
        ({name: own[name].int()}, f"first {name} \\(of torch.int32 instead of torch.float32"),
        (
            {"backbone.res2.7.conv1.weight": own["backbone.res2.0.conv1.weight"]},
            "found backbone.res2.7.conv1.weight, which the model",
        ),
        ({name: torch.full_like(own[name], float("nan"))}, f"not \\(NaN or infinite\\) in 1 of .*, {name}"),
    ):
        for door in (whole, starting):
            with pytest.raises(UserError, match=words):
                door({**own, **change}, model, "weights.pth")
    assert whole(
        {**own, "decoder_of_another.weight": torch.zeros(1)}, model, "weights.pth"
    )  # a part that it has not at all


def test_wrappers_are_taken_off_whole_or_not_at_all():
    state = {"module.a.weight": torch.zeros(1), "module.b": torch.zeros(1)}
    assert list(unwrapped_names(state)) == ["a.weight", "b"]
    assert list(unwrapped_names({**state, "c": torch.zeros(1)})) == ["module.a.weight", "module.b", "c"]
    assert unwrapped_names({}) == {} and describe_misfit({}, {"a": torch.zeros(1)}).startswith("1 of 1 absent")


DOORS = {
    "evaluation": lambda model, path: load_for_evaluation({"student": model}, path, "", resume=False),
    "prediction": lambda model, path: load_for_prediction(model, path, "student", default="student"),
    "teacher": lambda model, path: load_weights(
        model, read_checkpoint(path), path, key="SELF_TRAINING.SEGMENTS.TEACHER_WEIGHTS"
    ),
    "start": lambda model, path: SafeCheckpointer(model).resume_or_load(path, resume=False),
}


def test_the_files_of_the_case_at_every_door(model, tmp_path):
    """One tensor, all but a head, the whole model under data parallelism's prefix, a backbone, another class count."""
    state = model.state_dict()
    first = next(iter(state))
    shorter = {k: v[:5] if k.startswith("sem_seg_head.predictor") else v for k, v in state.items()}
    files = {
        "one_tensor": ({first: state[first]}, "absent"),
        "no_semantic_head": (
            {k: v for k, v in state.items() if not k.startswith(HEADS[0])},
            f"first {HEADS[0]}.*absent",
        ),
        "other_classes": (shorter, r"first sem_seg_head.predictor.* \(of shape \(5, .*instead of \(19"),
        "empty": ({}, "found none"),
        "backbone": ({k: v for k, v in state.items() if k.startswith("backbone.")}, "absent"),
        "module_prefix": ({"module." + k: v for k, v in state.items()}, None),
    }
    for name, (content, words) in files.items():
        path = str(tmp_path / f"{name}.pth")
        torch.save({"model": content}, path)
        for door, enter in DOORS.items():
            if words is None or (name, door) == ("backbone", "start"):
                enter(model, path)
                continue
            with pytest.raises(UserError, match=words) as caught:
                enter(model, path)
            assert path in str(caught.value) and "\n" not in str(caught.value)


def test_a_refused_file_changes_nothing(model, tmp_path):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.save({name: tensor + 1 for name, tensor in list(before.items())[:-1]}, tmp_path / "part.pth")
    for door in (whole, starting):
        with pytest.raises(UserError):
            SafeCheckpointer(model).load(str(tmp_path / "part.pth"), fit=door)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_teacher_that_does_not_fit_is_refused_too(model, tmp_path):
    state = model.state_dict()
    path = str(tmp_path / "half.pth")
    torch.save({"model": state, "teacher": dict(list(state.items())[3:])}, path)
    with pytest.raises(UserError, match=r"configured model in .*half.pth \(teacher\), found 3 of"):
        load_for_evaluation({"student": model, "teacher": model}, path, "", resume=False)
    with pytest.raises(UserError, match="found 3 of"):
        load_for_prediction(model, path, None, default="teacher")
