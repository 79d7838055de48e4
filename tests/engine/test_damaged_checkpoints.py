"""Damage is noticed, said in one sentence, and the earlier checkpoints are named; weights that are not finite are
neither read nor written."""

import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import TINY, flat

from gbw_panoptic.engine.build import build_trainer, resume_or_load
from gbw_panoptic.engine.checkpoint import SafeCheckpointer, sizes_by_part
from gbw_panoptic.engine.reading import checkpoints_in, last_checkpoint, read_checkpoint
from gbw_panoptic.engine.resuming import describe_fault
from gbw_panoptic.engine.saving import CheckpointSaver
from gbw_panoptic.errors import UserError
from gbw_panoptic.inference.weights import find_run

QUICK = "quick/source_only.yaml"


def content():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    trainer = {"iteration": 3, "optimizer": optimizer.state_dict(), "loader": {"consumed": 4}, "rng": {"seed": 0}}
    return {"settings": {"SEED": 0, "A": (1, 2)}, "model": model.state_dict(), "trainer": trainer, "iteration": 3}


def read_or_sentence(path):
    try:
        return read_checkpoint(str(path))
    except UserError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return None


def same(one, two):
    one, two = flat(one), flat(two)
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


def test_a_flipped_bit_is_found_or_changes_nothing(tmp_path):
    path, found = tmp_path / "model_final.pth", 0
    torch.save(content(), path)
    whole, expected = path.read_bytes(), read_checkpoint(str(path))
    draw = random.Random(0)
    for _ in range(250):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        read = read_or_sentence(path)
        assert read is None or same(read, expected)
        found += read is None
    assert found > 60  # the rest is padding between the parts


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[: len(b) // 2], lambda b: b[:-1], lambda b: b[: len(b) // 2] + bytes(len(b) - len(b) // 2),
        lambda b: bytes(len(b)), lambda b: b"", lambda b: b[5:], lambda b: b"PK\x03\x04", lambda b: b[:-200] + b[-100:],
        lambda b: random.Random(1).randbytes(len(b)), lambda b: b"PK\x05\x06" + bytes(18), lambda b: b"\x80\x02}q\x00.",
    ],
)  # fmt: skip
def test_cut_emptied_and_overwritten_files(tmp_path, damage):
    path = tmp_path / "model_0000003.pth"
    torch.save(content(), path)
    path.write_bytes(damage(path.read_bytes()))
    assert read_or_sentence(path) is None


def test_files_without_checksums_still_load(tmp_path):
    torch.save(content()["model"], tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert same(read_checkpoint(str(tmp_path / "old.pth"))["model"], content()["model"])


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just(torch.zeros(2)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3) | st.tuples(inner),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(junk=JUNK, where=st.sampled_from(["all", "model", "teacher", "entry", "name"]))
def test_wrong_types_in_a_model_are_one_sentence(tmp_path_factory, junk, where):
    path = tmp_path_factory.mktemp("junk") / "weights.pth"
    state = dict(content()["model"])
    whole = {
        "all": junk, "model": {"model": junk}, "teacher": {"model": state, "teacher": junk},
        "entry": {"model": {**state, "extra": junk}}, "name": {"model": {**state, 5: torch.zeros(1)}},
    }[where]  # fmt: skip
    torch.save(whole, path)
    read = read_or_sentence(path)
    if read is not None:
        models = [read[key] for key in ("model", "teacher") if key in read]
        assert all(
            isinstance(k, str) and isinstance(v, torch.Tensor) for model in models for k, v in model.items()
        ) and all(models)


def replaced(value, path, new):
    return new if not path else {**value, path[0]: replaced(value[path[0]], path[1:], new)}


PLACES = [
    ("iteration",), ("optimizer",), ("loader",), ("loader", "consumed"), ("rng",), ("rng", "seed"),
    ("optimizer", "state"),
    ("optimizer", "state", 0), ("optimizer", "state", 0, "exp_avg"), ("optimizer", "state", 0, "step"),
    ("optimizer", "param_groups"),
]  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(junk=JUNK | st.just(torch.zeros(7, 7)), where=st.sampled_from(PLACES))
def test_wrong_types_in_the_trainer_s_part_are_found_before_they_are_used(junk, where):
    trainer = content()["trainer"]
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5))
    optimizer = torch.optim.AdamW(model.parameters())
    assert describe_fault(trainer, optimizer) == ""
    damaged = replaced(trainer, where, junk)
    fault = describe_fault(damaged, optimizer)
    assert "\n" not in fault
    if fault:
        return
    counts = [damaged["iteration"], damaged["loader"]["consumed"], damaged["rng"]["seed"]]
    assert all(type(count) is int and count >= 0 for count in counts)
    optimizer.load_state_dict(damaged["optimizer"])  # what is taken can be used


def test_the_state_of_another_optimizer_is_said():
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5))
    state = content()["trainer"]
    assert "the state of another optimizer" in describe_fault(state, torch.optim.SGD(model.parameters(), 0.1))
    assert describe_fault(state, torch.optim.AdamW(model[0].parameters())) == "an optimizer of other parameters"


@pytest.mark.parametrize(
    "where, junk",
    [
        (("settings",), [1]),
        (("trainer",), 5),
        (("model",), {"a": {"b": [None]}}),
        (("trainer", "optimizer"), "x"),
        (("trainer", "rng"), None),
    ],
)
def test_wrong_types_in_a_run_are_one_sentence_at_a_resume(make_cfg, where, junk):
    trainer = build_trainer(make_cfg(QUICK, *TINY))
    trainer.checkpointer.save("model_0000000")
    path = trainer.checkpointer.get_checkpoint_file()
    torch.save(replaced(torch.load(path, weights_only=True), where, junk), path)
    with pytest.raises(UserError) as caught:
        resume_or_load(trainer, "", resume=True)
    assert "\n" not in str(caught.value)


def test_a_damaged_checkpoint_names_the_earlier_ones(tmp_path):
    for name in ("model_0000003", "model_0000001", "model_final"):
        torch.save(content(), tmp_path / f"{name}.pth")
    (tmp_path / "last_checkpoint").write_text("model_final.pth")
    path = tmp_path / "model_final.pth"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(
        UserError, match="beside it are model_0000001.pth, model_0000003.pth: .*write model_0000003.pth into .*last_ch"
    ):
        read_checkpoint(str(path))
    assert checkpoints_in(tmp_path) == ["model_final.pth", "model_0000001.pth", "model_0000003.pth"]


@pytest.mark.parametrize(
    "pointer",
    [
        b"\xff\xfe\x00",
        b"",
        bytes(20),
        b"../other.pth",
        b"model_0000009.pth",
        b"a\nb.pth",
        b"x" * 5000,
        b"/etc/passwd",
        b".",
    ],
)
def test_a_damaged_pointer_is_one_sentence_with_what_is_there(tmp_path, pointer):
    torch.save(content(), tmp_path / "model_0000001.pth")
    (tmp_path / "last_checkpoint").write_bytes(pointer)
    (tmp_path / "config.yaml").write_text("VERSION: 2\n")
    checkpointer = SafeCheckpointer(torch.nn.Linear(1, 1), str(tmp_path))
    for door in (last_checkpoint, find_run, lambda folder: checkpointer.resume_or_load("", resume=True)):
        with pytest.raises(
            UserError, match="last_checkpoint.*write the name of one that is there into it: model_0000001.pth"
        ) as caught:
            door(str(tmp_path))
        assert "\n" not in str(caught.value) and "\0" not in str(caught.value)


@pytest.mark.parametrize(
    "make", [Path.mkdir, lambda path: path.symlink_to(path), lambda path: path.symlink_to("nowhere")]
)
def test_a_pointer_that_is_no_file(tmp_path, make):
    make(tmp_path / "last_checkpoint")
    checkpointer = SafeCheckpointer(torch.nn.Linear(1, 1), str(tmp_path))
    for door in (
        last_checkpoint,
        lambda folder: checkpointer.resume_or_load("", resume=True),
        lambda folder: checkpointer.has_checkpoint(),
    ):
        with pytest.raises(UserError, match="Expected a file at .*last_checkpoint, found something else"):
            door(tmp_path)


def test_a_lost_pointer_is_not_a_run_without_a_checkpoint(tmp_path):
    checkpointer = SafeCheckpointer(torch.nn.Linear(1, 1), str(tmp_path))
    (tmp_path / "config.yaml").touch()
    assert not checkpointer.has_checkpoint() and last_checkpoint(tmp_path) == ""
    (tmp_path / "model_0000001.pth").touch()  # by a process that was killed before it wrote the other file
    assert (
        last_checkpoint(tmp_path)
        == checkpointer.get_checkpoint_file()
        == find_run(tmp_path)[1]
        == str(tmp_path / "model_0000001.pth")
    )
    (tmp_path / "model_0000003.pth").touch()
    for door in (last_checkpoint, find_run, lambda folder: checkpointer.resume_or_load("", resume=True)):
        with pytest.raises(
            UserError,
            match="last_checkpoint, .* found none; write the name .* into it: model_0000001.pth, model_0000003.pth",
        ):
            door(tmp_path)
    (tmp_path / "model_final.pth").touch()
    assert find_run(tmp_path)[1] == str(tmp_path / "model_final.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_last_update_that_is_not_finite_is_not_saved(tmp_path, value):
    model = torch.nn.Linear(2, 2)
    saver = CheckpointSaver(SafeCheckpointer(model, str(tmp_path)), period=1, keep=0)
    saver.trainer = SimpleNamespace(max_iter=2, iter=0)
    saver.after_step()
    torch.nn.init.constant_(model.bias, value)
    saver.trainer.iter = 1
    with pytest.raises(
        UserError,
        match="Expected finite weights for .*model_final.pth, found NaN .* student, bias among them.*--resume",
    ):
        saver.after_step()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last_checkpoint", "model_0000000.pth"]
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000000.pth"


@pytest.mark.parametrize("part", ["model", "teacher"])
def test_weights_that_are_not_finite_are_not_resumed(tmp_path, part):
    model, teacher = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    states = {"model": model.state_dict(), "teacher": teacher.state_dict()}
    states[part] = {**states[part], "weight": torch.full((2, 2), float("nan"))}
    torch.save(states, tmp_path / "model_0000000.pth")
    (tmp_path / "last_checkpoint").write_text("model_0000000.pth")
    with pytest.raises(
        UserError, match="found values that are not \\(NaN or infinite\\) in 1 of 2 tensors, weight among them"
    ):
        SafeCheckpointer(model, str(tmp_path), teacher=teacher).resume_or_load("", resume=True)


def test_the_sizes_of_the_parts_are_said_once(tmp_path, caplog):
    model = torch.nn.Linear(256, 1024)
    data = {
        "model": model.state_dict(),
        "trainer": {"optimizer": {"state": {0: {"exp_avg": torch.zeros(4)}}}},
        "iteration": 3,
    }
    assert sizes_by_part(data) == {"student": 4 * (256 * 1024 + 1024), "optimizer": 16}
    checkpointer = SafeCheckpointer(model, str(tmp_path), teacher=torch.nn.Linear(256, 512))
    with caplog.at_level("INFO"):
        checkpointer.save("model_0000000"), checkpointer.save("model_0000001")
    told = [record.getMessage() for record in caplog.records if "holds" in record.getMessage()]
    assert len(told) == 1 and "holds student 1.0 MB, teacher 0.5 MB: 1.5 MB; tools/merge_checkpoints.py" in told[0]
