"""The first step of every strategy and architecture is the one that was recorded; tools/same_bits.py compares six of
them to the bit.

Six steps of so small networks are chaotic: bits that another CPU rounds otherwise move the last loss by a tenth and
more. So what was recorded is of the first step, and two revisions are compared on one machine.
"""

import json
import tempfile
from pathlib import Path

import pytest
import same_bits

ROOT = Path(__file__).parents[2]
#: Written by `python tests/tools/test_same_bits.py`: a silent change records it anew.
RECORDED = Path(__file__).with_name("same_bits.json")
#: Relative, with room: with kernels of another kind losses moved by up to 1.4e-4, norms of gradients by up to 6e-3.
LOSSES, GRADIENTS = 1e-3, 5e-2
QUICK = ("self_training_switches", "mask2former_switches")


def first_step(recorded: dict) -> dict[str, float]:
    """Losses and the norm of the model's gradient."""
    return {k: v for k, v in recorded["losses"][0].items() if "loss" in k or k == "gradient_norm"}


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in same_bits.CASES]
)
def test_the_first_step_is_the_one_that_was_recorded(streets, tmp_path, monkeypatch, case):
    monkeypatch.setattr(same_bits, "STEPS", 1)
    found, expected = first_step(same_bits.record(case, ROOT, tmp_path)), json.loads(RECORDED.read_text())[case]
    assert found.pop("gradient_norm") == pytest.approx(expected.pop("gradient_norm"), rel=GRADIENTS)
    assert found == pytest.approx(expected, rel=LOSSES, abs=1e-5)


@pytest.mark.slow
def test_two_processes_record_the_same_bits(streets_root, tmp_path):
    one, two = (same_bits.recorded_by(ROOT, streets_root, ["source_only"], tmp_path)["source_only"] for _ in range(2))
    assert len(one["losses"]) == 6 and len(one["state"]) > 1000 and same_bits.compared("source_only", one, two) == []


def test_a_difference_is_named_with_its_first_step_and_tensor():
    before = {
        "losses": [{"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.5}],
        "state": {"x": "1", "y": "2"},
        "outputs": {"z": "3"},
    }
    assert same_bits.compared("case", before, before) == []
    after = {**before, "losses": [before["losses"][0], {"a": 1.0, "b": 2.25}], "state": {"x": "1", "y": "9"}}
    loss, state = same_bits.compared("case", before, after)
    assert loss == "case: 1 values of step 1 differ, first b: 2.5 before, 2.25 now"
    assert state == "case: 1 of 2 tensors of the state differ, first y"


def record_anew() -> None:
    from gbw_panoptic.data import register_all

    with tempfile.TemporaryDirectory() as folder:
        same_bits.make_streets(Path(folder, "streets"))
        register_all(str(Path(folder, "streets")))
        found = {case: first_step(same_bits.record(case, ROOT, Path(folder, case))) for case in same_bits.CASES}
    RECORDED.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    record_anew()
