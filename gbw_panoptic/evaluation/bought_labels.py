"""The section of a run's report on the labels that active learning has bought."""

from collections.abc import Iterator
from pathlib import Path

from .. import files
from ..errors import UserError
from .page import Page, table
from .run_folder import RunFolder


def bought_labels_section(run: RunFolder, page: Page) -> Iterator[str]:
    """Markdown blocks: accounts by round, the classes, overlays of the last round; none where nothing was bought."""
    folder = Path(run.value("ACTIVE.LABELS") or run.path / "active")
    try:
        rounds = files.read_json(folder / "manifest.json")["rounds"] if (folder / "manifest.json").is_file() else []
    except UserError:  # a report is made of what is whole
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
