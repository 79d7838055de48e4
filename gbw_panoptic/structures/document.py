"""The tables of docs/architecture.md from the types: `python -m gbw_panoptic.structures.document` writes them."""

from pathlib import Path
from typing import Annotated, NotRequired, get_args, get_origin, get_type_hints, is_typeddict

from . import samples

PATH = Path("docs/architecture.md")
BEGIN, END = "<!-- tables of gbw_panoptic.structures.document -->\n", "<!-- end of the tables -->\n"
SHOWN = (
    samples.Record, samples.Metadata, samples.SourceSample, samples.TargetSample, samples.LabelledTarget,
    samples.MixedSample,
    samples.ModelOutput,
)  # fmt: skip


def tables() -> str:
    """A table for each type: its keys, in Markdown; keys in *italics* may be absent."""
    return "\n".join(_table(kind) for kind in SHOWN)


def updated(page: str) -> str:
    """The page with today's tables between its marks."""
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}{tables()}{END}{rest.split(END)[1]}"


def _table(kind: type) -> str:
    hints = get_type_hints(kind, include_extras=True)
    rows = [f"| {_name(key, kind)} | {_meaning(hint)} |" for key, hint in hints.items()]
    lines = [
        f"**`{kind.__name__}`**: {' '.join(kind.__doc__.split())}\n",
        "| key | what it holds |",
        "|---|---|",
        *rows,
    ]
    return "\n".join([*lines, ""])


def _name(key: str, kind: type) -> str:
    return f"`{key}`" if key in kind.__required_keys__ else f"*`{key}`*"


def _meaning(hint: object) -> str:
    """Of an ``Annotated[type, meaning]``."""
    if get_origin(hint) is NotRequired:
        (hint,) = get_args(hint)
    assert get_origin(hint) is Annotated, hint
    return get_args(hint)[1]


if __name__ == "__main__":
    assert all(map(is_typeddict, SHOWN))
    PATH.write_text(updated(PATH.read_text(encoding="utf-8")), encoding="utf-8")
