"""Readers that never return a wrong or empty image silently, and writers that never leave half a file (:mod:`.atomic`).

Shapes: H, W are the height and width of the file.
"""

import hashlib
import json
import os
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import cv2
import numpy as np

from . import plain_png, rasters
from .atomic import TEMPORARY_SUFFIX, atomic_write, clear_temporaries, replacing, require_replaceable  # noqa: F401
from .documents import parse_json, read_bytes, read_json, read_yaml  # noqa: F401  (here is one door to all files)
from .errors import UserError
from .forms import Each, Maybe, misfit  # noqa: F401

#: Files with these suffixes, in any case, are taken for images where a folder is searched.
IMAGE_SUFFIXES = tuple(".bmp .jfif .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif .tiff .webp".split())


def read_image(path: str | os.PathLike, format: str = "RGB") -> np.ndarray:
    """Decode an image to uint8 [H, W, 3] in ``format`` ("RGB" or "BGR") channel order, upright as its EXIF tag says.

    Of 16 bits, the high byte is taken, unless that is black; what is transparent becomes white, unless all of it is.
    Either is said once.
    """
    if format not in ("RGB", "BGR"):
        raise UserError(f"expected the image format RGB or BGR, found {format!r}; set INPUT.FORMAT to one of them")
    pixels = plain_png.read(path, "RGB", "RGB")
    if pixels is None:
        pixels = np.array(rasters.read_rgb(path))  # a copy, hence writable
    return pixels if format == "RGB" else np.ascontiguousarray(pixels[:, :, ::-1])


def read_image_size(path: str | os.PathLike) -> tuple[int, int]:
    """(H, W), upright as its EXIF tag says, from the header alone; the pixels are not decoded."""
    return rasters.read_size(path)


def turns_alone(image: str | os.PathLike, label: str | os.PathLike) -> bool:
    """Whether an image is turned by its EXIF tag, its label by none, and their sizes do not tell for which way that was
    drawn."""
    return rasters.turns_unseen(image) and not rasters.turns_unseen(label)


def is_turned(image: str | os.PathLike) -> bool:
    """Whether an EXIF tag turns or mirrors an image, so that its pixels lie otherwise in the file."""
    return rasters.turns_unseen(image) or rasters.stored_size(image) != rasters.read_size(image)


def size_remedy(path: str | os.PathLike, found: tuple[int, int], otherwise: str) -> str:
    """What to do about a label of another (H, W) ``found`` than the image at ``path``: an EXIF tag may have turned
    that."""
    if rasters.stored_size(path) == found != rasters.read_size(path):
        return "the image's EXIF tag turns it: remove the tag, or turn the label alike"
    return otherwise


def read_panoptic(path: str | os.PathLike) -> np.ndarray:
    """Decode a COCO-panoptic PNG to int32 [H, W] segment ids (R + 256 G + 65536 B)."""
    colors = plain_png.read(path, "RGB", "RGBA")
    if colors is not None:
        ids = colors.view("<i4")[..., 0]
        ids &= 0xFFFFFF
        return ids
    image, bits = rasters.read_lossless(path)
    if image.mode != "RGB" or bits != 8:
        found = f"mode {image.mode}" if image.mode != "RGB" else f"{bits} bits per channel"
        raise UserError(
            f"expected an 8-bit RGB panoptic PNG, found {found} in {path}; save segment ids as R + 256 G + 65536 B, or "
            "prepare the data set again"
        )
    # Pillow keeps four bytes per pixel: with the colours in the low three, a pixel is its id.
    pixels = np.frombuffer(image.tobytes("raw", "RGBX"), "<i4").reshape(image.height, image.width)
    return pixels & 0xFFFFFF


def write_panoptic(path: str | os.PathLike, ids: np.ndarray, *, note: str = "") -> None:
    """Write integer [H, W] segment ids in 0..2^24 - 1 as the COCO-panoptic PNG that :func:`read_panoptic` decodes."""
    channels = np.ascontiguousarray(ids, dtype="<u4").view(np.uint8).reshape(*ids.shape, 4)
    write_png(path, cv2.cvtColor(channels, cv2.COLOR_RGBA2RGB), note=note)


def read_label(path: str | os.PathLike, dtype: type[np.unsignedinteger] = np.uint8) -> np.ndarray:
    """Decode a label PNG of one byte per pixel (grey, or the indices of a palette) to uint8 [H, W]; with uint16, one of
    two bytes."""
    if dtype is np.uint16:
        return read_instance_ids(path).astype(np.uint16)
    labels = plain_png.read(path, "L", "L")
    if labels is not None:
        return labels
    image, bits = rasters.read_lossless(path)
    if image.mode not in ("L", "P") or image.mode == "L" and bits != 8:  # grey of fewer bits is scaled up to 255
        found = f"mode {image.mode}" if image.mode != "L" else f"{bits} bits"
        raise UserError(
            f"expected a label PNG with one 8-bit id per pixel, found {found} in {path}; "
            "put the id labels there, not their colour rendering"
        )
    return np.array(image)


def read_ids(path: str | os.PathLike, *, colors: bool = False) -> np.ndarray:
    """Decode a label file of any lossless kind to int32 [H, W].

    Grey of 1 to 16 bits and palettes give the number that is stored, colours R + 256 G + 65536 B; alpha is not looked
    at.

    Args:
        colors: take the colours of a palette, too, and of grey.
    """
    image, bits = rasters.read_lossless(path)
    if colors or image.mode in ("RGB", "RGBA"):
        if bits > 8:
            raise UserError(f"expected 8 bits per channel, found {bits} in {path}; save the labels with one channel")
        pixels = np.asarray(image.convert("RGB")).astype(np.int32)
        return pixels[..., 0] | pixels[..., 1] << 8 | pixels[..., 2] << 16
    if image.mode in ("1", "L") and bits < 8:  # Pillow scales them up to 255
        return np.asarray(image.convert("L")).astype(np.int32) // (255 // (2**bits - 1))
    if image.mode == "LA":
        image = image.getchannel("L")
    if image.mode not in ("L", "P", "I;16", "I;16B", "I"):
        raise UserError(
            f"expected a label file of whole numbers or colours, found mode {image.mode} in {path}; save it as PNG"
        )
    return np.asarray(image).astype(np.int32)


def read_rgba(path: str | os.PathLike) -> np.ndarray:
    """Decode an 8-bit PNG of four channels to uint8 [H, W, 4], each as it is stored."""
    image, bits = rasters.read_lossless(path)
    if image.mode != "RGBA" or bits != 8:
        found = f"mode {image.mode}" if image.mode != "RGBA" else f"{bits} bits per channel"
        raise UserError(
            f"expected an 8-bit RGBA PNG, found {found} in {path}; use the label files as they were downloaded"
        )
    return np.array(image)


def read_instance_ids(path: str | os.PathLike) -> np.ndarray:
    """Decode a Cityscapes ``*_instanceIds.png`` (16 bit, one channel) to int32 [H, W]."""
    image, bits = rasters.read_lossless(path)
    if image.mode not in ("I;16", "I;16B", "I", "L") or bits < 8:
        found = f"mode {image.mode}" if bits >= 8 else f"{bits} bits"
        raise UserError(f"expected a 16-bit PNG of instance ids, found {found} in {path}; unpack the archive again")
    return np.asarray(image).astype(np.int32)


def read_two_byte_channels(path: str | os.PathLike) -> np.ndarray:
    """Decode a 16-bit colour PNG to uint16 [H, W, 3] in RGB order. Pillow would cut it to 8 bits; OpenCV does not."""
    rasters.require_file(path)
    data = read_bytes(path)
    is_png = data.startswith(plain_png.SIGNATURE)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if is_png else None
    except cv2.error:  # more pixels than OpenCV takes
        pixels = None
    if pixels is None:
        raise UserError(f"expected a readable PNG, found a damaged file at {path}; unpack the archive again")
    if pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] != 3:
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        raise UserError(
            f"expected a 16-bit three-channel PNG, found {8 * pixels.itemsize}-bit with {channels} channel(s) "
            f"in {path}; use the files of GT/LABELS as they were downloaded, not a colour rendering"
        )
    return np.ascontiguousarray(pixels[:, :, ::-1])


def safe_file_name(name: Any) -> str:
    """``name``, which comes from a file's content, if it is a relative path that stays in its folder.

    Raises:
        ValueError: it is not; the message is a noun phrase for the sentence of the caller.
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"the file name {name!r}")
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    if posix.is_absolute() or windows.drive or windows.root or ".." in windows.parts or "\0" in name:
        raise ValueError(f"the file name {name!r}, which leaves its folder,")
    return name


def sha256(path: str | os.PathLike) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def input_sha256(path: str | os.PathLike) -> str:
    """:func:`sha256` of a regular file; UserError where there is none that can be read."""
    rasters.require_file(path)
    try:
        return sha256(path)
    except OSError as error:
        raise rasters.cannot_read(path, error) from None


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write ``value`` as JSON, atomically; equal values give equal bytes when their keys are ordered alike."""
    atomic_write(path, json.dumps(value, separators=(",", ":"), allow_nan=False).encode())


def write_png(path: str | os.PathLike, pixels: np.ndarray, *, note: str = "") -> None:
    """Write uint8 or uint16 [H, W] or [H, W, 3] (RGB) as PNG, atomically, with a short ASCII ``note`` in its header."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    encoded, data = cv2.imencode(".png", pixels)
    if not encoded:
        raise ValueError(f"cannot encode {pixels.dtype} {pixels.shape} as PNG for {path}")
    atomic_write(path, plain_png.with_note(data.tobytes(), note) if note else data.tobytes())


def read_note(path: str | os.PathLike) -> str:
    """The note that :func:`write_png` was given; "" without one, or without a file."""
    try:
        with open(path, "rb") as file:
            return plain_png.note_of(file.read(plain_png.NOTE_ENDS))
    except OSError:
        return ""
