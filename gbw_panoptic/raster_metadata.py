"""What a raster file says beside its pixels: how it is turned, how many bits a channel has; and the file without that.

Metadata come from many writers, and some of them are damaged. They must never keep sound pixels from being read.
"""

import re
import struct
import zlib
from collections.abc import Iterator

from PIL import Image, TiffImagePlugin

ORIENTATION = 0x0112  # the tag of EXIF and TIFF
_BITS_PER_SAMPLE = 258  # TIFF
_PNG, _PNG_KEPT = b"\x89PNG\r\n\x1a\n", (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PNG_TAIL = 1 << 17  # bytes; EXIF behind the pixels has no more than 64 KiB
_WEBP_KEPT = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH")
_WEBP_ALPHA, _WEBP_EXIF = 0x10, 0x08  # flags of VP8X
_JPEG_SCAN = 0xDA
#: APP1..13, APP15 and comments. APP0 (JFIF) and APP14 (Adobe) stay: without them, colours may change.
_JPEG_METADATA = {*range(0xE1, 0xEE), 0xEF, 0xFE}


def orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8 of an image that is open and not yet decoded; 1 where there is none that makes sense.

    A tag behind the pixels of a PNG counts, too; no pixel is decoded for it.
    """
    try:
        if image.format == "PNG" and "exif" not in image.info:
            behind = _exif_behind_pixels(image)
            if behind is not None:
                image.info["exif"] = behind
        value = Image.Image.getexif(image).get(ORIENTATION)  # PNG's own would decode the pixels
    except Exception:  # damaged metadata: whatever the image library makes of them
        return 1
    return value if type(value) is int and 1 <= value <= 8 else 1


def bits_per_channel(image: Image.Image) -> int:
    """How many bits the file has for each channel; the image must not be decoded yet."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(_BITS_PER_SAMPLE, (1,))
        return max(bits) if isinstance(bits, tuple) else bits
    if image.format == "PNG" and image.tile:
        found = re.search(r";(\d+)", str(image.tile[0].args))
        return int(found[1]) if found else 1 if image.mode == "1" else 8
    return {"1": 1, "I;16": 16, "I": 16, "F": 32}.get(image.mode, 8)


def pixels_only(data: bytes, *, exif: bool = False) -> bytes | None:
    """A PNG, JPEG or WebP file with nothing but what its pixels need, and ``exif``; None for other and for damaged
    content."""
    try:
        if data.startswith(_PNG):
            kept = (*_PNG_KEPT, b"eXIf") if exif else _PNG_KEPT
            return _PNG + b"".join(chunk for kind, chunk in _png_chunks(data) if kind in kept)
        if data.startswith(b"\xff\xd8"):
            return b"".join(_jpeg_parts(data, exif))
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _riff(b"".join(_webp_chunks(data, exif)))
    except (struct.error, IndexError):
        pass
    return None


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and all bytes of each chunk that is whole."""
    start = len(_PNG)
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if end > len(data):
            return
        yield kind, data[start:end]
        start = end


def _jpeg_parts(data: bytes, exif: bool) -> Iterator[bytes]:
    """Everything but metadata; what follows the start of the first scan is left as it is."""
    yield data[:2]
    start = 2
    while data[start] == 0xFF:
        marker, length = data[start + 1], struct.unpack_from(">H", data, start + 2)[0]
        if marker == _JPEG_SCAN:
            break
        end = start + 2 + length
        if marker not in _JPEG_METADATA or exif and data[start + 4 : end].startswith(b"Exif"):
            yield data[start:end]
        start = end
    yield data[start:]


def _webp_chunks(data: bytes, exif: bool) -> Iterator[bytes]:
    start = 12
    while start + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, start)
        end = start + 8 + length + length % 2
        chunk = data[start:end]
        if kind == b"VP8X":
            chunk = chunk[:8] + bytes([chunk[8] & (_WEBP_ALPHA | _WEBP_EXIF * exif)]) + chunk[9:]
        if kind in _WEBP_KEPT or exif and kind == b"EXIF":
            yield chunk
        start = end


def _riff(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def _exif_behind_pixels(image: Image.Image) -> bytes | None:
    """The eXIf chunk in the tail of a PNG, found by its name and its checksum."""
    file, position = image.fp, image.fp.tell()
    try:
        size = file.seek(0, 2)
        file.seek(max(size - _PNG_TAIL, 0))
        tail = file.read()
    finally:
        file.seek(position)
    place = tail.rfind(b"eXIf")
    if place < 4:
        return None
    end = place + 4 + struct.unpack_from(">I", tail, place - 4)[0]
    checksum = struct.unpack_from(">I", tail, end)[0]
    return tail[place + 4 : end] if zlib.crc32(tail[place:end]) == checksum else None
