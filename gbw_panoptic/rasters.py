"""Raster images opened by their content, never by their name: a few formats, and nothing that could execute or hang.

One bad file is one :class:`~gbw_panoptic.errors.UserError`, whatever the image library raises. Damaged metadata beside
sound pixels are no fault of the file.
"""

import io
import logging
import os
import re
import stat
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from . import raster_metadata
from .errors import UserError

logger = logging.getLogger(__name__)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # on metadata, and without a file's name

#: What is opened, in Pillow's words. Its other formats start programs (EPS), are rare or have a history of faults.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM")
_LOSSLESS = ("PNG", "BMP", "PPM")
_LOSSLESS_TIFF = ("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "lzma", "zstd")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_SIDEWAYS = (5, 6, 7, 8)
#: Below this share of 16 bits, the pixels are those of a file of fewer bits: their high bytes are (nearly) black.
_LEAST_OF_16_BITS = 1 << 12
_SIGNATURES = (
    (rb"\xff\xd8\xff", "a damaged JPEG file"), (rb"\x89PNG", "a damaged PNG file"),
    (rb"RIFF....WEBP", "a damaged WebP file"),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "a TIFF file that is damaged or of a rare kind"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript"),
    (rb"%PDF", "a PDF file"), (rb"GIF8", "a GIF image"), (rb"....ftyp(hei|hev|mif|msf)", "a HEIC image"),
    (rb"....ftypavi[fs]", "an AVIF image"), (rb"....ftyp", "a video"),
    (rb"....jP  |\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (rb"\xff\x0a|....JXL ", "a JPEG XL image"), (rb"8BPS", "a Photoshop file"), (rb"PK\x03\x04", "a zip archive"),
    (rb"\x1f\x8b", "a gzip archive"), (rb"\s*<(!doctype|html)", "a web page"),
    (rb"version https://git-lfs", "a pointer of Git LFS"),
)  # fmt: skip
_said: set[str] = set()


def require_file(path: str | os.PathLike) -> None:
    """Raise UserError unless ``path`` is a regular file: reading a named pipe or a terminal would never end."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        raise cannot_read(path, error) from None
    if not stat.S_ISREG(mode):
        kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))
        found = next((name for test, name in kinds if test(mode)), "a device")
        raise UserError(f"expected a file at {path}, found {found}; correct the path or put the file there")


def cannot_read(path: str | os.PathLike, error: OSError | ValueError) -> UserError:
    """The sentence for a system call that refuses."""
    absent = isinstance(error, FileNotFoundError)
    found = "nothing" if absent else getattr(error, "strerror", None) or error
    remedy = "correct the path, or unpack or generate it again" if absent else "unpack or generate it again"
    return UserError(f"expected a readable file at {path}, found {found}; {remedy}")


def read_size(path: str | os.PathLike) -> tuple[int, int]:
    """(H, W), upright as its EXIF tag says, from the header alone."""
    with _open(path) as image:
        return (image.width, image.height) if _turn(image) in _SIDEWAYS else (image.height, image.width)


def stored_size(path: str | os.PathLike) -> tuple[int, int]:
    """(H, W) of the pixels as they lie in the file, whatever its EXIF tag says."""
    with _open(path) as image:
        sideways = image.format == "TIFF" and raster_metadata.orientation(image) in _SIDEWAYS
        return (image.width, image.height) if sideways else (image.height, image.width)


def turns_unseen(path: str | os.PathLike) -> bool:
    """Whether an image's EXIF tag mirrors it or turns it by half, or any way if it is square: its size does not
    tell."""
    with _open(path) as image:
        turned = raster_metadata.orientation(image)
        return turned in _TURNS and (turned not in _SIDEWAYS or image.width == image.height)


def read_rgb(path: str | os.PathLike) -> Image.Image:
    """8-bit RGB, upright. What is converted is said once per kind; what cannot be converted without loss of sense is
    refused."""
    with _open(path) as image:
        turned, bits = _turn(image), raster_metadata.bits_per_channel(image)
        if raster_metadata.orientation(image) in _TURNS:
            _say_once("what an EXIF tag turns is read upright, and results are of the upright image", path)
        return _upright(_as_rgb(_loaded(image, path), bits, path), turned)


def is_lossy_picture(path: str | os.PathLike) -> bool:
    """Whether a file has colours and a compression that changes them; its header is read alone."""
    with _open(path) as image:
        return not _is_lossless(image) and image.mode in ("RGB", "RGBA", "CMYK", "YCbCr")


def read_lossless(path: str | os.PathLike) -> tuple[Image.Image, int]:
    """A decoded image of a format that keeps every value, upright as its own EXIF tag says, and its bits per channel.

    Raises:
        UserError: unreadable, or compressed with loss, whatever the file is called.
    """
    with _open(path) as image:
        if not _is_lossless(image):
            raise UserError(
                f"expected a PNG of ids, found {_format_name(image)} at {path}, whose compression changes ids; take "
                "the original labels"
            )
        turned, bits = _turn(image), raster_metadata.bits_per_channel(image)
        return _upright(_loaded(image, path), turned), bits


def _is_lossless(image: Image.Image) -> bool:
    return image.format in _LOSSLESS or image.format == "TIFF" and image.info.get("compression") in _LOSSLESS_TIFF


def _turn(image: Image.Image) -> int:
    """EXIF orientation of an image that is open and not yet decoded; 1 where Pillow itself turns it."""
    return 1 if image.format == "TIFF" else raster_metadata.orientation(image)


def _upright(image: Image.Image, turned: int) -> Image.Image:
    return image.transpose(_TURNS[turned]) if turned in _TURNS else image


def _open(path: str | os.PathLike) -> Image.Image:
    """The header is read, no pixel decoded."""
    require_file(path)
    try:
        image = Image.open(path, formats=FORMATS)
        image.filename = ""  # with it, Pillow maps plain TIFFs into memory, in rows of their turned width
        return image
    except UnidentifiedImageError:
        return _open_pixels_only(path)
    except Image.DecompressionBombError as error:
        raise _too_large(path, error) from None
    except OSError as error:
        if error.errno is not None:
            raise cannot_read(path, error) from None
        return _open_pixels_only(path)
    except MemoryError:
        raise
    except Exception:  # the library's, on a header that makes no sense
        return _open_pixels_only(path)


def _open_pixels_only(path: str | os.PathLike) -> Image.Image:
    """The same image without its metadata, which may be all that is wrong with it."""
    data = _read(path)
    for exif in (True, False):
        pixels = raster_metadata.pixels_only(data, exif=exif)
        try:
            if pixels is not None:
                return Image.open(io.BytesIO(pixels), formats=FORMATS)
        except MemoryError:
            raise
        except Image.DecompressionBombError as error:
            raise _too_large(path, error) from None
        except Exception:
            continue
    known = (name for signature, name in _SIGNATURES if re.match(signature, data, re.DOTALL | re.IGNORECASE))
    found = next(known, "something else") if data else "an empty file"
    remedy = (
        "unpack or generate it again"
        if "damaged" in found or not data
        else "convert it to PNG or JPEG, or put the image there"
    )
    raise UserError(f"expected an image, found {found} at {path}; {remedy}")


def _loaded(image: Image.Image, path: str | os.PathLike) -> Image.Image:
    """Decode all pixels: Pillow raises where a file is truncated, whereas OpenCV fills the rest of a JPEG with grey."""
    try:
        image.load()
        return image
    except MemoryError:
        raise
    except Exception as error:  # OSError, SyntaxError, ValueError, struct.error, zlib.error, ...
        found = " ".join(str(error).split()) or type(error).__name__
    again = _load_pixels_only(path)
    if again is None:
        raise UserError(
            f"expected a readable image, found a damaged file at {path} ({found}); unpack or generate it again"
        )
    return again


def _load_pixels_only(path: str | os.PathLike) -> Image.Image | None:
    data = _read(path)
    pixels = raster_metadata.pixels_only(data)
    try:
        image = Image.open(io.BytesIO(data if pixels is None else pixels), formats=FORMATS)
        if image.format == "TIFF":  # its tags are metadata, except those that Pillow has looked at by now
            exif = image.getexif()
            for tag in [tag for tag in exif if tag != raster_metadata.ORIENTATION]:
                del exif[tag]
        elif pixels is None:
            return None
        image.load()
        return image
    except MemoryError:
        raise
    except Exception:
        return None


def _as_rgb(image: Image.Image, bits: int, path: str | os.PathLike) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow's own conversion clips 16 bits to 255: all white
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 0xFFFF):
            raise UserError(f"expected 8 or 16 bits per pixel, found 32 in {path}; save it as an 8-bit image")
        _require_16_bits(int(values.max(initial=0)), path)
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise UserError(f"expected integer pixels, found floating point in {path}; save it as an 8-bit image")
    if bits > 8 and image.format in ("PNG", "TIFF"):  # Pillow has kept the high bytes
        colors = (
            image.getextrema()[: 3 if image.mode[:3] == "RGB" else 1]
            if len(image.getbands()) > 1
            else [image.getextrema()]
        )
        _require_16_bits(max(high for _, high in colors) << 8 | 1, path)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        return _on_white(image, path)
    if image.mode not in ("RGB", "L", "P", "1"):
        _say_once(f"{image.mode} becomes RGB", path)
    return image.convert("RGB")


def _require_16_bits(largest: int, path: str | os.PathLike) -> None:
    if 0 < largest < _LEAST_OF_16_BITS:
        raise UserError(
            f"expected values of 16 bits, found none of {_LEAST_OF_16_BITS} or more in {path}, which would be read as "
            "black; it holds an image of fewer bits: scale it to the whole range, or save it with 8 bits"
        )
    _say_once("of 16 bits per channel, the upper 8 are taken", path)


def _on_white(image: Image.Image, path: str | os.PathLike) -> Image.Image:
    image = image.convert("RGBA")
    least, most = image.getchannel("A").getextrema()
    if most == 0:
        raise UserError(
            f"expected visible pixels, found an alpha channel of nothing but 0 in {path}; save it without alpha"
        )
    if least == 255:
        return image.convert("RGB")
    _say_once("what is transparent becomes white", path)
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _say_once(what: str, path: str | os.PathLike) -> None:
    if what not in _said:
        _said.add(what)
        logger.warning("%s (said once, of the first such file: %s)", what, path)


def _format_name(image: Image.Image) -> str:
    return f"TIFF with {image.info.get('compression')} compression" if image.format == "TIFF" else str(image.format)


def _too_large(path: str | os.PathLike, error: Exception) -> UserError:
    found = re.search(r"\d+", str(error))
    pixels = f"{int(found[0]) / 1e6:.0f} million" if found else "more"
    most = 2 * Image.MAX_IMAGE_PIXELS // 10**6
    return UserError(
        f"expected an image of at most {most} million pixels, found {pixels} in {path}; make it smaller, or cut it "
        "into tiles"
    )


def _read(path: str | os.PathLike) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise cannot_read(path, error) from None
