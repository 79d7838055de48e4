"""Somebody who answers with the truth leaves the very store that the oracle leaves, whatever the tool and the unit."""

import pytest
from town import acquisition, ask, bought, predict, records, truthful

from gbw_panoptic.active.acquisition import Settings
from gbw_panoptic.labelling.batch import read_batch
from gbw_panoptic.labelling.formats import FORMATS, format_of
from gbw_panoptic.labelling.importing import keep_answers, merge_answers

UNITS = {
    "pixel": (Settings(unit="pixel", radius=4), "60"),
    "region": (Settings(unit="region"), "20%"),
    "superpixel": (Settings(unit="superpixel", side=6), "40 clicks"),
    "click": (Settings(unit="click", side=5), "120 seconds"),
    "image": (Settings(unit="image"), "2 images"),
}


@pytest.mark.parametrize("panoptic", [False, True], ids=["semantic", "panoptic"])
@pytest.mark.parametrize("unit", UNITS)
def test_the_truth_comes_back_bit_for_bit(tmp_path, unit, panoptic):
    settings, budget = UNITS[unit]
    images = records(tmp_path / "images")
    same = {"settings": settings, "budget": budget, "panoptic": panoptic}
    oracle = acquisition(tmp_path / "oracle", images, **same, oracle=True)
    entries = [oracle.run(number, predict) for number in (1, 2)]
    assert sum(entry["pixels"] for entry in entries) > 20 and oracle.store.spent <= oracle.budget
    for tool in FORMATS:
        folder = tmp_path / tool
        for number in (1, 2):
            humans = acquisition(folder, images, **same, oracle=False)
            ask(humans, number)
            batch, store = read_batch(folder)
            out = tmp_path / f"{tool} {number}"
            out.mkdir()
            path = FORMATS[tool].write(batch, truthful(batch), out, done=True)
            assert format_of(path) == tool
            assert keep_answers(store, batch, FORMATS[tool].read(path, batch)) == 0
            report = merge_answers(store, batch)
            assert report.answered == report.asked > 0 and report.entry["seconds"] == entries[number - 1]["seconds"]
            shared = entries[number - 1].keys()
            assert {key: report.entry[key] for key in shared} == entries[number - 1], tool
        assert bought(folder) == bought(tmp_path / "oracle"), tool
        store.take_back(1)
        again = acquisition(folder, images, **same, oracle=True)
        assert again.run(2, predict) == entries[1]
        assert bought(folder) == bought(tmp_path / "oracle"), tool
