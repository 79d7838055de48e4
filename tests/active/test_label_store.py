"""The store: what is bought is what is read, accounts are exact, a restart repeats nothing, rounds can be taken
back."""

import numpy as np
import pytest
import torch

from gbw_panoptic.active.budget import RegionShape
from gbw_panoptic.active.label_store import BOUGHT_VOID, NOT_BOUGHT, LabelStore, imbalance
from gbw_panoptic.active.units import PartUnit
from gbw_panoptic.engine.acquisition import BoughtLabels
from gbw_panoptic.errors import UserError
from gbw_panoptic.structures.known_instances import KnownInstances

NAMES = ("road", "sky", "car")
SHAPE = RegionShape(1, 2)


def truth():
    labels = np.zeros((10, 12), np.uint8)
    labels[:, 4:8], labels[:, 8:] = 2, 255
    return labels


def things():
    """Two cars side by side in columns 4 to 7, of which the right one is that of the truth's other half."""
    numbers = np.zeros((10, 12), np.int32)
    numbers[:, 4:6], numbers[:, 6:8] = 1, 2
    return KnownInstances(numbers, np.array([[4.5, 4.5], [4.5, 6.5]]), np.array([2, 2]))


def bought_round(folder, number, picks, instances=None):
    store = LabelStore(folder, NAMES, SHAPE, with_instances=instances is not None)
    store.check_round(number)
    store.plan(number, "a", torch.tensor(picks))
    counts = store.buy(number, "a", truth(), instances)
    store.finish(number, counts, cost=int(counts.sum()), allowed=100, settings={"method": "ripu"})
    return store


def test_what_is_bought_is_what_training_reads(tmp_path):
    store = LabelStore(tmp_path, NAMES, SHAPE)
    assert (store.read("a", (10, 12)) == NOT_BOUGHT).all()
    store = bought_round(tmp_path, 1, [[0, 0], [5, 8]])
    labels = LabelStore(tmp_path, NAMES, SHAPE).read("a", (10, 12))
    assert (labels[:2, :2] == 0).all() and (labels[4:7, 7] == 2).all() and (labels[4:7, 8:10] == BOUGHT_VOID).all()
    assert (labels != NOT_BOUGHT).sum() == 13
    trained = BoughtLabels(store, 255)("a", (10, 12))
    assert (trained == np.where(labels == BOUGHT_VOID, 255, labels)).all()
    assert store.rounds[0]["classes"] == {"road": 4, "sky": 0, "car": 3} and store.rounds[0]["void"] == 6
    assert store.spent == 13 and store.class_counts().tolist() == [4, 0, 3]


def test_unions_beside_the_classes_may_need_another_ignored_label_than_the_store(tmp_path):
    """Of 254 classes and some unions it is 65535; the store, of classes alone, has bytes. 255 would be a union."""
    store = LabelStore(tmp_path, tuple(f"class {i}" for i in range(254)), SHAPE)
    store.plan(1, "a", torch.tensor([[5, 5], [5, 8]]))
    store.buy(1, "a", truth())
    labels, trained = store.read("a", (10, 12)), BoughtLabels(store, 65535)("a", (10, 12))
    assert labels.dtype == np.uint8 and trained.dtype == np.uint16
    assert (trained == np.where(labels >= 254, 65535, labels.astype(int))).all() and (trained == 2).any()


def test_a_restart_goes_on_and_buys_nothing_twice(tmp_path):
    store = LabelStore(tmp_path, NAMES, SHAPE)
    store.plan(1, "a", torch.tensor([[0, 0]]))
    first = store.buy(1, "a", truth())  # killed here, before the manifest
    again = LabelStore(tmp_path, NAMES, SHAPE)
    assert again.picks(1, "a").tolist() == [[0, 0]] and again.picks(1, "b") is None and again.spent == 0
    assert np.array_equal(again.buy(1, "a", truth()), first)
    assert (again.read("a", (10, 12)) != NOT_BOUGHT).sum() == 4


def test_rounds_are_taken_back_without_a_trace(tmp_path):
    bought_round(tmp_path, 1, [[0, 0]])
    before = {p.relative_to(tmp_path): p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()}
    bought_round(tmp_path, 2, [[5, 5]])
    store = bought_round(tmp_path, 3, [[9, 0]])
    store.plan(4, "a", torch.tensor([[0, 6]]))
    store.buy(4, "a", truth())  # unfinished
    store.take_back(1)
    after = {p.relative_to(tmp_path): p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()}
    assert after == before and store.spent == 4


def test_a_bought_pixel_tells_its_instance_and_can_be_taken_back(tmp_path):
    assert BoughtLabels(LabelStore(tmp_path / "without", NAMES, SHAPE), 255).instances("a", (10, 12)) is None
    first = bought_round(tmp_path, 1, [[1, 8]], things())  # columns 7 to 9: the right car, and void
    known = first.read_instances("a", (10, 12))
    assert known.centers.tolist() == [[4.5, 6.5]] and known.classes.tolist() == [2]
    assert np.argwhere(known.numbers).tolist() == [[0, 7], [1, 7], [2, 7]] and known.numbers.max() == 1
    before = (tmp_path / "instances" / "a.npz").read_bytes()
    store = bought_round(tmp_path, 2, [[7, 4]], things())
    both = BoughtLabels(store, 255).instances("a", (10, 12))
    assert both.centers.tolist() == things().centers.tolist() and (both.numbers[6:9, 4:6] == 1).all()
    assert (both.numbers[:3, 7] == 2).all() and (both.numbers > 0).sum() == 9
    store.take_back(1)
    assert (tmp_path / "instances" / "a.npz").read_bytes() == before
    assert store.read_instances("b", (3, 4)).numbers.shape == (3, 4)
    (tmp_path / "instances" / "a.npz").write_bytes(before[:20])
    with pytest.raises(UserError, match="expected the instances that were bought, found damaged"):
        store.read_instances("a", (10, 12))
    with pytest.raises(UserError, match="expected ACTIVE.PANOPTIC False"):
        LabelStore(tmp_path, NAMES, SHAPE)


def test_accounts_are_exact(tmp_path):
    store = LabelStore(tmp_path, NAMES, SHAPE)
    with pytest.raises(RuntimeError, match="spent 11 pixels of 10"):
        store.finish(1, np.array([11, 0, 0, 0]), cost=11, allowed=10, settings={})
    assert imbalance(np.array([5, 5, 5])) == pytest.approx(0) and imbalance(np.array([5, 0, 0])) == 1
    assert imbalance(np.zeros(3)) == 0 and 0 < imbalance(np.array([5, 1, 1])) < 1


def test_bad_input_is_one_sentence(tmp_path):
    store = bought_round(tmp_path, 1, [[0, 0]])
    with pytest.raises(UserError, match="expected round 2 after the 1"):
        store.check_round(1)
    with pytest.raises(UserError, match="image's size 9x9, found 10x12"):
        store.read("a", (9, 9))
    with pytest.raises(
        UserError,
        match="expected ACTIVE.UNIT pixel, ACTIVE.RADIUS 32, as is set, .*found ACTIVE.UNIT region, ACTIVE.RADIUS 1;",
    ):
        LabelStore(tmp_path, NAMES, RegionShape(0, 32))
    with pytest.raises(UserError, match="expected ACTIVE.UNIT superpixel, ACTIVE.SUPERPIXEL 16, as is set"):
        LabelStore(tmp_path, NAMES, PartUnit("superpixel", 16))
    with pytest.raises(UserError, match="expected ACTIVE.PANOPTIC True, .*found ACTIVE.PANOPTIC False"):
        LabelStore(tmp_path, NAMES, SHAPE, with_instances=True)
    with pytest.raises(UserError, match="expected the 2 classes road, sky, as is set, .*found the 3 classes"):
        LabelStore(tmp_path, NAMES[:2], SHAPE)
    for name in ("../a", "b/a", ""):
        with pytest.raises(UserError, match="can be a file name"):
            store.read(name, (10, 12))


@pytest.mark.parametrize(
    "name, content",
    [
        ("manifest.json", b"[]"), ("manifest.json", b'{"rounds": {}}'), ("manifest.json", b"[" * 99999),
        ("manifest.json", b"\xff"),
        ("picks/1/a.npy", b"\x93NUMPY\x01\x00\x10\x00((((((((((((((((((((((((("), ("picks/1/a.npy", b"\x93NUMPY"),
        ("picks/1/a.npy", b""),
        ("picks/1/a.npy", [[0, 0, 0, 0]]), ("picks/1/a.npy", [[-1, 0]]), ("picks/1/a.npy", [[9999, 0]]),
        ("picks/1/a.npy", 3),
        ("instances/a.npz", b"PK\x03\x04"), ("instances/a.npz", b"PK\x05\x06" + bytes(18)),
        ("instances/a.npz", b"x" * 50),
        ("labels/a.png", b"no image"),
    ],
)  # fmt: skip
def test_damaged_files_of_a_store_are_one_sentence(tmp_path, name, content):
    shape, size = RegionShape(1, 2), (8, 8)
    instances = KnownInstances(np.ones(size, np.int32), np.array([[3.5, 3.5]]), np.array([1]))
    store = LabelStore(tmp_path, ("road", "car"), shape, with_instances=True)
    store.plan(1, "a", torch.tensor([[2, 2]]))
    counts = store.buy(1, "a", np.ones(size, np.uint8), instances)
    store.finish(1, counts, cost=int(counts.sum()), allowed=100, settings={})
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        np.save(tmp_path / name, np.array(content, np.int32))
    with pytest.raises(UserError) as caught:
        again = LabelStore(tmp_path, ("road", "car"), shape, with_instances=True)
        again.read_instances("a", size)
        again.take_back(0)
    assert "\n" not in str(caught.value) and str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("name", ["labels/a.png", "instances/a.npz"])
def test_lost_labels_are_not_labels_that_were_never_bought(tmp_path, name):
    store = bought_round(tmp_path, 1, [[2, 2]], things())
    store.plan(2, "b", torch.tensor([[3, 3]]))  # of a round that is not finished: nothing need be there yet
    assert LabelStore(tmp_path, NAMES, SHAPE, with_instances=True).rounds == store.rounds
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"expected what round 1 bought at .*{name}, found nothing; restore it"):
        LabelStore(tmp_path, NAMES, SHAPE, with_instances=True)
