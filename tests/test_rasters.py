"""The reader of images and labels: any mode, depth, format and metadata of the image library, and what is no raster at
all."""

import io
import os
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gbw_panoptic import files, rasters
from gbw_panoptic.errors import UserError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
LABEL_READERS = (files.read_label, files.read_panoptic, files.read_instance_ids)
PROPERTY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def tiff_block(entries, extra=b""):
    """EXIF of one directory; entries are (tag, type, count, 4 bytes)."""
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHI", t, k, n) + v for t, k, n, v in entries)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + body + struct.pack("<I", 0) + extra


def orientation_tag(value):
    return (0x0112, 3, 1, struct.pack("<HH", value, 0))


SIX = orientation_tag(6)
#: EXIF block -> the orientation that a reader must find in it.
EXIF = {
    "no TIFF header": (b"Exif\0\0" + b"garbage!" * 2, 1),
    "empty": (b"Exif\0\0", 1),
    "short": (b"Exif\0\0II*\0", 1),
    "directory beyond the end": (b"Exif\0\0II*\0" + struct.pack("<I", 99999) + b"\0" * 8, 1),
    "denominator 0 beside 6": (tiff_block([SIX, (0x011A, 5, 1, struct.pack("<I", 38))], struct.pack("<II", 1, 0)), 6),
    "orientation as text": (tiff_block([(0x0112, 2, 2, b"6\0\0\0")]), 1),
    "orientation 42": (tiff_block([orientation_tag(42)]), 1),
    "a directory as text beside 6": (tiff_block([SIX, (0x8769, 2, 4, b"abc\0")]), 6),
    "GPS beyond the end beside 6": (tiff_block([SIX, (0x8825, 4, 1, struct.pack("<I", 99999))]), 6),
    "a negative short beside 6": (tiff_block([SIX, (0x0213, 8, 1, struct.pack("<hh", -1, 0))]), 6),
    "bytes as a long beside 6": (tiff_block([SIX, (0x5001, 1, 4, b"\xff\xff\xff\xff")]), 6),
}


def saved(image, form, **options):
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def app_segment(payload, marker=0xE1):
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def with_png_chunk(data, kind, content, *, behind=False):
    place = len(data) - 12 if behind else 33
    return data[:place] + png_chunk(kind, content) + data[place:]


def with_jpeg_segment(data, payload, marker=0xE1):
    return data[:2] + app_segment(payload, marker) + data[2:]


def check_pixels(path, expected, turned):
    """The pixels of ``expected`` as an orientation of 1 or 6 (a quarter turn clockwise) shows them."""
    found = files.read_image(path)
    assert np.array_equal(found, np.rot90(expected, -1) if turned == 6 else expected)
    assert files.read_image_size(path) == found.shape[:2]


@pytest.mark.parametrize("name", EXIF)
def test_damaged_exif_beside_sound_pixels(tmp_path, name):
    block, turned = EXIF[name]
    image = Image.fromarray(PIXELS)
    jpeg = saved(image, "JPEG")
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)[:, :, ::-1]
    (tmp_path / "a.jpg").write_bytes(with_jpeg_segment(jpeg, block))
    found = files.read_image(tmp_path / "a.jpg")
    turned_back = np.rot90(found, 1) if turned == 6 else found
    assert np.abs(turned_back.astype(int) - decoded).max() <= 3  # two decoders round differently
    assert files.read_image_size(tmp_path / "a.jpg") == found.shape[:2]
    (tmp_path / "a.png").write_bytes(with_png_chunk(saved(image, "PNG"), b"eXIf", block[6:]))
    check_pixels(tmp_path / "a.png", PIXELS, turned)
    (tmp_path / "behind.png").write_bytes(with_png_chunk(saved(image, "PNG"), b"eXIf", block[6:], behind=True))
    check_pixels(tmp_path / "behind.png", PIXELS, turned)
    (tmp_path / "a.webp").write_bytes(saved(image, "WEBP", lossless=True, exif=block))
    check_pixels(tmp_path / "a.webp", PIXELS, turned)


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x>\xa8\xff</x>"),
        (b"iTXt", b"\xa8\xff"),
        (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n      10\nzzzzzz\n")),
        (b"zTXt", b"Comment\0\0not compressed"),
        (b"tEXt", b"\0\0\0"),
        (b"iCCP", b"\0" * 9),
        (b"pHYs", b"\0"),
        (b"gAMA", b""),
        (b"cHRM", b"\1"),
        (b"acTL", b"\xff" * 3),
    ],
)
def test_damaged_chunks_of_a_png_beside_sound_pixels(tmp_path, kind, content, behind):
    path = tmp_path / "a.png"
    path.write_bytes(with_png_chunk(saved(Image.fromarray(PIXELS), "PNG"), kind, content, behind=behind))
    check_pixels(path, PIXELS, 1)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(kind) + 4 + len(content)] ^= 255  # its checksum
    path.write_bytes(bytes(damaged))
    check_pixels(path, PIXELS, 1)
    assert np.array_equal(files.read_panoptic(path), PIXELS.astype(int) @ [1, 256, 65536])


@pytest.mark.parametrize(
    "payload",
    [
        b"http://ns.adobe.com/xap/1.0/\0<x>\xa8\xff</x>",
        b"ICC_PROFILE\0\0",
        b"MPF\0II*\0\xff",
        b"Photoshop 3.0\0\xff",
        b"",
    ],
)
@pytest.mark.parametrize("marker", [0xE1, 0xE2, 0xED, 0xEF, 0xFE])
def test_damaged_segments_of_a_jpeg_beside_sound_pixels(tmp_path, payload, marker):
    path, sound = tmp_path / "a.jpg", tmp_path / "sound.jpg"
    sound.write_bytes(saved(Image.fromarray(PIXELS), "JPEG"))
    path.write_bytes(with_jpeg_segment(sound.read_bytes(), payload, marker))
    check_pixels(path, files.read_image(sound), 1)


MODES = {"PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "RGB;16"], "JPEG": ["L", "RGB", "CMYK"],
         "WEBP": ["RGB", "RGBA"],
         "TIFF": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr", "LAB"],
         "BMP": ["1", "L", "P", "RGB"],
         "PPM": ["1", "L", "RGB", "I;16"]}  # fmt: skip


def image_of(mode, pixels):
    if mode == "I;16":
        return Image.fromarray(pixels[:, :, 0].astype(np.uint16) << 8 | 0xFF)
    if mode in ("I", "F"):
        return Image.fromarray(pixels[:, :, 0].astype(np.int32 if mode == "I" else np.float32))
    return Image.fromarray(pixels).convert(mode)


@st.composite
def images(draw):
    form = draw(st.sampled_from(sorted(MODES)))
    mode = draw(st.sampled_from(MODES[form]))
    pixels = np.random.default_rng(draw(st.integers(0, 99))).integers(
        0, 256, (*draw(st.tuples(st.integers(1, 9), st.integers(1, 9))), 3)
    )
    pixels[0, 0] = 255  # without it, a small image of 16 bits may be dark
    if mode == "RGB;16":  # which Pillow does not write
        plain, orientation = (
            cv2.imencode(".png", pixels.astype(np.uint16) << 8 | 0x55)[1].tobytes(),
            draw(st.integers(1, 8)),
        )
        return (
            with_png_chunk(plain, b"eXIf", tiff_block([orientation_tag(orientation)])[6:]),
            plain,
            mode,
            form,
            orientation,
        )
    image, orientation = (
        image_of(mode, pixels.astype(np.uint8)),
        draw(st.integers(1, 8)) if form in ("PNG", "JPEG", "WEBP", "TIFF") else 1,
    )
    options = {"lossless": True} if form == "WEBP" else {}
    plain = saved(image, form, **options)
    if orientation > 1 and form == "TIFF":
        options |= {"tiffinfo": {0x0112: orientation}}
    elif orientation > 1:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    data = saved(image, form, **options)
    junk = draw(st.binary(max_size=12))
    if draw(st.booleans()):
        if form == "PNG":
            data = with_png_chunk(
                data,
                draw(st.sampled_from([b"tEXt", b"iTXt", b"zTXt", b"iCCP", b"xxXx"])),
                junk,
                behind=draw(st.booleans()),
            )
        if form == "JPEG":
            data = with_jpeg_segment(data, junk, draw(st.integers(0xE1, 0xED)))
    return data, plain, mode, form, orientation


#: Orientation -> how stored pixels [H, W, ...] are shown.
SHOWN = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1), 7: lambda a: a[::-1, ::-1].swapaxes(0, 1), 8: lambda a: np.rot90(a),
}  # fmt: skip


def independent(plain, mode, orientation):
    """uint8 [H, W, 3] by Pillow's own functions, which the reader of this project does not call; of a file without a
    tag."""
    image = Image.open(io.BytesIO(plain))
    if mode == "RGB;16":
        wide = cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_UNCHANGED)
        image = Image.fromarray((wide >> 8).astype(np.uint8)[:, :, ::-1].copy())
    elif mode == "I;16":
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image)
        image = white
    return SHOWN[orientation](np.asarray(image.convert("RGB")))


@PROPERTY
@given(images())
def test_any_mode_format_and_metadata(tmp_path, drawn):
    """An image is what it shows, or refused in one sentence; its header gives its size; a label is exact, or
    refused."""
    data, plain, mode, form, orientation = drawn
    path = tmp_path / "a.any"
    path.write_bytes(data)
    try:
        found = files.read_image(path)
    except UserError as error:
        assert mode in ("I", "F") and str(path) in str(error)
    else:
        assert np.array_equal(found, independent(plain, mode, orientation)), (mode, form, orientation)
        assert files.read_image_size(path) == found.shape[:2]
    for reader in LABEL_READERS:
        try:
            labels = reader(path)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            continue
        assert form not in ("JPEG", "WEBP")
        stored = SHOWN[orientation](np.asarray(Image.open(io.BytesIO(plain))).astype(int))
        assert np.array_equal(labels, stored @ [1, 256, 65536] if stored.ndim == 3 else stored)


@PROPERTY
@given(
    st.sampled_from(sorted(MODES)),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=6),
    st.integers(0, 300),
)
def test_altered_and_cut_files_are_sentences(tmp_path, form, changes, length):
    data = bytearray(saved(Image.fromarray(PIXELS), form))
    for place, value in changes:
        data[place % len(data)] = value
    path = tmp_path / "a.png"
    path.write_bytes(bytes(data[: length or len(data)]))
    for reader in (files.read_image, files.read_image_size, files.read_two_byte_channels, *LABEL_READERS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reader(path)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)


def test_16_bits_per_channel_are_looked_at(tmp_path):
    wide = PIXELS[:, :, ::-1].astype(np.uint16)
    cv2.imwrite(str(tmp_path / "ids.png"), wide)  # the ids of a panoptic label, in a file of 16 bits
    with pytest.raises(UserError, match="found 16 bits per channel in .*ids.png"):
        files.read_panoptic(tmp_path / "ids.png")
    for name in ("ids.png", "ids.tif"):  # an 8-bit image in a file of 16 bits
        cv2.imwrite(str(tmp_path / name), wide)
        with pytest.raises(UserError, match="which would be read as black"):
            files.read_image(tmp_path / name)
    cv2.imwrite(str(tmp_path / "grey.png"), wide[:, :, 0])
    with pytest.raises(UserError, match="which would be read as black"):
        files.read_image(tmp_path / "grey.png")
    cv2.imwrite(str(tmp_path / "twelve.png"), wide[:, :, 0] << 3)
    with pytest.raises(UserError, match="an image of fewer bits"):
        files.read_image(tmp_path / "twelve.png")
    for name in ("full.png", "full.tif"):
        cv2.imwrite(str(tmp_path / name), wide << 8 | 0x55)
        assert np.array_equal(files.read_image(tmp_path / name), PIXELS)


def test_grey_labels_of_few_bits_are_refused_because_they_are_scaled(tmp_path):
    labels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    packed = b"".join(b"\0" + bytes(row[::2] << 4 | row[1::2]) for row in labels)
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 4, 0, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(packed)) + png_chunk(b"IEND", b"")
    (tmp_path / "four.png").write_bytes(data)
    assert Image.open(tmp_path / "four.png").getextrema() == (0, 255)  # not 15
    for reader in (files.read_label, files.read_instance_ids):
        with pytest.raises(UserError, match="found 4 bits in .*four.png"):
            reader(tmp_path / "four.png")


def test_alpha_is_looked_at(tmp_path):
    Image.fromarray(np.dstack([PIXELS, np.zeros(PIXELS.shape[:2], np.uint8)])).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="an alpha channel of nothing but 0 in .*a.png"):
        files.read_image(tmp_path / "a.png")


def test_what_is_converted_is_said_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(rasters, "_said", set())
    for name in ("first.png", "second.png"):
        cv2.imwrite(str(tmp_path / name), PIXELS.astype(np.uint16) << 8)
        files.read_image(tmp_path / name)
    assert [record.getMessage() for record in caplog.records] == [
        f"of 16 bits per channel, the upper 8 are taken (said once, of the first such file: {tmp_path / 'first.png'})"
    ]


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_lossy_labels_are_refused_whatever_their_name(tmp_path, form):
    label = np.full((64, 128), 7, np.uint8)
    label[20:44, 30:60] = 26
    image = Image.fromarray(label) if form == "JPEG" else Image.fromarray(label).convert("RGB")
    image.save(tmp_path / "label.png", form, quality=90)
    for reader in LABEL_READERS:
        with pytest.raises(UserError, match=f"found {form} at .*label.png, whose compression changes ids"):
            reader(tmp_path / "label.png")
    Image.fromarray(label).save(tmp_path / "label.tif", compression="jpeg")
    with pytest.raises(UserError, match="found TIFF with jpeg compression"):
        files.read_label(tmp_path / "label.tif")
    Image.fromarray(label).save(tmp_path / "label.tif", compression="tiff_lzw")
    assert np.array_equal(files.read_label(tmp_path / "label.tif"), label)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "found PostScript at"),
        (b"\xc5\xd0\xd3\xc6" + b"\0" * 30, "found PostScript at"),
        (b"%PDF-1.7", "found a PDF file at"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 20, "found a HEIC image at"),
        (b"\0\0\0\x18ftypavif" + b"\0" * 20, "found an AVIF image at"),
        (b"GIF89a" + b"\0" * 20, "found a GIF image at"),
        (b"<!DOCTYPE html><html>", "found a web page at"),
        (b"version https://git-lfs.github.com/spec/v1\n", "found a pointer of Git LFS at"),
        (b"", "found an empty file at"),
    ],
)
def test_only_listed_formats_are_opened_by_content(tmp_path, monkeypatch, content, found):
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program was started"))
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    for reader in (files.read_image, files.read_image_size, *LABEL_READERS):
        with pytest.raises(UserError, match=found):
            reader(path)


def test_a_named_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for reader in (files.read_image, files.read_image_size, files.read_two_byte_channels, *LABEL_READERS):
        with pytest.raises(UserError, match="found a named pipe"):
            reader(tmp_path / "pipe.png")


def test_names_that_the_system_refuses_are_sentences(tmp_path):
    os.symlink("loop.png", tmp_path / "loop.png")
    for name in ("loop.png", "x" * 300 + ".png", "a\0b.png"):
        with pytest.raises(UserError, match="expected a readable file at"):
            files.read_image(tmp_path / name)


def test_an_image_of_too_many_pixels_is_not_a_damaged_one(tmp_path):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 20000, 10000, 8, 2, 0, 0, 0))
    (tmp_path / "large.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    )
    with pytest.raises(
        UserError, match="at most 178 million pixels, found 200 million in .*large.png; make it smaller"
    ):
        files.read_image(tmp_path / "large.png")
