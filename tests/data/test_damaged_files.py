"""Every way in which a file can be wrong, through the training loader: one sentence with its name, or a sample."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from PIL import Image
from test_loader import NUM_SOURCE, SIZE, cfg, take  # noqa: F401  (a fixture)

from gbw_panoptic.data.loader import build_train_loader
from gbw_panoptic.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def palette(path: Path) -> None:
    image = Image.fromarray(PIXELS[:, :, 0])
    image.putpalette(list(range(256)) * 3)
    image.save(path)


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "zero bytes": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not found"),
    "absent": lambda path: path.unlink(),
    "16 bits": lambda path: cv2.imwrite(str(path), PIXELS[:, :, 0].astype(np.uint16) << 8),
    "16 bits, colour": lambda path: cv2.imwrite(str(path), PIXELS.astype(np.uint16) << 8),
    "RGBA": lambda path: Image.fromarray(PIXELS).convert("RGBA").save(path),
    "palette": palette,
    "grey": lambda path: Image.fromarray(PIXELS[:, :, 0]).save(path),
    "another size": lambda path: Image.fromarray(PIXELS[:10]).save(path),
}
#: What the sentence says of a damaged image and of a damaged panoptic label; None: it is a sample like any other.
TABLE = {
    "truncated": ("a damaged file at", "a damaged file at"),
    "zero bytes": ("an empty file at", "an empty file at"),
    "text": ("something else at", "something else at"),
    "absent": ("found nothing", "found nothing"),
    "16 bits": (None, "found mode I;16 in"),
    "16 bits, colour": (None, "found 16 bits per channel in"),
    "RGBA": (None, "found mode RGBA in"),
    "palette": (None, "found mode P in"),
    "grey": (None, "found mode L in"),
    "another size": ("expected a label of the image's size", "expected a label of the image's size"),
}


@pytest.mark.parametrize("key", ["file_name", "pan_seg_file_name"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_table(cfg, damage: str, key: str) -> None:  # noqa: F811
    for n in range(NUM_SOURCE):
        DAMAGE[damage](Path(DatasetCatalog.get("loader_source")[n][key]))
    expected = TABLE[damage][key == "pan_seg_file_name"]
    if expected is None:
        assert take(build_train_loader(cfg), 1)[0].source[0]["image"].shape == (3, 16, 16)
        return
    with pytest.raises(UserError, match=expected) as error:
        take(build_train_loader(cfg), 1)
    assert "\n" not in str(error.value)
    assert any(record[key] in str(error.value) for record in DatasetCatalog.get("loader_source"))
