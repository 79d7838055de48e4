"""What each round asks for, on disk: the picks of every image, and the parts that images are cut into.

<folder>/picks/<round>/<image_id>.npy    int32 [K, 2] (row, column), best first; [K, 3] with what each is expected to
                                         cost, where the budget is not in pixels
<folder>/parts/<image_id>.png            uint16 [H, W], for superpixels: the part of each pixel, as it was first cut
"""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import files
from ..errors import UserError
from ..structures.known_instances import ARRAY_DAMAGE
from .budget import RegionShape
from .units import Partition, PartUnit

REMEDY = "restore it, or take another folder for the labels"


class Plans:
    """The plans in a folder."""

    def __init__(self, folder: Path, shape: RegionShape | PartUnit) -> None:
        self.folder = folder
        self.shape = shape

    def picks(self, number: int, image_id: str) -> Tensor | None:
        """int64 [K, 2] of an image in a round; None where it has not been decided on.

        Raises:
            UserError: the file is damaged, or would have to be executed to be read.
        """
        rows = self._rows(number, image_id)
        return None if rows is None else rows[:, :2]

    def planned_cost(self, number: int, image_id: str) -> int:
        """What the picks were expected to cost, in steps of a budget that is not in pixels."""
        rows = self._rows(number, image_id)
        return int(rows[:, 2].sum()) if rows is not None and rows.shape[1] == 3 else 0

    def _rows(self, number: int, image_id: str) -> Tensor | None:
        path = self._picks_path(number, image_id)
        if not path.exists():
            return None
        try:
            picks = np.load(io.BytesIO(files.read_bytes(path)), allow_pickle=False)
        except ARRAY_DAMAGE as error:
            found = " ".join(str(error).split())
            raise UserError(
                f"expected the picks of a round in {path}, found a file that cannot be read ({found}); nothing was "
                f"executed: {REMEDY}"
            ) from None
        fits = (
            isinstance(picks, np.ndarray) and picks.dtype == np.int32 and picks.ndim == 2 and picks.shape[1] in (2, 3)
        )
        if not fits or picks.min(initial=0) < 0:
            raise UserError(f"expected int32 rows and columns in {path}, found something else; {REMEDY}")
        return torch.from_numpy(picks.astype(np.int64))

    def plan(self, number: int, image_id: str, picks: Tensor, costs: Tensor | None = None) -> None:
        """Write down what is to be bought, and what it is expected to cost, [K], where that is not its pixels."""
        path, data = self._picks_path(number, image_id), io.BytesIO()
        rows = picks if costs is None else torch.cat([picks, costs[:, None].to(picks.dtype)], dim=1)
        np.save(data, rows.numpy().astype(np.int32), allow_pickle=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.atomic_write(path, data.getvalue())

    def keep_picks(self, number: int, image_id: str, kept: np.ndarray) -> None:
        """Drop the picks of an image but those of indices ``kept``."""
        rows = self._rows(number, image_id)[torch.from_numpy(kept)]
        self.plan(number, image_id, rows[:, :2], rows[:, 2] if rows.shape[1] == 3 else None)

    def forget_plan(self, number: int) -> None:
        """Drop the picks of a round of which nothing was bought."""
        shutil.rmtree(self.folder / "picks" / str(number), ignore_errors=True)

    def planned_images(self, number: int) -> list[str]:
        """Ids of the images of which something is asked in a round, sorted."""
        return sorted(
            path.stem
            for path in (self.folder / "picks" / str(number)).glob("*.npy")
            if len(self._rows(number, path.stem))
        )

    def shape_of(
        self, image_id: str, size: tuple[int, int], image: Callable[[], np.ndarray] | None = None
    ) -> RegionShape | Partition:
        """The squares, or the parts of an image of ``size``.

        Args:
            image: gives the image, uint8 [H, W, 3], to be cut where it was not yet.

        Raises:
            UserError: the parts are lost, damaged or of another size.
        """
        if isinstance(self.shape, RegionShape):
            return self.shape
        if self.shape.name == "image":
            return self.shape.partition(np.zeros(size, np.uint16))
        path = self.folder / "parts" / f"{safe(image_id)}.png"
        if not path.exists():
            if image is None:
                raise UserError(f"expected the superpixels of the image in {path}, found nothing; {REMEDY}")
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_png(path, self.shape.ids(image()))
        ids = files.read_label(path, np.uint16)
        if ids.shape != tuple(size) or len(np.unique(ids)) != int(ids.max()) + 1:
            raise UserError(f"expected superpixels of an image of {size[0]}x{size[1]} pixels in {path}; {REMEDY}")
        return self.shape.partition(ids)

    def _rounds_of_picks(self) -> list[Path]:
        folders = (self.folder / "picks").glob("*")
        return [path for path in folders if path.is_dir() and path.name.isascii() and path.name.isdecimal()]

    def _check_inside(self, number: int, image_id: str, picks: Tensor, size: tuple[int, int]) -> None:
        if len(picks) and (picks.amax(0) >= torch.tensor(size)).any():
            raise UserError(
                f"expected picks inside the image of {size[0]}x{size[1]} pixels in "
                f"{self._picks_path(number, image_id)}, found {picks.amax(0).tolist()}; {REMEDY}"
            )

    def _picks_path(self, number: int, image_id: str) -> Path:
        return self.folder / "picks" / str(number) / f"{safe(image_id)}.npy"


def safe(image_id: str) -> str:
    """The id, if it can be a file name; else UserError."""
    try:
        name = files.safe_file_name(image_id)
    except ValueError as error:
        raise UserError(f"expected an image id that can be a file name, found {error}; rename the image") from None
    if "/" in name or "\\" in name:
        raise UserError(f"expected an image id that can be a file name, found {image_id!r}; rename the image")
    return name
