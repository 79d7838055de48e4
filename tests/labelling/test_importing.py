"""Answers in the store: partial ones, several people, conflicts, kills, and the way back."""

import numpy as np
import pytest
from town import acquisition, ask, bought, records, truth, truthful

from gbw_panoptic import files
from gbw_panoptic.active.acquisition import Settings
from gbw_panoptic.errors import UserError
from gbw_panoptic.labelling.answer import Answer
from gbw_panoptic.labelling.batch import read_batch
from gbw_panoptic.labelling.importing import keep_answers, merge_answers
from gbw_panoptic.labelling.merging import agreement, merged

SETTINGS = Settings(unit="superpixel", side=6)


@pytest.fixture
def asked(tmp_path):
    humans = acquisition(
        tmp_path / "store",
        records(tmp_path / "images"),
        settings=SETTINGS,
        budget="60 regions",
        panoptic=True,
        oracle=False,
    )
    ask(humans, 1)
    return read_batch(tmp_path / "store")


def everything(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def half(batch):
    """The truth about every second part."""
    return {i: answer.within(batch.images[i].parts % 2 == 1) for i, answer in truthful(batch).items()}


def test_partial_answers_wait_for_the_rest(asked):
    batch, store = asked
    keep_answers(store, batch, {"": half(batch)})
    report = merge_answers(store, batch)
    assert 0 < report.answered < report.asked == 30 and report.entry is None and store.rounds == []
    image = batch.images["a"]
    labels = store.read("a", image.size)
    assert ((labels != store.not_bought) == (image.parts % 2 == 1)).all()
    keep_answers(store, batch, {"": truthful(batch)})
    assert merge_answers(store, batch).entry["pixels"] == sum(int((i.parts > 0).sum()) for i in batch.images.values())


def test_a_round_that_is_closed_gives_back_what_nobody_began(asked):
    batch, store = asked
    with pytest.raises(UserError, match="expected answers for round 1 .*, found none"):
        merge_answers(store, batch, close=True)
    answers = half(batch)
    first = batch.images["a"].parts == 1
    cut = answers["a"].labels.copy()
    cut[np.unravel_index(np.flatnonzero(first)[0], first.shape)] = -1  # begun, and not ended: the rest is void
    answers["a"] = Answer(cut, answers["a"].numbers, answers["a"].centers)
    keep_answers(store, batch, {"": answers})
    odd = {i: image.parts % 2 == 1 for i, image in batch.images.items()}
    entry = merge_answers(store, batch, close=True).entry
    assert entry["cost"] == sum(len(np.unique(image.parts[odd[i]])) for i, image in batch.images.items()) == store.spent
    labels = store.read("a", first.shape)
    assert ((labels != store.not_bought) == odd["a"]).all() and (labels[first] == store.not_bought - 1).any()
    humans = acquisition(
        store.folder,
        records(store.folder.parent / "images"),
        settings=SETTINGS,
        budget="60 regions",
        panoptic=True,
        oracle=False,
    )
    again = ask(humans, 2)
    assert any((again.images[i].parts[(batch.images[i].parts > 0) & ~odd[i]] > 0).any() for i in again.images)
    assert not any((again.images[i].parts[odd[i]] > 0).any() for i in again.images)


def test_several_people_decide_together(asked):
    batch, store = asked
    truths = truthful(batch)
    wrong = {i: Answer(np.where(a.labels == 0, 1, a.labels), a.numbers, a.centers) for i, a in truths.items()}
    shifted = {i: Answer(a.labels, np.where(a.numbers > 0, a.numbers + 7, 0), {}) for i, a in truths.items()}
    keep_answers(store, batch, {"anna": truths, "bob": wrong})
    report = merge_answers(store, batch)
    found = report.agreements["anna", "bob"]
    same = sum(int((a.labels > 0).sum()) for a in truths.values())
    total = sum(int(a.answered.sum()) for a in truths.values())
    assert (
        found.share == pytest.approx(same / total)
        and 0 < found.kappa < found.share
        and report.undecided == total - same
    )
    store.take_back(0, keep_plan=True)
    keep_answers(store, batch, {"anna": truths, "bob": wrong, "carl": shifted})
    assert merge_answers(store, batch).undecided == 0
    want = bought(store.folder)
    store.take_back(0, keep_plan=True)
    assert all((files.read_label(p) == store.not_bought).all() for p in store.folder.glob("labels/*"))
    keep_answers(store, batch, {"anna": truths})
    merge_answers(store, batch)
    assert bought(store.folder) == want  # two of three are right, and carl's cars are anna's, whatever their numbers
    store.take_back(0, keep_plan=True)
    keep_answers(store, batch, {"anna": truths, "bob": wrong})
    assert merge_answers(store, batch, prefer="anna").undecided == 0 and bought(store.folder) == want
    store.take_back(0, keep_plan=True)
    keep_answers(store, batch, {"anna": truths})
    with pytest.raises(UserError, match="--prefer: expected one of anna, found 'bob'"):
        merge_answers(store, batch, prefer="bob")


def test_agreement_by_hand():
    one, other = (
        Answer(np.array([row], np.int32), np.zeros((1, 5), np.int32)) for row in ([0, 0, 1, 1, -1], [0, 1, 1, 1, 1])
    )
    found = agreement(one, other, 2)
    assert found.pixels.tolist() == [[1, 1], [0, 2]] and found.share == 0.75
    assert found.kappa == pytest.approx((0.75 - 0.5) / 0.5)  # by chance: 0.5 * 0.25 + 0.5 * 0.75
    third = Answer(np.array([[1, -1, 1, 0, -1]], np.int32), np.zeros((1, 5), np.int32))
    assert merged({"a": one, "b": other, "c": third}, ["a", "b", "c"], 9).labels.tolist() == [[0, 9, 1, 1, 1]]


def test_later_answers_replace_earlier_ones_and_rounds_can_be_undone(asked, tmp_path):
    batch, store = asked
    before = everything(store.folder)
    void = {i: Answer(np.where(a.answered, 4, -1).astype(np.int32), 0 * a.numbers) for i, a in half(batch).items()}
    keep_answers(store, batch, {"anna": void})
    merge_answers(store, batch)
    keep_answers(store, batch, {"anna": truthful(batch)})
    entry = merge_answers(store, batch).entry
    after = everything(store.folder)
    keep_answers(store, batch, {"anna": truthful(batch)})  # again: the same
    assert everything(store.folder) == after and entry["annotators"] == 1
    with pytest.raises(UserError, match="expected round 2 after the 1"):
        merge_answers(store, batch)
    humans = acquisition(
        store.folder, records(tmp_path / "images"), settings=SETTINGS, budget="60 regions", panoptic=True, oracle=False
    )
    second = ask(humans, 2)
    keep_answers(humans.store, second, {"": truthful(second)})
    merge_answers(humans.store, second)
    humans.store.take_back(1)
    kept = {name: data for name, data in everything(store.folder).items() if "batches/2" not in name}
    assert kept == after
    humans.store.take_back(0, keep_plan=True)
    rest = everything(store.folder)
    assert {name: rest[name] for name in before if name != "manifest.json"} == before
    assert read_batch(store.folder)[0].number == 1


def test_undo_says_what_it_takes(asked, tmp_path, run_tool):
    batch, store = asked
    keep_answers(store, batch, {"": truthful(batch)})
    merge_answers(store, batch)
    humans = acquisition(
        store.folder, records(tmp_path / "images"), settings=SETTINGS, budget="60 regions", panoptic=True, oracle=False
    )
    second = ask(humans, 2)
    keep_answers(humans.store, second, {"ann": half(second), "bob": half(second)})
    done = run_tool("tools/import_labels.py", store.folder, "--undo", 1)
    assert done.stdout.splitlines() == [
        "Rounds 1 to 2 are taken back, labels and answers.",
        f"Round 2 was open; its answers about {len(half(second))} images are gone.",
        "Round 1 is open: its batch can be answered again.",
        "Round 2 must be asked for anew with tools/acquire.py --for, once round 1 is closed.",
    ]
    again = run_tool("tools/import_labels.py", store.folder, "--undo", 1).stdout
    assert again.startswith("Round 1 is taken back, labels and answers.\nRound 1 was open; its answers about 0 images")


class Killed(Exception):
    pass


def test_a_killed_import_goes_on(asked, monkeypatch, tmp_path):
    batch, store = asked
    said = {"anna": half(batch)}
    write, writes = files.atomic_write, []

    def dying(path, data):
        writes.append(path)
        if len(writes) == dies_at:
            raise Killed
        write(path, data)

    dies_at = 10**6
    monkeypatch.setattr(files, "atomic_write", dying)
    keep_answers(store, batch, said)
    merge_answers(store, batch, close=True)
    whole, steps = everything(store.folder), len(writes)
    for dies_at in range(1, steps + 1):
        store.take_back(0)
        ask(
            acquisition(
                store.folder,
                records(tmp_path / "images"),
                settings=SETTINGS,
                budget="60 regions",
                panoptic=True,
                oracle=False,
            ),
            1,
        )
        batch, store = read_batch(store.folder)
        writes.clear()
        with pytest.raises(Killed):
            keep_answers(store, batch, said)
            merge_answers(store, batch, close=True)
        dies_at = 10**6
        batch, store = read_batch(store.folder)
        keep_answers(store, batch, said)
        merge_answers(store, batch, close=True)
        assert everything(store.folder) == whole


def test_answers_nobody_asked_for_are_left_out(asked):
    batch, store = asked
    labels, _ = truth("a")
    whole = Answer(np.minimum(labels, 4).astype(np.int32), np.zeros(labels.shape, np.int32))
    assert keep_answers(store, batch, {"": {"a": whole}}) == int((batch.images["a"].parts == 0).sum()) > 0
    with pytest.raises(UserError, match="--annotator: expected a name that can be a folder's"):
        keep_answers(store, batch, {"a/b": {"a": whole}})
