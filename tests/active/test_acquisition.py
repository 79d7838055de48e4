"""Rounds end to end on small images with a made-up model: budgets, modes, restart, two ranks."""

import contextlib
import hashlib
import multiprocessing
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from two_ranks import on_two_ranks

from gbw_panoptic import files
from gbw_panoptic.active.acquisition import Acquisition, Settings
from gbw_panoptic.active.effort import Budget, parse_budget
from gbw_panoptic.active.label_store import NOT_BOUGHT, LabelStore
from gbw_panoptic.errors import UserError

NAMES = ("road", "sky", "car", "train")
SIZES = [(30, 40), (24, 36), (40, 30), (30, 40)]
BOTH = Settings(class_balance=True, dynamic_budget=True)


class Bar:
    def update(self):
        pass


def probabilities(image_id):
    """Smooth, different for each image, one class rare."""
    index = int(image_id)
    height, width = SIZES[index]
    generator = torch.Generator().manual_seed(index)
    grid = 3 * torch.randn(1, len(NAMES), 4, 5, generator=generator)
    logits = torch.nn.functional.interpolate(grid, (height, width), mode="bilinear")[0]
    logits[3] -= 2
    return torch.softmax(logits, 0)


def truth(record):
    labels = probabilities(record["image_id"]).argmax(0).numpy().astype(np.uint8)
    labels[:, :5] = 255
    return labels


def predict(records):
    for record in records:
        yield probabilities(record["image_id"])


def acquisition(folder, settings, budget="10%", rounds=2):
    records = [{"file_name": str(folder.parent / f"{i}.png"), "image_id": str(i)} for i in range(len(SIZES))]
    for record, (height, width) in zip(records, SIZES):
        files.write_png(record["file_name"], np.zeros((height, width, 3), np.uint8))
    return Acquisition(
        store=LabelStore(folder, NAMES, settings.shape), records=records, truth=truth, settings=settings, budget=budget,
        rounds=rounds, progress=lambda total, title: contextlib.nullcontext(Bar()),
    )  # fmt: skip


def digest(folder):
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.*")}


def bought_pixels(acq):
    return [int((acq.store.read(str(i), size) != NOT_BOUGHT).sum()) for i, size in enumerate(SIZES)]


@pytest.mark.parametrize(
    "settings",
    [
        Settings(), Settings(score="entropy"), Settings(score="random"), Settings(mode="pixel", radius=4),
        Settings(class_balance=True), Settings(dynamic_budget=True), BOTH, replace(BOTH, soft=False),
    ],
)  # fmt: skip
def test_budget_is_used_up_and_never_exceeded(tmp_path, settings):
    acq = acquisition(tmp_path / "store", settings)
    area = (2 * settings.shape.radius + 1) ** 2
    for number in (1, 2):
        entry = acq.run(number, predict)
        assert sum(bought_pixels(acq)) == acq.store.spent <= acq.allowed(number)
        assert entry["cost"] == entry["pixels"] == sum(entry["classes"].values()) + entry["void"]
        if settings.mode == "region":
            slack = area if settings.dynamic_budget else area * len(SIZES)
            assert acq.store.spent > acq.allowed(number) - slack
    if not settings.dynamic_budget:
        assert all(n <= acq.allowed(2, i) for i, n in enumerate(bought_pixels(acq)))
    for i, size in enumerate(SIZES):
        labels, true = acq.store.read(str(i), size), truth({"image_id": str(i)})
        known = labels < len(NAMES)
        assert (labels[known] == true[known]).all()
    assert acq.budget == sum(h * w for h, w in SIZES) // 10


def test_void_that_is_free_leaves_more_for_classes(tmp_path):
    costly, free = (acquisition(tmp_path / str(v), Settings(void_costs=v, score="random")) for v in (True, False))
    costly.run(1, predict), free.run(1, predict)
    entry = free.store.rounds[0]
    assert entry["void"] > 0 and entry["cost"] == sum(entry["classes"].values()) <= entry["allowed"]
    assert entry["pixels"] > costly.store.rounds[0]["pixels"]


def test_class_balance_buys_more_of_the_rare_class(tmp_path):
    entries = {}
    for balance in (False, True):
        acq = acquisition(tmp_path / str(balance), Settings(class_balance=balance, dynamic_budget=True))
        entries[balance] = [acq.run(number, predict) for number in (1, 2)][-1]
    assert entries[True]["imbalance"] < entries[False]["imbalance"]


class Killed(Exception):
    pass


@pytest.mark.parametrize("settings", [Settings(), BOTH])
@pytest.mark.parametrize("where", ["plan", "buy", "finish"])
def test_a_killed_round_ends_as_if_it_had_not_been(tmp_path, settings, where):
    whole = acquisition(tmp_path / "whole", settings)
    cut = acquisition(tmp_path / "cut", settings)
    original, calls = getattr(cut.store, where), []

    def killed(*arguments, **options):
        calls.append(1)
        if len(calls) == (1 if where == "finish" else 3):
            raise Killed
        return original(*arguments, **options)

    setattr(cut.store, where, killed)
    with pytest.raises(Killed):
        cut.run(1, predict)
    for place in ("labels", "picks/1"):  # what a process leaves that is killed while it writes
        (tmp_path / "cut" / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / "cut" / place / ".a.99999999.tmp").touch()
    for number in (1, 2):
        whole.run(number, predict)
        acquisition(tmp_path / "cut", settings).run(number, predict)
    assert digest(tmp_path / "whole") == digest(tmp_path / "cut")


def _killed_at_write(folder, settings, write):
    """The process ends by SIGKILL where it would put its file number ``write`` in place."""
    torch.set_num_threads(1)
    replace_file, calls = os.replace, []

    def replacing(*arguments):
        calls.append(arguments)
        if len(calls) == write:
            os.kill(os.getpid(), signal.SIGKILL)
        replace_file(*arguments)

    acq = acquisition(folder, settings)
    os.replace = replacing
    acq.run(1, predict)


@pytest.mark.parametrize("settings", [Settings(), BOTH], ids=["each", "together"])
def test_a_process_killed_at_any_write_is_continued(tmp_path, settings):
    """Four plans, four labels and a manifest: nine writes, each of them the last."""
    whole = acquisition(tmp_path / "whole", settings)
    whole.run(1, predict)
    for write in range(1, 10):
        folder = tmp_path / str(write) / "store"
        folder.parent.mkdir()
        process = multiprocessing.get_context("fork").Process(target=_killed_at_write, args=(folder, settings, write))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        acquisition(folder, settings).run(1, predict)
        for rest in folder.rglob("*.tmp"):  # what the dead process was writing
            rest.unlink()
        assert digest(folder) == digest(tmp_path / "whole")


def _on_a_rank(rank, folder, settings):
    torch.set_num_threads(1)
    acq = acquisition(folder / f"records{rank}" / "store", settings)
    acq.store = LabelStore(folder / "two", NAMES, settings.shape)
    return [acq.run(number, predict) for number in (1, 2)]


@pytest.mark.parametrize("settings", [Settings(), BOTH])
def test_two_ranks_buy_the_same_as_one(tmp_path, settings):
    one = acquisition(tmp_path / "one", settings)
    entries = [one.run(number, predict) for number in (1, 2)]
    for rank in (0, 1):
        (tmp_path / f"records{rank}").mkdir()
    ranks = on_two_ranks(_on_a_rank, tmp_path, tmp_path, settings, start_method="fork")
    assert ranks == [entries, entries]
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


def test_budgets_and_rounds_are_checked(tmp_path):
    assert parse_budget("5%", 1000) == Budget(50) and parse_budget("17", 1000) == Budget(17)
    assert parse_budget("120 seconds", 9) == Budget(1200, "seconds") and parse_budget(" 1 image", 9, 1) == Budget(
        1, "images"
    )
    for text in ("0%", "101%", "1001", "-3", "lots", "nan%", "inf%", ""):
        with pytest.raises(UserError, match="expected a budget of 1 to 1000 pixels"):
            parse_budget(text, 1000)
    with pytest.raises(UserError, match=r"expected a round in 1\.\.2, found 3"):
        acquisition(tmp_path / "store", Settings()).run(3, predict)
    acquisition(tmp_path / "store", Settings()).run(1, predict)
    with pytest.raises(UserError, match="raise the budget"):
        acquisition(tmp_path / "store", Settings(), budget="100").run(2, predict)
