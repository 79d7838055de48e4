"""Faults that are planted in labels: swapped files, labels shifted by 8 pixels, wrong classes, merged instances."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from gbw_panoptic.structures.predictions import GroundTruth
from gbw_panoptic.taxonomy import Taxonomy

SHIFT = 8
KINDS = ("swapped", "shifted", "wrong class", "merged")


def plant(
    records: Sequence[Mapping], read: Callable, taxonomy: Taxonomy, *, share: float = 0.02, seed: int = 0
) -> tuple[Callable, dict[str, list[int]], dict[int, int]]:
    """
    Returns:
        what reads a record's label with its fault; kind -> images that have it; image -> the faulty segment of the last
        two kinds.
    """
    rng = np.random.default_rng(seed)
    count = max(2, round(share * len(records)))
    places = {record["file_name"]: i for i, record in enumerate(records)}
    merging = [i for i in rng.permutation(len(records)).tolist() if _pair(read(records[i], taxonomy), taxonomy)][:count]
    others = [i for i in rng.permutation(len(records)).tolist() if i not in merging]
    images = {kind: others[count * n : count * (n + 1)] for n, kind in enumerate(KINDS[:3])} | {"merged": merging}
    swapped = dict(zip(images["swapped"], np.roll(images["swapped"], 1).tolist()))
    steps = {
        i: tuple(SHIFT * np.array(((0, 1), (0, -1), (1, 0), (-1, 0))[n % 4])) for n, i in enumerate(images["shifted"])
    }
    segments: dict[int, int] = {}

    def faulty(record: Mapping, taxonomy: Taxonomy) -> GroundTruth:
        place = places[record["file_name"]]
        truth = read(records[swapped.get(place, place)], taxonomy)
        if place in steps:
            return GroundTruth(
                _moved(truth.labels, steps[place], taxonomy.ignore_label),
                _moved(truth.ids, steps[place], 0),
                truth.segments,
            )
        if place in images["wrong class"]:
            return _wrong(truth, taxonomy, np.random.default_rng(place), segments, place)
        if place in merging:
            one, two = _pair(truth, taxonomy)
            segments[place] = one
            kept = [s for s in truth.segments if s["id"] != two]
            return replace(truth, ids=np.where(truth.ids == two, one, truth.ids), segments=kept)
        return truth

    return faulty, images, segments


def _moved(values: np.ndarray, step: tuple[int, int], fill: int) -> np.ndarray:
    moved = np.roll(values, step, (0, 1))
    rows, columns = step
    moved[: max(rows, 0)], moved[len(moved) + min(rows, 0) :] = fill, fill
    moved[:, : max(columns, 0)], moved[:, moved.shape[1] + min(columns, 0) :] = fill, fill
    return moved


def _pair(truth: GroundTruth, taxonomy: Taxonomy) -> tuple[int, int] | None:
    """Two instances of one class, each of 150 pixels at least."""
    areas = dict(zip(*np.unique(truth.ids, return_counts=True)))
    large = [s for s in truth.segments if taxonomy.is_thing[s["category_id"]] and areas.get(s["id"], 0) >= 150]
    for one in large:
        for two in large:
            if one["id"] < two["id"] and one["category_id"] == two["category_id"]:
                return one["id"], two["id"]
    return None


def _wrong(truth: GroundTruth, taxonomy: Taxonomy, rng, segments: dict[int, int], place: int) -> GroundTruth:
    areas = dict(zip(*np.unique(truth.ids, return_counts=True)))
    chosen = rng.choice([s["id"] for s in truth.segments if areas.get(s["id"], 0) >= 150])
    present = sorted({s["category_id"] for s in truth.segments})
    segments[place] = int(chosen)
    old = next(s["category_id"] for s in truth.segments if s["id"] == chosen)
    new = int(rng.choice([c for c in present if c != old]))
    listed = [{**s, "category_id": new} if s["id"] == chosen else s for s in truth.segments]
    return GroundTruth(np.where(truth.ids == chosen, new, truth.labels).astype(truth.labels.dtype), truth.ids, listed)
