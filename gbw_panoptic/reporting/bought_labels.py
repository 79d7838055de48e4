"""The section of a run's report on the labels that active learning has bought."""

import logging
from collections.abc import Iterator
from pathlib import Path

from .. import files
from ..errors import UserError
from .page import Page, table
from .run_folder import RunFolder

#: Form of what a round of acquisition has left in the manifest.
_ROUND = {
    "round": int, "pixels": int, "allowed": int, "cost": int, "void": int, "imbalance": float,
    "classes": files.Each(int),
}  # fmt: skip


def read_rounds(folder: Path, form: dict = _ROUND) -> list[dict]:
    """Rounds of acquisition in a folder of bought labels; none without a manifest.

    Args:
        form: of each round, as far as the caller reads it.

    Raises:
        UserError: the manifest is damaged.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        return []
    remedy = "restore it, or take another folder for the labels"
    return files.read_json(path, {"rounds": [form]}, remedy=remedy)["rounds"]


def bought_labels_section(run: RunFolder, page: Page) -> Iterator[str]:
    """Markdown blocks: accounts by round, the classes, overlays of the last round; none where nothing was bought."""
    folder = Path(run.value("ACTIVE.LABELS") or run.path / "active")
    try:
        rounds = read_rounds(folder)
    except UserError as error:  # a report is made of what is whole
        logging.getLogger("gbw_panoptic").warning("A file of a run counts as missing: %s", error)
        return
    if not rounds:
        return
    yield "## Bought labels"
    rows, spent = [], 0
    for entry in rounds:
        spent += entry["cost"]
        bought = sum(pixels > 0 for pixels in entry["classes"].values())
        pixels = (entry["pixels"], spent, entry["allowed"], entry["void"])
        rows.append([str(entry["round"]), *map(str, pixels), str(bought), f"{entry['imbalance']:.3f}"])
    header = ["round", "pixels", "spent so far", "allowed", "void", "classes in it", "imbalance of all so far"]
    yield table(rows, header)
    for picture in (folder / "classes.png", *sorted((folder / "overlays" / str(len(rounds))).glob("*.png"))[:4]):
        if picture.is_file():
            yield page.link(picture, picture.stem)
