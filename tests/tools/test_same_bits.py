"""Losses of six steps are those that were recorded; tools/same_bits.py compares two revisions to the bit on one machine."""

import json
import os
import tempfile
from pathlib import Path

import pytest
import same_bits

ROOT = Path(__file__).parents[2]
#: Losses and norms of gradients, by `python tests/tools/test_same_bits.py`: a silent change records them anew.
RECORDED = Path(__file__).with_name("same_bits.json")
#: Other CPUs and versions of torch round otherwise: relative tolerance of the first step, and what each step makes of it.
TOLERANCE, GROWTH = 1e-4, 4
QUICK = ("source_only", "mask2former_self_training")


def losses_of(recorded: dict) -> list[dict]:
    names = ("loss", "gradient_norm")
    return [{k: v for k, v in step.items() if k.startswith(("total", *names)) or "/loss" in k} for step in recorded["losses"]]


@pytest.mark.parametrize("case", [pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in same_bits.CASES])
def test_losses_are_those_that_were_recorded(streets, tmp_path, case):
    found = losses_of(same_bits.record(case, ROOT, tmp_path))
    for step, (expected, losses) in enumerate(zip(json.loads(RECORDED.read_text())[case], found, strict=True)):
        assert losses == pytest.approx(expected, rel=TOLERANCE * GROWTH**step, abs=1e-4), step


def test_a_difference_is_named_with_its_first_step_and_tensor():
    before = {"losses": [{"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.5}], "state": {"x": "1", "y": "2"}, "outputs": {"z": "3"}}
    assert same_bits.compared("case", before, before) == []
    after = {**before, "losses": [before["losses"][0], {"a": 1.0, "b": 2.25}], "state": {"x": "1", "y": "9"}}
    loss, state = same_bits.compared("case", before, after)
    assert loss == "case: 1 values of step 1 differ, first b: 2.5 before, 2.25 now"
    assert state == "case: 1 of 2 tensors of the state differ, first y"


def record_anew() -> None:
    """Needs $DETECTRON2_DATASETS with the Streets of the tests."""
    from gbw_panoptic.data import register_all

    register_all()
    with tempfile.TemporaryDirectory() as folder:
        found = {case: losses_of(same_bits.record(case, ROOT, Path(folder, case))) for case in same_bits.CASES}
    RECORDED.write_text(json.dumps(found, indent=1) + os.linesep)


if __name__ == "__main__":
    record_anew()
