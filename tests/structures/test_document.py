"""docs/architecture.md shows the types as they are."""

from pathlib import Path

from gbw_panoptic.structures.document import PATH, SHOWN, tables, updated

ROOT = Path(__file__).parents[2]


def test_the_tables_are_current():
    """`python -m gbw_panoptic.structures.document` writes them."""
    page = (ROOT / PATH).read_text()
    assert page == updated(page)


def test_every_key_has_a_meaning():
    for kind in SHOWN:
        assert kind.__doc__ and f"**`{kind.__name__}`**" in tables()
    assert "| *`instances`* | the teacher's instances" in tables()
    assert "| `sem_seg` | [H, W] int64" in tables()
