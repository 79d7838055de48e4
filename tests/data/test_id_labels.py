"""Label files of ids, of instance ids and of colours, described in YAML: every kind of PNG, every fault."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from panopticapi.utils import rgb2id
from PIL import Image

from gbw_panoptic import files
from gbw_panoptic.data import check_datasets, register_all
from gbw_panoptic.data.label_maps import read_label_map
from gbw_panoptic.data.preparation import check, prepare, status
from gbw_panoptic.data.statistics import ClassStatistics
from gbw_panoptic.errors import UserError
from gbw_panoptic.taxonomy import CITYSCAPES

IDS = np.array([[0, 1, 1], [2, 2, 0]])
TABLE = {0: "void", 1: "road", 2: "car"}
LABELS = np.array([[255, 0, 0], [13, 13, 255]])
PALETTE = [0, 0, 0, 128, 64, 128, 0, 0, 142]


@pytest.fixture(autouse=True)
def restore_registrations():
    yield
    register_all()


def palette_png(ids: np.ndarray) -> Image.Image:
    image = Image.fromarray(ids.astype(np.uint8), "P")
    image.putpalette(PALETTE)
    return image


def colored(ids: np.ndarray) -> np.ndarray:
    return np.array(PALETTE, np.uint8).reshape(-1, 3)[ids]


COLORS = {"0,0,0": "void", "128, 64, 128": "road", "0,0,142": "car"}
#: Kind of file -> (the image of some ids, the table that reads it).
KINDS = {
    "grey": (lambda ids: Image.fromarray(ids.astype(np.uint8)), TABLE),
    "grey of 16 bits": (lambda ids: Image.fromarray((300 * ids).astype(np.uint16)),
                        {300 * i: name for i, name in TABLE.items()}),
    "black and white": (lambda ids: Image.fromarray(ids == 1), {0: "void", 1: "road"}),
    "palette": (palette_png, TABLE),
    "colours": (lambda ids: Image.fromarray(colored(ids)), COLORS),
    "colours with alpha": (lambda ids: Image.fromarray(np.dstack([colored(ids), np.full(ids.shape, 255, np.uint8)])),
                           COLORS),
    "colours of a palette": (palette_png, COLORS),
    "ids in the first of three channels": (lambda ids: Image.fromarray(np.dstack([ids, 0 * ids, 0 * ids]).astype(np.uint8)), TABLE),
    "ids over three channels": (
        lambda ids: Image.fromarray(np.dstack([ids, ids, 0 * ids]).astype(np.uint8)),
        {257 * i: name for i, name in TABLE.items()}
    ),
}  # fmt: skip


def write(root: Path, ids, table, *, kind=KINDS["grey"][0], key: str = "labels", **split) -> Path:
    for name, one in zip(("a", "b"), (ids, ids[:, ::-1])):
        for folder, image in (("images", Image.new("RGB", one.shape[::-1])), ("labels", kind(one))):
            (root / folder).mkdir(exist_ok=True)
            image.save(root / folder / f"{name}.png")
    description = {"mine": {"ids": table, "splits": {"train": {"images": "images", key: "labels", **split}}}}
    (root / "custom.yaml").write_text(yaml.safe_dump(description))
    return root / "labels/a.png"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file(tmp_path, kind):
    make, table = KINDS[kind]
    write(tmp_path, IDS, table, kind=make)
    (report,) = prepare("mine", tmp_path, workers=1)
    assert not report.faults and report.prepared == 2 and not check("mine", tmp_path, workers=1)[0].faults
    register_all(str(tmp_path))
    check_datasets(["mine_sem_train", "mine_images_train"])
    first, second = DatasetCatalog.get("mine_sem_train")
    expected = np.where(LABELS == 13, 255, LABELS) if kind == "black and white" else LABELS
    assert np.array_equal(read_label_map(first, (2, 3), CITYSCAPES).semantic, expected)
    assert np.array_equal(read_label_map(second, (2, 3), CITYSCAPES).semantic, expected[:, ::-1])
    statistics = ClassStatistics.load(MetadataCatalog.get("mine_sem_train").class_statistics, CITYSCAPES.names)
    assert statistics.pixels[0] == 4 and statistics.pixels[13] == 2 * (expected == 13).sum()
    assert {s.name: s.state for s in status(tmp_path)}["mine"] == "complete"


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_keeps_its_numbers(tmp_path, bits):
    """Pillow scales such files up to 255; a PNG is written by hand, since Pillow writes one only of 1 bit."""
    import struct
    import zlib

    ids = np.arange(2**bits, dtype=np.uint8)[None]
    row = np.packbits(np.unpackbits(ids, axis=0).reshape(8, -1)[8 - bits :].T.reshape(-1)).tobytes()

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", ids.size, 1, bits, 0, 0, 0, 0)
    path = tmp_path / "few.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    )
    assert np.array_equal(files.read_ids(path), ids)


@pytest.mark.parametrize(
    "numbering, values",
    [
        ("cityscapes", [[7, 26, 26001], [26002, 0, 26000]]),
        ("kitti", [[7 * 256 + 9, 26 * 256, 26 * 256 + 1], [26 * 256 + 2, 0, 26 * 256 + 3]]),
    ],
)
def test_instance_numbers(tmp_path, numbering, values):
    values = np.array(values)
    write(
        tmp_path,
        values,
        "class_ids",
        kind=lambda v: Image.fromarray(v.astype(np.uint16)),
        key="instances",
        numbering=numbering,
    )
    (report,) = prepare("mine", tmp_path, workers=1)
    assert not report.faults and not check("mine", tmp_path, workers=1)[0].faults
    register_all(str(tmp_path))
    record = DatasetCatalog.get("mine_panoptic_train")[0]
    found = rgb2id(np.array(Image.open(record["pan_seg_file_name"])))
    numbers = {"cityscapes": (1, 2, 0), "kitti": (1, 2, 3)}[numbering]
    assert found.tolist() == [[7, 26, 26000 + numbers[0]], [26000 + numbers[1], 0, 26000 + numbers[2]]]
    assert [s["iscrowd"] for s in record["segments_info"]] == [0, 1, 0, 0, 0]  # cars without a number are a crowd


def test_ids_that_the_table_lacks_are_refused(tmp_path):
    path = write(tmp_path, IDS + 1, TABLE)
    (report,) = prepare("mine", tmp_path, workers=1)
    assert len(report.faults) == 2
    message = report.faults[0].message
    assert f"found the ids [3] in {path}; list them, as void if they are" in message and "custom.yaml" in message


def test_train_ids_and_class_ids_of_the_taxonomy(tmp_path):
    write(tmp_path, np.array([[0, 13], [255, 18]]), "train_ids")
    prepare("mine", tmp_path, workers=1)
    write(tmp_path, np.array([[7, 26], [4, 33]]), "class_ids")
    register_all(str(tmp_path))
    with pytest.raises(UserError, match="made with other ids than those of now"):
        DatasetCatalog.get("mine_sem_train")
    (report,) = prepare("mine", tmp_path, workers=1)
    assert not report.faults
    label = read_label_map(DatasetCatalog.get("mine_sem_train")[0], (2, 2), CITYSCAPES).semantic
    assert label.tolist() == [[0, 13], [255, 18]]


def test_names_that_differ_in_their_ends_are_paired_and_the_others_counted(tmp_path):
    write(tmp_path, IDS, TABLE, image_suffix="_photo", label_suffix="_ids")
    for folder, suffix in (("images", "photo"), ("labels", "ids")):
        for path in (tmp_path / folder).iterdir():
            path.rename(path.with_name(f"{path.stem}_{suffix}.png"))
    (tmp_path / "images/sub").mkdir()
    Image.new("RGB", (3, 2)).save(tmp_path / "images/sub/c_photo.png")
    Image.new("L", (3, 2)).save(tmp_path / "labels/d_ids.png")
    Image.new("RGB", (3, 2)).save(tmp_path / "labels/a_color.png")  # another rendering, which is not looked at
    (report,) = prepare("mine", tmp_path, workers=1)
    assert not report.faults and report.prepared == 2
    assert (
        "1 images without a label (first: sub/c_photo.png); 1 labels without an image (first: d_ids.png)"
        in report.left_out
    )
    with pytest.raises(UserError, match="--strict"):
        prepare("mine", tmp_path, workers=1, strict=True)
    register_all(str(tmp_path))
    assert [record["image_id"] for record in DatasetCatalog.get("mine_sem_train")] == ["a_photo", "b_photo"]
    for path in (tmp_path / "labels").iterdir():
        path.rename(path.with_name(f"x{path.name}"))
    with pytest.raises(
        UserError, match="found 3 images and 3 labels, but no pair; correct the folders, image_suffix or label_suffix"
    ):
        prepare("mine", tmp_path, workers=1)


BAD = {
    "no table": ({"splits": {"a": {"images": "x", "labels": "y"}}},
                 "expected class_ids, train_ids, or each id with a class under mine"),
    "an unknown class": ({"ids": {1: "cars"}, "splits": {"a": {"images": "x", "labels": "y"}}},
                         "found 'cars'; did you mean car"),
    "a colour of two": ({"ids": {"1, 2": "car"}, "splits": {"a": {"images": "x", "labels": "y"}}},
                        "or colours such as"),
    "ids and colours": ({"ids": {"1, 2, 3": "car", 4: "bus"}, "splits": {"a": {"images": "x", "labels": "y"}}},
                        "write all of them alike"),
    "the same colour twice": (
        {"ids": {"1, 2, 3": "car", "1,2,3": "bus"}, "splits": {"a": {"images": "x", "labels": "y"}}}, "each colour once"
    ),
    "a negative id": ({"ids": {-1: "car"}, "splits": {"a": {"images": "x", "labels": "y"}}}, "ids from 0 on"),
    "two kinds of labels": (
        {"ids": "class_ids", "splits": {"a": {"images": "x", "labels": "y", "instances": "z"}}},
        "one kind of labels .*labels and instances"
    ),
    "another numbering": (
        {"ids": "class_ids", "splits": {"a": {"images": "x", "instances": "y", "numbering": "coco"}}},
        "one of cityscapes, kitti"
    ),
    "a suffix with a folder": (
        {"ids": "class_ids", "splits": {"a": {"images": "x", "labels": "y", "label_suffix": "/b"}}},
        "the end of a file's name"
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_bad_descriptions_are_refused_in_one_sentence(tmp_path, fault):
    entry, message = BAD[fault]
    (tmp_path / "custom.yaml").write_text(yaml.safe_dump({"mine": entry}))
    with pytest.raises(UserError, match=message) as raised:
        register_all(str(tmp_path))
    assert "\n" not in str(raised.value)


def test_the_photographs_pair_is_described(tmp_path):
    """The files that ship: names, roles and the protocol of 15 classes."""
    folder = Path(__file__).parents[2] / "datasets"
    taxonomy = str(folder / "rendered_classes.yaml")
    register_all(str(tmp_path), str(folder / "rendered_to_cityscapes256.yaml"), taxonomy)
    names = {n for n in DatasetCatalog if n.startswith(("rendered", "cityscapes256"))}
    assert {
        "rendered_panoptic_train",
        "cityscapes256_sem_val",
        "cityscapes256_panoptic_val_panoptic",
        "cityscapes256_images_train",
    } <= names
    fifteen = MetadataCatalog.get("rendered_panoptic_train").taxonomy.protocols["15"]
    assert len(fifteen.class_ids) == 15 and not fifteen.void_ids
    assert MetadataCatalog.get("synthia_panoptic_train").taxonomy.protocols["15-ignore"].void_ids == CITYSCAPES.ids(
        "rider", "train", "motorcycle", "bicycle"
    )
