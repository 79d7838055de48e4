"""docs/configuration.md from the table of keys: `python -m gbw_panoptic.config.document` writes it."""

from pathlib import Path
from typing import Any

from detectron2.config import CfgNode, get_cfg

from .kinds import HOSTS, Key
from .resuming import rule
from .table import PARTS, add_gbw_panoptic_config

_PATH = Path("docs/configuration.md")
_HEAD = """# Configuration

Every key that is read, with its default, what it may be, and what it does. This page is written by
`python -m gbw_panoptic.config.document` from the table in `gbw_panoptic/config/`, which checks every value.

A configuration is a YAML file with `_BASE_`, or `KEY VALUE` pairs at the end of a command. An integer does where a
number is meant. A list is written `(1, 2)` or `[1, 2]`; one of a single entry `(1,)`. A default in *italics* is
Detectron2's. Where settings contradict each other, the command says so before anything is built.

A checkpoint holds the settings it was made with. A `--resume` may bring another value
of a key. *free*: training does not depend on it. *applied*: it holds from there on, and the log says so. *refused*: it
would be another experiment.
"""


def page() -> str:
    """The whole document, in Markdown."""
    cfg = get_cfg()
    add_gbw_panoptic_config(cfg)
    return "\n".join([_HEAD, *(_part(title, rows, cfg) for title, rows in PARTS.items())])


def _part(title: str, rows: tuple[Key, ...], cfg: CfgNode) -> str:
    lines = [
        f"| `{key.name}` | {_default(key, cfg)} | {key.kind.expected} | {rule(key.name)} | {key.text} |" for key in rows
    ]
    return "\n".join(
        [
            f"## {title}\n",
            "| key | default | may be | at a resume | what it does |",
            "|---|---|---|---|---|",
            *lines,
            "",
        ]
    )


def _default(key: Key, cfg: CfgNode) -> str:
    value: Any = cfg
    for name in key.name.split("."):
        value = value[name]
    shown = f"`{value!r}`" if isinstance(value, (str, list, tuple)) else str(value)
    return f"*{shown}*" if key.default is HOSTS else shown


if __name__ == "__main__":
    _PATH.write_text(page(), encoding="utf-8")
