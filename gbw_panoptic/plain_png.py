"""PNG files without surprises, decoded by libspng where it is installed: twice as fast as Pillow, which reads all
others; and short notes in PNG files.

A file is plain if its header says 8 bits of grey or RGB, not interlaced, and nothing beside the pixels could change how
they are read: no palette, no transparency, no EXIF tag, no text that may hold one. The checksums of chunks are looked
at here, since the decoder skips them. Whatever is damaged is left to Pillow, which says what is wrong with it.
"""

import os
import struct
import zlib
from typing import Literal

import numpy as np
from PIL import Image

from .rasters import require_file

try:
    import pyspng
except ImportError:  # there are no wheels for this platform
    pyspng = None

SIGNATURE, _HEADER = b"\x89PNG\r\n\x1a\n", struct.Struct(">I4sIIBBBBB")
_COLOR_TYPES = {"L": 0, "RGB": 2}
_FIRST = 33  # bytes of the signature and of the first chunk
_NOTE = b"Origin\0"
#: Bytes of a file in which its note ends.
NOTE_ENDS = _FIRST + 12 + len(_NOTE) + 128
_HARMLESS = (b"IHDR", b"IDAT", b"pHYs", b"tIME", b"gAMA", b"sRGB", b"cHRM")
_HARMLESS_TEXT = (b"Origin", b"Software")  # other texts may be EXIF in disguise


def read(path: str | os.PathLike, mode: Literal["L", "RGB"], layout: Literal["L", "RGB", "RGBA"]) -> np.ndarray | None:
    """uint8 [H, W] (layout L) or [H, W, channels] of a file; None where it is not plain, not of ``mode``, damaged or
    cannot be opened.

    Args:
        layout: of the result; in RGBA, the last channel is 255.

    Raises:
        UserError: there is no regular file.
    """
    require_file(path)
    if pyspng is None:
        return None
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (OSError, ValueError):
        return None
    if not _is_plain(data, mode):
        return None
    try:
        return pyspng.load(data, layout)
    except (RuntimeError, ValueError):
        return None


def _is_plain(data: bytes, mode: str) -> bool:
    if not data.startswith(SIGNATURE) or len(data) < len(SIGNATURE) + _HEADER.size + 4:
        return False
    length, kind, width, height, depth, color, _, _, interlaced = _HEADER.unpack_from(data, len(SIGNATURE))
    if (length, kind, depth, color, interlaced) != (13, b"IHDR", 8, _COLOR_TYPES[mode], 0):
        return False
    if width * height > Image.MAX_IMAGE_PIXELS:  # what is too large is Pillow's to say
        return False
    return _is_whole_and_harmless(data, len(SIGNATURE))


def _is_whole_and_harmless(data: bytes, start: int) -> bool:
    """Whether the chunks from ``start`` to the last one are there, with the checksums that they say, and none is a
    surprise."""
    view = memoryview(data)
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 8 + length
        if end + 4 > len(data) or zlib.crc32(view[start + 4 : end]) != int.from_bytes(view[end : end + 4]):
            return False
        if kind == b"IEND":
            return True
        is_text = kind == b"tEXt" and data[start + 8 : start + 24].partition(b"\0")[0] in _HARMLESS_TEXT
        if kind not in _HARMLESS and not is_text:
            return False
        start = end + 4
    return False


def note_of(head: bytes) -> str:
    """What :func:`with_note` has written into a file of that beginning; "" without one."""
    if len(head) < _FIRST + 12 or not head.startswith(SIGNATURE) or head[_FIRST + 4 : _FIRST + 8] != b"tEXt":
        return ""
    length = struct.unpack_from(">I", head, _FIRST)[0]
    text = head[_FIRST + 8 : _FIRST + 8 + length]
    whole = head[_FIRST + 8 + length :][:4] == struct.pack(">I", zlib.crc32(b"tEXt" + text))
    return text[len(_NOTE) :].decode("ascii", "replace") if whole and text.startswith(_NOTE) else ""


def with_note(png: bytes, note: str) -> bytes:
    """The file with a short ASCII note behind its first chunk."""
    chunk = b"tEXt" + _NOTE + note.encode("ascii")
    return (
        png[:_FIRST] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[_FIRST:]
    )
