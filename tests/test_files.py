import os

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from gbw_panoptic import files
from gbw_panoptic.engine.checkpoint import write_synced
from gbw_panoptic.errors import UserError

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 61, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_read_image_has_the_requested_channel_order(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    Image.fromarray(IMAGE).save(path)
    assert np.array_equal(files.read_image(path), IMAGE)
    assert np.array_equal(files.read_image(path, "BGR"), IMAGE[:, :, ::-1])
    assert files.read_image_size(path) == IMAGE.shape[:2]


def test_read_image_makes_three_channels_of_grey_and_transparent_files(tmp_path):
    Image.fromarray(IMAGE[:, :, 0]).save(tmp_path / "grey.png")
    assert np.array_equal(files.read_image(tmp_path / "grey.png"), np.repeat(IMAGE[:, :, :1], 3, axis=2))
    Image.fromarray(IMAGE).convert("RGBA").save(tmp_path / "transparent.png")
    assert np.array_equal(files.read_image(tmp_path / "transparent.png"), IMAGE)


def test_read_image_keeps_the_high_byte_of_16_bits(tmp_path):
    wide = IMAGE[:, :, 0].astype(np.uint16) << 8 | 0x7F
    for name in ("wide.png", "wide.tif"):
        Image.fromarray(wide).save(tmp_path / name)
        assert np.array_equal(files.read_image(tmp_path / name), np.repeat(IMAGE[:, :, :1], 3, axis=2))
    cv2.imwrite(str(tmp_path / "color.png"), IMAGE[:, :, ::-1].astype(np.uint16) << 8 | 0x7F)
    assert np.array_equal(files.read_image(tmp_path / "color.png"), IMAGE)


def test_what_does_not_fit_into_8_bits_is_refused(tmp_path):
    Image.fromarray(np.ones((4, 5), np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(np.full((4, 5), 1 << 20, np.int32)).save(tmp_path / "long.tif")
    with pytest.raises(UserError, match="found floating point in .*float.tif"):
        files.read_image(tmp_path / "float.tif")
    with pytest.raises(UserError, match="found 32 in .*long.tif"):
        files.read_image(tmp_path / "long.tif")


def test_what_is_transparent_becomes_white(tmp_path):
    alpha = np.full(IMAGE.shape[:2], 255, np.uint8)
    alpha[:, :20] = 0
    Image.fromarray(np.dstack([IMAGE, alpha])).save(tmp_path / "cut_out.png")
    found = files.read_image(tmp_path / "cut_out.png")
    assert (found[:, :20] == 255).all() and np.array_equal(found[:, 20:], IMAGE[:, 20:])


def test_read_image_turns_a_photograph_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # rotated by 180 degrees
    Image.fromarray(IMAGE).save(tmp_path / "photo.png", exif=exif)
    assert np.array_equal(files.read_image(tmp_path / "photo.png"), IMAGE[::-1, ::-1])


@pytest.mark.parametrize(
    "reader", [files.read_image, files.read_panoptic, files.read_label, files.read_two_byte_channels]
)
@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated", "flipped", "folder"])
def test_damaged_files_are_named_and_never_returned(tmp_path, reader, damage):
    path = tmp_path / "bad.png"
    Image.fromarray(IMAGE).save(path)
    data = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]
        path.write_bytes({"empty": b"", "text": b"hello", "truncated": data[:middle], "flipped": flipped}[damage])
    with pytest.raises(UserError, match="expected .*bad.png"):
        reader(path)


def test_truncated_jpeg_is_refused(tmp_path):
    path = tmp_path / "bad.jpg"
    Image.fromarray(IMAGE).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    assert cv2.imread(str(path)) is not None  # OpenCV would have filled the rest with grey
    with pytest.raises(UserError, match="damaged file at .*bad.jpg"):
        files.read_image(path)


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 2**24 - 1)))
def test_panoptic_ids_survive_a_png(tmp_path_factory, ids):
    path = tmp_path_factory.mktemp("ids") / "ids.png"
    files.write_png(path, np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8))
    found = files.read_panoptic(path)
    assert found.dtype == np.int32 and np.array_equal(found, ids)
    data = path.read_bytes()
    files.write_panoptic(path, ids)
    assert path.read_bytes() == data
    rgb = cv2.imread(str(path))[:, :, ::-1].astype(np.int64)  # an independent decoder
    assert np.array_equal(rgb @ [1, 256, 65536], ids)


def test_read_label_takes_indices_of_a_palette_not_its_colors(tmp_path):
    labels = np.arange(35, dtype=np.uint8).reshape(5, 7)
    image = Image.fromarray(labels)
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    image.save(tmp_path / "label.png")
    assert np.array_equal(files.read_label(tmp_path / "label.png"), labels)


def test_wrong_pixel_formats_are_refused(tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "color.png")
    Image.fromarray(IMAGE[:, :, 0]).save(tmp_path / "grey.png")
    with pytest.raises(UserError, match="found mode RGB in .*color.png"):
        files.read_label(tmp_path / "color.png")
    with pytest.raises(UserError, match="found mode L in .*grey.png"):
        files.read_panoptic(tmp_path / "grey.png")
    with pytest.raises(UserError, match="found mode RGB in .*color.png"):
        files.read_instance_ids(tmp_path / "color.png")
    with pytest.raises(UserError, match="found 8-bit with 3 channel.* in .*color.png"):
        files.read_two_byte_channels(tmp_path / "color.png")
    cv2.imwrite(str(tmp_path / "one.png"), IMAGE[:, :, 0].astype(np.uint16))
    with pytest.raises(UserError, match="found 16-bit with 1 channel.* in .*one.png"):
        files.read_two_byte_channels(tmp_path / "one.png")


def test_two_byte_channels_keep_all_bits_in_rgb_order(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 2**16, (6, 5, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "wide.png"), pixels[:, :, ::-1])
    assert np.array_equal(files.read_two_byte_channels(tmp_path / "wide.png"), pixels)


def test_unknown_channel_order_is_refused(tmp_path):
    with pytest.raises(UserError, match="found 'L'"):
        files.read_image(tmp_path / "any.png", "L")


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "value.json"
    files.write_json(path, {"a": 1})

    def fail(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        files.write_json(path, {"a": 2})
    assert files.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["value.json"]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "value.mp4"
    path.write_text("old")
    with pytest.raises(KeyError), files.replacing(path, suffix=".tmp.mp4") as temporary:
        temporary.write_text("half")
        raise KeyError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with files.replacing(path, suffix=".tmp.mp4") as temporary:
        assert temporary.suffix == ".mp4" and temporary.parent == tmp_path
        temporary.write_text("new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_damaged_json_is_named(tmp_path):
    (tmp_path / "bad.json").write_text('{"a": ')
    with pytest.raises(UserError, match="expected JSON.*bad.json"):
        files.read_json(tmp_path / "bad.json")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_the_size_in_the_header_is_the_size_of_the_pixels(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(IMAGE).save(path, exif=exif)
    assert files.read_image_size(path) == files.read_image(path).shape[:2]


def test_yaml_of_plain_values_is_read(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: {b: [1, 2.5, c], 'd e': null}\nf: {b: 1}\n")
    assert files.read_yaml(path) == {"a": {"b": [1, 2.5, "c"], "d e": None}, "f": {"b": 1}}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: !!python/object/apply:os.mkdir ['{folder}']", "could not determine a constructor"),
        ("a: 1\nb: {c: 1, d: 2, c: 3}", "the key 'c' twice"),
        ("a: 1\na: 1", "the key 'a' twice"),
        ("a: [", "expected the node content"),
        ("a: \0", "special characters"),
    ],
)
def test_other_yaml_is_refused_in_one_sentence(tmp_path, text, found):
    path = tmp_path / "a.yaml"
    path.write_text(text.format(folder=tmp_path / "planted") if "{folder}" in text else text)
    with pytest.raises(UserError, match=found) as raised:
        files.read_yaml(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)
    assert not (tmp_path / "planted").exists()


UNSAFE_NAMES = ["../x.png", "a/../../x.png", "/etc/x.png", "C:\\x.png", "..\\x.png", "\\x.png", "a\0b.png", "", 3, None]


@pytest.mark.parametrize("name", UNSAFE_NAMES)
def test_names_that_leave_their_folder_are_refused(name):
    with pytest.raises(ValueError, match="^the file name "):
        files.safe_file_name(name)


@pytest.mark.parametrize("name", ["x.png", "ulm/a..b_panoptic.png", "./x.png", "a b/ä.jpg"])
def test_ordinary_file_names_pass(name):
    assert files.safe_file_name(name) == name


def test_a_device_is_not_replaced_by_a_file(tmp_path):
    """As root, renaming a file to /dev/null would take it from all programs."""
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(UserError, match="found a device or a pipe there; give another path"):
        files.write_json(tmp_path / "pipe.json", {})
    with pytest.raises(UserError, match="found a device or a pipe there; give another path"):
        write_synced(str(tmp_path / "pipe.json"), lambda file: file.write(b""), remedy="")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe.json"] and not (tmp_path / "pipe.json").is_file()
