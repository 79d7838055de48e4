import errno
import importlib.util
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from cityscapesscripts.helpers.labels import labels as cityscapes_labels
from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic
from detectron2.data import DatasetCatalog
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from panopticapi.utils import rgb2id
from PIL import Image

from gbw_panoptic import files
from gbw_panoptic.data import check_datasets, register_all
from gbw_panoptic.data.coco_panoptic import describe_segments
from gbw_panoptic.data.preparation import check, prepare, status
from gbw_panoptic.data.preparation.panoptic_ids import synthia_panoptic_ids
from gbw_panoptic.data.preparation.parallel import ordered_map
from gbw_panoptic.data.preparation.report import FaultKind
from gbw_panoptic.data.statistics import ClassStatistics
from gbw_panoptic.errors import UserError
from gbw_panoptic.streets import generate
from gbw_panoptic.taxonomy import CITYSCAPES, SYNTHIA_TO_CONTIGUOUS, SYNTHIA_VOID_IDS

REPOSITORY = Path(__file__).parents[2]
SYNTHIA = "synthia/RAND_CITYSCAPES"
SYNTHIA_LABEL = f"{SYNTHIA}/GT/LABELS/0000002.png"


TOOL = "datasets/prepare.py"


def load_tool():
    """datasets/prepare.py as a module: the folder is no package."""
    spec = importlib.util.spec_from_file_location("prepare_tool", REPOSITORY / TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def the_fault(dataset: str, root: Path, kind: FaultKind) -> str:
    """The message of the only fault that a check finds."""
    faults = [fault for report in check(dataset, root, workers=1) for fault in report.faults]
    assert [fault.kind for fault in faults] == [kind], faults
    return faults[0].message


def read_synthia(path: Path) -> tuple[np.ndarray, np.ndarray]:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return pixels[..., 2], pixels[..., 1]


# --- conversion ---


def test_synthia_labels_survive_exactly(raw_root):
    (report,) = prepare("synthia", raw_root, workers=1)
    assert not report.faults and (report.expected, report.images, report.prepared) == (5, 5, 5)
    value = json.loads((raw_root / SYNTHIA / "panoptic_cityscapes.json").read_text())
    assert value["categories"] == CITYSCAPES.categories()
    assert [image["file_name"] for image in value["images"]] == [f"{n:07d}.png" for n in range(5)]
    for annotation in value["annotations"]:
        assert annotation["file_name"] == f"{annotation['image_id']}_panoptic.png"
        classes, instances = read_synthia(raw_root / SYNTHIA / "GT/LABELS" / f"{annotation['image_id']}.png")
        ids = rgb2id(np.array(Image.open(raw_root / SYNTHIA / "panoptic_cityscapes" / annotation["file_name"])))
        regions = set()
        for segment in annotation["segments_info"]:
            mask = ids == segment["id"]
            (class_id,) = np.unique(classes[mask])  # each segment has one SYNTHIA class, the one of its category
            assert CITYSCAPES.dataset_ids[SYNTHIA_TO_CONTIGUOUS[class_id]] == segment["category_id"]
            rows, columns = np.nonzero(mask)
            box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert (segment["bbox"], segment["area"], segment["iscrowd"]) == (box, mask.sum(), 0)
            if CITYSCAPES.is_thing[SYNTHIA_TO_CONTIGUOUS[class_id]]:
                (instance,) = np.unique(instances[mask])  # ... and things one exact (class, instance number)
                assert np.array_equal(mask, (classes == class_id) & (instances == instance))
                assert segment["id"] // 1000 == segment["category_id"]
            else:
                assert np.array_equal(mask, classes == class_id) and segment["id"] == segment["category_id"]
            regions.add(segment["id"])
        assert set(np.unique(ids)) - {0} == regions
        assert np.array_equal(ids == 0, np.isin(classes, SYNTHIA_VOID_IDS))


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_synthia_ids_are_a_relabelling(data):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=6))
    classes = data.draw(hnp.arrays(np.uint16, shape, elements=st.sampled_from([*SYNTHIA_TO_CONTIGUOUS, 0, 13])))
    instances = data.draw(hnp.arrays(np.uint16, shape, elements=st.sampled_from([0, 1, 2, 65535])))
    ids = synthia_panoptic_ids(classes, instances)
    thing = np.isin(classes, [c for c, i in SYNTHIA_TO_CONTIGUOUS.items() if CITYSCAPES.is_thing[i]])
    keys = np.where(thing, classes * np.int64(100000) + instances, classes)
    keys[np.isin(classes, SYNTHIA_VOID_IDS)] = -1
    pairs = set(zip(keys.ravel().tolist(), ids.ravel().tolist()))
    assert len(pairs) == len({key for key, _ in pairs}) == len({id_ for _, id_ in pairs})


def test_too_many_instances_do_not_run_into_the_next_class():
    instances = np.arange(1001, dtype=np.uint16)[None]
    cars = np.full_like(instances, 8)
    with pytest.raises(ValueError, match="1001 instances"):
        synthia_panoptic_ids(cars, instances)
    assert synthia_panoptic_ids(cars[:, 1:], instances[:, 1:]).max() == 26999


def test_gta5_labels_become_train_ids(raw_root):
    (report,) = prepare("gta5", raw_root, workers=1)
    assert not report.faults
    train_ids = {label.id: label.trainId for label in cityscapes_labels if label.id >= 0} | {34: 255}
    for path in sorted((raw_root / "gta5/labels").iterdir()):
        raw, prepared = np.array(Image.open(path)), np.array(Image.open(raw_root / "gta5/labelTrainIds" / path.name))
        assert prepared.dtype == np.uint8
        assert np.array_equal(prepared, np.vectorize(train_ids.get)(raw))
        counts = {c: int((prepared == c).sum()) for c in range(19)}
        assert report.statistics.images[path.stem] == {c: n for c, n in counts.items() if n}


def test_cityscapes_output_equals_the_official_converter(raw_root, tmp_path_factory):
    official = tmp_path_factory.mktemp("official")
    convert2panoptic(str(raw_root / "cityscapes/gtFine"), str(official), setNames=["train", "val"])
    reports = prepare("cityscapes", raw_root, workers=1)
    assert not any(report.faults for report in reports)
    for split in ("train", "val"):
        ours = json.loads((raw_root / f"cityscapes/gtFine/cityscapes_panoptic_{split}.json").read_text())
        theirs = json.loads((official / f"cityscapes_panoptic_{split}.json").read_text())
        assert ours["annotations"] == theirs["annotations"]
        assert any(s["iscrowd"] for a in ours["annotations"] for s in a["segments_info"])
        for key in ("id", "name", "isthing", "color"):
            assert [c[key] for c in ours["categories"]] == [c[key] for c in theirs["categories"]]
        for key in ("id", "width", "height"):
            assert [i[key] for i in ours["images"]] == [i[key] for i in theirs["images"]]
        folder = f"cityscapes_panoptic_{split}"
        made = sorted((raw_root / "cityscapes/gtFine" / folder).iterdir())
        assert [path.name for path in made] == sorted(path.name for path in (official / folder).iterdir())
        for path in made:
            pixels = [np.array(Image.open(image)) for image in (path, official / folder / path.name)]
            assert np.array_equal(*pixels), path


def test_cityscapes_train_ids_follow_the_official_table(raw_root):
    prepare("cityscapes", raw_root, workers=1)
    train_ids = {label.id: label.trainId for label in cityscapes_labels if label.id >= 0}
    raw_files = sorted((raw_root / "cityscapes/gtFine").glob("*/*/*_labelIds.png"))
    assert len(raw_files) == 6
    for path in raw_files:
        prepared = np.array(Image.open(str(path).replace("labelIds", "labelTrainIds")))
        assert np.array_equal(prepared, np.vectorize(train_ids.get)(np.array(Image.open(path))))


@pytest.mark.parametrize("dataset", ["synthia", "gta5", "cityscapes"])
def test_one_worker_equals_two_byte_for_byte(raw_root, tmp_path_factory, dataset):
    raw = contents(raw_root)
    other = tmp_path_factory.mktemp("other")
    for name, data in raw.items():
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).write_bytes(data)
    one = prepare(dataset, raw_root, workers=1)
    two = prepare(dataset, other, workers=2)
    assert len(contents(raw_root)) > len(raw)
    assert contents(raw_root) == contents(other)
    assert [report.format() for report in one] == [report.format() for report in two]


def test_a_map_of_void_has_no_segments():
    assert describe_segments(np.zeros((4, 5), np.int32), CITYSCAPES) == []


# --- the run: restart, report, status ---


def test_finished_files_are_kept_and_changed_labels_are_converted_again(raw_root):
    prepare("synthia", raw_root, workers=1)
    folder = raw_root / SYNTHIA / "panoptic_cityscapes"
    before = contents(raw_root)
    written = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    (folder / "0000001_panoptic.png").unlink()
    (raw_root / SYNTHIA / "panoptic_cityscapes.json").unlink()
    os.utime(raw_root / SYNTHIA / "GT/LABELS/0000003.png")  # another time, the same content
    (folder / ".0000001_panoptic.png.99999999.tmp").write_bytes(b"half")
    prepare("synthia", raw_root, workers=1)
    assert contents(raw_root) == before
    changed = {path.name for path in folder.iterdir() if path.stat().st_mtime_ns != written[path.name]}
    assert changed == {"0000001_panoptic.png"}
    prepare("synthia", raw_root, workers=1, overwrite=True)
    assert all(path.stat().st_mtime_ns != written[path.name] for path in folder.iterdir())


def test_a_corrected_label_of_an_older_time_is_converted_again(raw_root):
    prepare("synthia", raw_root, workers=1)
    label = raw_root / SYNTHIA_LABEL
    shutil.copy(raw_root / SYNTHIA / "GT/LABELS/0000003.png", label)
    os.utime(label, (1, 1))
    (report,) = prepare("synthia", raw_root, workers=1)
    ids = [files.read_panoptic(raw_root / SYNTHIA / f"panoptic_cityscapes/000000{n}_panoptic.png") for n in (2, 3)]
    assert np.array_equal(*ids) and report.by_times == 0
    assert not check("synthia", raw_root, workers=1)[0].faults


def test_labels_of_an_earlier_version_are_kept_by_their_age_and_the_report_says_so(raw_root):
    prepare("gta5", raw_root, workers=1)
    path = raw_root / "gta5/labelTrainIds/00002.png"
    files.write_png(path, files.read_label(path))  # without the note of its origin
    before = contents(raw_root)
    (report,) = prepare("gta5", raw_root, workers=1)
    assert report.by_times == 1 and contents(raw_root) == before
    assert "1 labels are of an earlier version: only their age was compared" in report.format()
    os.utime(raw_root / "gta5/labels/00002.png")
    (report,) = prepare("gta5", raw_root, workers=1)
    assert report.by_times == 0 and files.read_note(path)


def test_a_root_with_the_characters_of_globs_and_a_disk_without_links(raw_root, monkeypatch):
    def no_links(source, target, *_, **__):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(source), None, str(target))

    monkeypatch.setattr(os, "symlink", no_links)
    root = raw_root / "data[1]*?"
    root.mkdir()
    shutil.move(raw_root / "cityscapes", root / "cityscapes")
    shutil.copy(raw_root / "streets.json", root)
    reports = prepare("cityscapes", root, workers=1)
    assert [(report.prepared, report.faults) for report in reports] == [(4, ()), (2, ())]


@pytest.mark.parametrize("dataset", ["synthia", "gta5", "cityscapes"])
def test_prepared_files_may_lie_elsewhere(raw_root, tmp_path_factory, monkeypatch, dataset):
    """Nothing is written below the root, and what is written is what would be."""
    there, before = tmp_path_factory.mktemp("prepared"), contents(raw_root)
    prepare(dataset, raw_root, workers=1, prepared=there)
    assert contents(raw_root) == before
    assert not any(report.faults for report in check(dataset, raw_root, workers=1, prepared=there))
    monkeypatch.setenv("GBW_PREPARED", str(there))
    register_all(str(raw_root))
    name = {"synthia": "synthia_panoptic_train", "gta5": "gta5_sem_train", "cityscapes": "cityscapes_uda_panoptic_val"}[
        dataset
    ]
    check_datasets((name,))
    key = "sem_seg_file_name" if dataset == "gta5" else "pan_seg_file_name"
    assert all(record[key].startswith(str(there)) for record in DatasetCatalog.get(name))
    assert {status_.name: status_.state for status_ in status(raw_root)}[dataset] == "complete"
    monkeypatch.delenv("GBW_PREPARED")
    register_all(str(raw_root))
    with pytest.raises(UserError, match=f"prepare.py {dataset} --root"):
        DatasetCatalog.get(name)
    prepare(dataset, raw_root, workers=1)
    written = {name: data for name, data in contents(raw_root).items() if name not in before}
    assert written == contents(there)
    register_all()


def test_a_root_that_cannot_be_written_names_the_way_out(raw_root, monkeypatch):
    def refuse(path, *_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(files, "atomic_write", refuse)
    monkeypatch.setattr(sys, "argv", ["prepare.py", "gta5", "--root", str(raw_root), "--workers", "1"])
    with pytest.raises(
        UserError, match="Read-only file system; .*--prepared DIR, and for training with GBW_PREPARED=DIR"
    ):
        load_tool().main()


def test_equal_names_in_two_cities_end_the_run_before_it_writes(raw_root):
    for kind in ("leftImg8bit", "gtFine"):
        folder = raw_root / "cityscapes" / kind / "train"
        for path in sorted((folder / "aachen").iterdir()):
            shutil.copy(path, folder / "aachen-west" / path.name)
    before = contents(raw_root)
    names = [f"aachen-west/{n} and aachen/{n}" for n in ("aachen_000000_000000", "aachen_000000_000001")]
    with pytest.raises(UserError, match=f"found {names[0]}, {names[1]} in"):  # all of them at once
        prepare("cityscapes", raw_root, workers=1)
    assert contents(raw_root) == before


def test_file_names_that_are_no_text_are_one_sentence(raw_root):
    folder = os.fsencode(raw_root / "gta5")
    for kind in (b"images", b"labels"):
        shutil.copy(os.path.join(folder, kind, b"00001.png"), os.path.join(folder, kind, b"stra\xdfe.png"))
    with pytest.raises(UserError, match=r"expected file names in UTF-8, found 1 others, first b'stra\\xdfe'"):
        prepare("gta5", raw_root, workers=1)


def test_a_killed_run_goes_on_where_it_stopped_and_leaves_no_process(raw_root):
    label = (raw_root / SYNTHIA_LABEL).read_bytes()
    image = (raw_root / SYNTHIA / "RGB/0000002.png").read_bytes()
    for number in range(5, 150):
        (raw_root / SYNTHIA / f"GT/LABELS/{number:07d}.png").write_bytes(label)
        (raw_root / SYNTHIA / f"RGB/{number:07d}.png").write_bytes(image)
    folder = raw_root / SYNTHIA / "panoptic_cityscapes"
    command = [sys.executable, "-W", "ignore", "datasets/prepare.py", "synthia", "--root", str(raw_root), "--workers=2"]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while len(list(folder.glob("0*.png"))) < 20 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert live_workers()
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while live_workers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not live_workers()
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("0*.png")}
    assert len(finished) >= 20 and not (raw_root / SYNTHIA / "panoptic_cityscapes.json").exists()
    (report,) = prepare("synthia", raw_root, workers=1)
    assert report.prepared == 150
    assert all(path.stat().st_mtime_ns == written for path, written in finished.items())
    assert not list(folder.glob(".*"))
    assert the_fault("synthia", raw_root, FaultKind.COUNT).startswith("expected 5 images")


def live_workers() -> list[str]:
    """Command lines of the pool processes that descend from this test, found by the environment they inherit."""
    mark = f"PYTEST_CURRENT_TEST={os.environ['PYTEST_CURRENT_TEST']}"
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode()
            environment = (process / "environ").read_bytes().decode()
        except OSError:  # of another user, or just gone
            continue
        if "multiprocessing" in command and mark in environment:
            found.append(command)
    return found


def test_an_early_stop_ends_the_processes():
    results = ordered_map(str, list(range(100)), workers=2, title="test")
    assert next(results) == "0"
    results.close()
    assert multiprocessing.active_children() == []


def test_the_tool_prepares_checks_and_reports(run_tool, raw_root):
    command = [sys.executable, "-W", "ignore", TOOL, "synthia", "--root", str(raw_root), "--workers", "2"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "synthia train: expected 5 images, found 5, prepared 5\n" in result.stdout
    for line in ("ids outside the taxonomy: 0", "size mismatches: 0", "unreadable files or wrong formats: 0"):
        assert line in result.stdout
    for name in CITYSCAPES.names:
        assert name in result.stdout
    assert "preparing synthia train: 5 images" in result.stderr  # the progress
    assert run_tool(TOOL, "synthia", "--root", str(raw_root), "--workers", "1", "--check").returncode == 0


def test_the_tool_says_what_is_missing_and_where_to_get_it(run_tool, tmp_path):
    result = run_tool(TOOL, "cityscapes", "--root", str(tmp_path))
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert str(tmp_path / "cityscapes/leftImg8bit/train") in result.stderr
    assert "register at cityscapes-dataset.com" in result.stderr


@pytest.mark.parametrize(
    ("dataset", "folder", "remedy"),
    [
        ("synthia", f"{SYNTHIA}/RGB", "synthia-dataset.net"),
        ("synthia", f"{SYNTHIA}/GT/LABELS", "synthia-dataset.net"),
        ("gta5", "gta5/labels", "Playing for Data"),
        ("cityscapes", "cityscapes/gtFine/val", "gtFine_trainvaltest.zip"),
    ],
)
@pytest.mark.parametrize("leave_folder", [True, False])
def test_missing_downloads_are_named_before_any_work(raw_root, dataset, folder, remedy, leave_folder):
    (raw_root / "streets.json").unlink()
    (raw_root / folder).rename(raw_root / "elsewhere")
    if leave_folder:
        (raw_root / folder).mkdir()
    before = contents(raw_root)
    with pytest.raises(UserError, match=rf"{folder}, found (nothing|no file named \*.*png).*{remedy}"):
        prepare(dataset, raw_root, workers=1)
    assert contents(raw_root) == before


def generated_states(root: Path) -> dict[str, str]:
    """The states of the data sets that Streets stands in for."""
    return {s.name: s.state for s in status(root) if s.name in ("synthia", "cityscapes", "gta5")}


def test_status_goes_from_missing_to_complete(raw_root, tmp_path_factory):
    assert {s.state for s in status(tmp_path_factory.mktemp("empty"))} == {"missing"}
    assert generated_states(raw_root) == {"synthia": "raw", "cityscapes": "raw", "gta5": "raw"}
    for dataset in generated_states(raw_root):
        prepare(dataset, raw_root, workers=1)
    assert set(generated_states(raw_root).values()) == {"complete"}
    assert [bool(s.remedy) for s in status(raw_root)] == [s.state != "complete" for s in status(raw_root)]
    next((raw_root / SYNTHIA / "panoptic_cityscapes").iterdir()).unlink()
    next((raw_root / "gta5/images").iterdir()).unlink()
    (raw_root / "cityscapes/gtFine/cityscapes_panoptic_val.json").unlink()
    assert set(generated_states(raw_root).values()) == {"incomplete"}
    remedies = {s.name: s.remedy for s in status(raw_root)}
    assert remedies["synthia"] == f"run `python datasets/prepare.py synthia --root {raw_root}`"
    assert f"run datasets/make_streets.py --root {raw_root} again" in remedies["gta5"]
    (raw_root / "streets.json").unlink()
    assert "Playing for Data" in {s.name: s.remedy for s in status(raw_root)}["gta5"]


def test_status_expects_the_published_counts_without_a_manifest(raw_root):
    (raw_root / "streets.json").unlink()
    details = {s.name: s.detail for s in status(raw_root)}
    assert "5 of 9400 images" in details["synthia"] and "5 of 24966 images" in details["gta5"]
    assert "4 of 2975 images" in details["cityscapes"] and "2 of 500 images" in details["cityscapes"]


def test_a_manifest_without_counts_is_refused(raw_root):
    (raw_root / "streets.json").write_text('{"datasets": {"synthia": {"train": {"images": "five"}}}}')
    with pytest.raises(UserError, match="expected the number of synthia train images in .*streets.json"):
        prepare("synthia", raw_root, workers=1)


# --- bad input ---


def plant_eight_bit(path: Path) -> None:
    cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.uint8))


def plant_palette(path: Path) -> None:
    Image.fromarray(read_synthia(path)[0].astype(np.uint8)).convert("P").save(path)


def plant_other_size(path: Path) -> None:
    cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:-1])


def plant_outside(path: Path) -> None:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    pixels[0, 0] = (0, 0, 23)
    cv2.imwrite(str(path), pixels)


def plant_truncation(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


SYNTHIA_FAULTS = [
    (plant_eight_bit, FaultKind.UNREADABLE, "expected a 16-bit three-channel PNG, found 8-bit"),
    (plant_palette, FaultKind.UNREADABLE, "expected a 16-bit three-channel PNG, found 8-bit"),
    (plant_other_size, FaultKind.SIZE, "expected 31 x 18 pixels .* found 31 x 17"),
    (plant_outside, FaultKind.OUTSIDE, r"found the class ids \[23\]"),
    (plant_truncation, FaultKind.UNREADABLE, "damaged file"),
    (Path.unlink, FaultKind.MISSING, "expected an image with its labels, found nothing"),
]


@pytest.mark.parametrize(("plant", "kind", "message"), SYNTHIA_FAULTS)
def test_synthia_refuses_bad_labels_and_writes_no_index(raw_root, plant, kind, message):
    plant(raw_root / SYNTHIA_LABEL)
    (report,) = prepare("synthia", raw_root, workers=1)
    (fault,) = report.faults
    assert fault.kind is kind
    with pytest.raises(UserError, match=f"{message}.*0000002.png"):
        raise UserError(fault.message)
    assert "\n" not in fault.message and not report.skipped
    assert not (raw_root / SYNTHIA / "panoptic_cityscapes.json").exists()
    assert not (raw_root / SYNTHIA / "panoptic_cityscapes/0000002_panoptic.png").exists()


def test_the_tool_refuses_bad_labels_with_one_sentence(run_tool, raw_root):
    plant_eight_bit(raw_root / SYNTHIA_LABEL)
    result = run_tool(TOOL, "synthia", "--root", str(raw_root), "--workers", "1")
    assert result.returncode == 2 and "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: synthia is not prepared, 1 fault(s)") and SYNTHIA_LABEL in last


def test_a_data_set_of_the_wrong_kind_is_given_up_early(raw_root):
    image = (raw_root / SYNTHIA / "RGB/0000000.png").read_bytes()
    for number in range(40):
        for folder in ("RGB", "GT/LABELS"):
            (raw_root / SYNTHIA / folder / f"{number:07d}.png").write_bytes(image)
    (report,) = prepare("synthia", raw_root, workers=1)
    assert len(report.faults) == 20 and "20" in report.format()


def test_gta5_leaves_its_known_faults_out_and_reports_them(raw_root):
    (raw_root / "gta5/labels/00002.png").unlink()
    plant_truncation(raw_root / "gta5/labels/00003.png")
    label = Image.open(raw_root / "gta5/labels/00004.png")
    label.crop((0, 0, 30, 18)).save(raw_root / "gta5/labels/00004.png")
    (report,) = prepare("gta5", raw_root, workers=1)
    assert [fault.kind for fault in report.faults] == [FaultKind.MISSING, FaultKind.UNREADABLE, FaultKind.SIZE]
    assert report.skipped and (report.expected, report.images, report.prepared) == (5, 5, 2)
    statistics = ClassStatistics.load(raw_root / "gta5/class_statistics.json")
    assert list(statistics.images) == ["00001", "00005"]
    assert {s.name: s.state for s in status(raw_root)}["gta5"] == "complete"
    assert len(check("gta5", raw_root, workers=1)[0].faults) == 3


def test_gta5_refuses_ids_outside_its_table(raw_root):
    Image.fromarray(np.full((18, 31), 35, np.uint8)).save(raw_root / "gta5/labels/00002.png")
    (report,) = prepare("gta5", raw_root, workers=1)
    assert not report.skipped and "found the ids [35]" in report.faults[0].message
    assert not (raw_root / "gta5/class_statistics.json").exists()


@pytest.mark.parametrize("kind", ["labelIds", "instanceIds"])
def test_cityscapes_refuses_unknown_ids(raw_root, kind):
    path = raw_root / f"cityscapes/gtFine/val/ulm/ulm_000000_000001_gtFine_{kind}.png"
    pixels = np.array(Image.open(path))
    pixels[0, 0] = 40
    Image.fromarray(pixels).save(path)
    train, val = prepare("cityscapes", raw_root, workers=1)
    assert not train.faults
    assert "found the ids [40]" in val.faults[0].message and path.name in val.faults[0].message


def test_cityscapes_refuses_classes_that_contradict_the_instances(raw_root):
    path = raw_root / "cityscapes/gtFine/val/ulm/ulm_000000_000001_gtFine_labelIds.png"
    pixels = np.array(Image.open(path))
    pixels[0, :4] = np.where(pixels[0, :4] == 7, 8, 7)
    Image.fromarray(pixels).save(path)
    _, val = prepare("cityscapes", raw_root, workers=1)
    assert [fault.kind for fault in val.faults] == [FaultKind.DISAGREE]
    assert "found 4 pixels of other classes in" in val.faults[0].message and path.name in val.faults[0].message


def test_an_image_that_its_exif_tag_turns_is_named_as_the_cause(raw_root):
    path = raw_root / "gta5/images/00002.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    (report,) = prepare("gta5", raw_root, workers=1)
    assert "the image's EXIF tag turns it: remove the tag" in report.faults[0].message


def test_an_image_that_its_tag_turns_unseen_is_named(raw_root):
    """A half turn changes no size: labels are those of the upright image, which the report says."""
    image, label = (raw_root / f"gta5/{name}/00002.png" for name in ("images", "labels"))
    pixels, exif = files.read_image(image), Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(pixels[::-1, ::-1].copy()).save(image, exif=exif)
    assert np.array_equal(files.read_image(image), pixels)
    for act in (prepare, prepare, check):
        (report,) = act("gta5", raw_root, workers=1)
        assert report.turned == ("00002",) and not report.faults
        assert (
            "1 images are mirrored or turned by half, as their EXIF tags say (first: 00002): their labels"
            in report.format()
        )
    ids = files.read_label(label)
    Image.fromarray(ids[::-1, ::-1].copy()).save(label, exif=exif)  # a label that says so itself
    assert np.array_equal(files.read_label(label), ids)
    assert prepare("gta5", raw_root, workers=1)[0].turned == ()


def plant_json_fault(root: Path) -> None:
    path = root / SYNTHIA / "panoptic_cityscapes.json"
    value = json.loads(path.read_text())
    value["annotations"][2]["segments_info"].pop()
    path.write_text(json.dumps(value))


def plant_lost_image(root: Path) -> None:
    for path in (f"{SYNTHIA}/RGB/0000002.png", SYNTHIA_LABEL):
        (root / path).unlink()
    expect_synthia_images(root, 4)


def expect_synthia_images(root: Path, count: int) -> None:
    manifest = {"datasets": {"synthia": {"train": {"images": count}}}}
    (root / "streets.json").write_text(json.dumps(manifest))


def plant_prepared_pixel(root: Path) -> None:
    path = root / SYNTHIA / "panoptic_cityscapes/0000002_panoptic.png"
    pixels = files.read_image(path)
    pixels[:, :] = pixels[0, 0]
    files.write_png(path, pixels)


SOUND_CHECK_FAULTS = {
    "missing prepared file": (
        lambda root: (root / SYNTHIA / "panoptic_cityscapes/0000002_panoptic.png").unlink(),
        {(FaultKind.MISSING, "0000002_panoptic.png"), (FaultKind.DISAGREE, "class_statistics.json")},
    ),
    "missing raw label": (lambda root: (root / SYNTHIA_LABEL).unlink(), {(FaultKind.MISSING, SYNTHIA_LABEL)}),
    "size mismatch": (lambda root: plant_other_size(root / SYNTHIA_LABEL), {(FaultKind.SIZE, SYNTHIA_LABEL)}),
    "id outside the mapping": (lambda root: plant_outside(root / SYNTHIA_LABEL), {(FaultKind.OUTSIDE, SYNTHIA_LABEL)}),
    "JSON unlike PNG": (plant_json_fault, {(FaultKind.DISAGREE, "0000002_panoptic.png")}),
    "unreadable image": (
        lambda root: plant_truncation(root / SYNTHIA / "RGB/0000002.png"),
        {(FaultKind.UNREADABLE, "RGB/0000002.png")},
    ),
    "wrong count": (lambda root: expect_synthia_images(root, 6), {(FaultKind.COUNT, "expected 6 images")}),
    "PNG unlike raw label": (
        plant_prepared_pixel,
        {
            (FaultKind.DISAGREE, "other pixels in"),
            (FaultKind.DISAGREE, "expected the segments of"),
            (FaultKind.DISAGREE, "class_statistics.json"),
        },
    ),
    "lost image": (
        plant_lost_image,
        {(FaultKind.DISAGREE, "found 0000002 in"), (FaultKind.DISAGREE, "class_statistics.json")},
    ),
}


@pytest.mark.parametrize("name", SOUND_CHECK_FAULTS)
def test_check_names_each_planted_fault_and_no_other(raw_root, name):
    prepare("synthia", raw_root, workers=1)
    assert not check("synthia", raw_root, workers=1)[0].faults
    plant, expected = SOUND_CHECK_FAULTS[name]
    plant(raw_root)
    before = contents(raw_root)
    faults = check("synthia", raw_root, workers=1)[0].faults
    assert contents(raw_root) == before
    assert len(faults) == len(expected), faults
    for kind, text in expected:
        assert any(fault.kind is kind and text in fault.message for fault in faults), (text, faults)


def test_check_finds_six_faults_at_once_and_the_tool_exits_with_two(run_tool, raw_root):
    for path in (raw_root / SYNTHIA / "RGB/0000000.png", raw_root / SYNTHIA_LABEL):
        for number in range(5, 8):
            path.with_name(f"{number:07d}.png").write_bytes(path.read_bytes())
    prepare("synthia", raw_root, workers=1)
    labels = raw_root / SYNTHIA / "GT/LABELS"
    (raw_root / SYNTHIA / "panoptic_cityscapes/0000000_panoptic.png").unlink()
    plant_other_size(labels / "0000001.png")
    plant_json_fault(raw_root)
    plant_outside(labels / "0000003.png")
    plant_truncation(raw_root / SYNTHIA / "RGB/0000004.png")
    result = run_tool(TOOL, "synthia", "--root", str(raw_root), "--workers", "1", "--check")
    assert result.returncode == 2 and "Traceback" not in result.stderr
    for text in (
        "missing files: 1",
        "0000000_panoptic.png",
        "size mismatches: 1",
        "LABELS/0000001.png",
        "expected the segments of",
        "0000002_panoptic.png",
        "ids outside the taxonomy: 1",
        "LABELS/0000003.png",
        "unreadable files or wrong formats: 1",
        "RGB/0000004.png",
        "wrong counts: 1",
        "expected 5 images",
    ):
        assert text in result.stdout, text


def test_check_of_raw_data_names_the_command(raw_root):
    (report,) = check("gta5", raw_root, workers=1)
    assert len(report.faults) == 6  # five labels and the statistics
    assert all(f"python datasets/prepare.py gta5 --root {raw_root}" in fault.message for fault in report.faults)


# --- Streets: the generated data sets go through the same commands ---


def test_streets_are_prepared_like_the_published_data_sets(tmp_path):
    generate(tmp_path, size=(64, 128), source=3, target_train=2, target_val=1, seed=0)
    for dataset, counts in {"synthia": [3], "gta5": [3], "cityscapes": [2, 1]}.items():
        reports = prepare(dataset, tmp_path, workers=1)
        assert [(r.expected, r.images, r.prepared) for r in reports] == [(n, n, n) for n in counts]
        assert not any(fault for report in (*reports, *check(dataset, tmp_path, workers=1)) for fault in report.faults)
        manifest = json.loads((tmp_path / "streets.json").read_text())["datasets"][dataset]
        for report in reports:
            assert report.statistics.pixels.tolist() == manifest[report.split.name]["class_pixels"]
    assert set(generated_states(tmp_path).values()) == {"complete"}


def test_a_data_set_that_was_not_generated_is_not_expected(tmp_path):
    generate(tmp_path, size=(64, 128), source=1, target_train=1, target_val=0, seed=0, formats=("cityscapes",))
    assert [report.split.name for report in prepare("cityscapes", tmp_path, workers=1)] == ["train"]
    assert generated_states(tmp_path) == {"synthia": "missing", "cityscapes": "complete", "gta5": "missing"}
    with pytest.raises(UserError, match="expected gta5 among the generated data"):
        prepare("gta5", tmp_path, workers=1)
