"""The fast reader of PNG files: what Pillow reads, where it reads at all, and nothing with a surprise."""

import io

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gbw_panoptic import files, plain_png
from gbw_panoptic.errors import UserError

pytestmark = pytest.mark.skipif(plain_png.pyspng is None, reason="pyspng has no wheel for this platform")
PIXELS = np.random.default_rng(0).integers(0, 256, (11, 17, 3), dtype=np.uint8)
GREY = np.ascontiguousarray(PIXELS[..., 0])


def png(pixels, **options) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG", **options)
    return data.getvalue()


def text(keyword: str) -> PngInfo:
    info = PngInfo()
    info.add_text(keyword, "x")
    return info


def test_plain_files_are_read_without_pillow(tmp_path, monkeypatch):
    monkeypatch.setattr(files.rasters, "_open", lambda path: pytest.fail(f"Pillow reads {path}"))
    path = tmp_path / "a.png"
    for options in ({}, {"dpi": (72, 72)}, {"pnginfo": text("Software")}):
        path.write_bytes(png(PIXELS, **options))
        assert np.array_equal(files.read_image(path), PIXELS)
        assert np.array_equal(files.read_panoptic(path), PIXELS.astype(int) @ [1, 256, 65536])
        assert files.read_panoptic(path).dtype == np.int32 and files.read_image(path).flags.writeable
        path.write_bytes(png(GREY, **options))
        assert np.array_equal(files.read_label(path), GREY)
    files.write_panoptic(path, np.full((3, 5), 2**24 - 1), note="what it was made from")
    assert (files.read_panoptic(path) == 2**24 - 1).all()


def test_surprises_are_left_to_pillow(tmp_path):
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    surprises = [
        png(PIXELS, exif=exif), png(PIXELS, transparency=(1, 2, 3)), png(PIXELS, pnginfo=text("Raw profile type exif")),
        png(PIXELS, pnginfo=text("XML:com.adobe.xmp")), png(np.dstack([PIXELS, GREY])), png(GREY.astype(np.uint16)),
        png(GREY > 9), b"", b"\x89PNG\r\n\x1a\n",
    ]  # fmt: skip
    for data in surprises:
        path.write_bytes(data)
        assert plain_png.read(path, "RGB", "RGB") is None and plain_png.read(path, "L", "L") is None


def test_no_altered_byte_is_overlooked(tmp_path):
    path, data = tmp_path / "a.png", png(PIXELS[:3, :4])
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 64]) + data[place + 1 :])
        assert plain_png.read(path, "RGB", "RGB") is None
        path.write_bytes(data[:place])
        assert plain_png.read(path, "RGB", "RGB") is None
    with pytest.raises(UserError, match="expected a file at .*, found a folder"):
        plain_png.read(tmp_path, "RGB", "RGB")


def test_without_the_library_everything_is_read_by_pillow(tmp_path, monkeypatch):
    monkeypatch.setattr(plain_png, "pyspng", None)
    path = tmp_path / "a.png"
    path.write_bytes(png(PIXELS))
    assert np.array_equal(files.read_image(path), PIXELS)
