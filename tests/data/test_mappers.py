"""Mappers: exact keys, geometry against NumPy, purity, and one sentence for every bad file."""

import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from gbw_panoptic.config import add_gbw_panoptic_config
from gbw_panoptic.data.mappers import SourceMapper, TargetMapper, _as_tensor
from gbw_panoptic.data.samplers import Draw
from gbw_panoptic.data.targets import DenseTargets, SegmentLabels, panoptic_deeplab_targets
from gbw_panoptic.data.views import ViewSampler, Window, cut, resize_ids, shortest_edge_size
from gbw_panoptic.errors import UserError
from gbw_panoptic.taxonomy import CITYSCAPES, IGNORE_LABEL

SIZE = (40, 64)
CAR, PERSON, SKY, ROAD = CITYSCAPES.ids("car", "person", "sky", "road")
TARGETS = dict(thing_ids=CITYSCAPES.thing_ids, ignore_label=IGNORE_LABEL, sigma=2)
FILE_KEYS = {"file_name", "image_id", "height", "width"}
SEMANTIC_KEYS = {"image", "sem_seg", "sem_seg_weights"} | FILE_KEYS
INSTANCE_KEYS = {
    "center", "center_weights", "offset", "offset_weights", "center_classes", "instance_ids", "instance_classes",
}  # fmt: skip


@pytest.fixture
def record(tmp_path: Path) -> dict:
    """Sky above road, two cars, a crowd of people, a void corner; ids as Cityscapes writes them, and one above 2^16."""
    generator = np.random.default_rng(0)
    ids = np.full(SIZE, 23, np.int64)
    ids[20:], ids[25:35, 5:20], ids[22:30, 40:60] = 7, 26001, 2**24 - 1
    ids[30:38, 22:30], ids[:4, :4] = 24, 0
    image = generator.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    paths = {"file_name": tmp_path / "image.png", "pan_seg_file_name": tmp_path / "panoptic.png"}
    Image.fromarray(image).save(paths["file_name"])
    write_panoptic(paths["pan_seg_file_name"], ids)
    segments = [(23, SKY, 0), (7, ROAD, 0), (26001, CAR, 0), (2**24 - 1, CAR, 0), (24, PERSON, 1), (26007, CAR, 0)]
    return {
        **{key: str(path) for key, path in paths.items()},
        "image_id": "image",
        "segments_info": [{"id": i, "category_id": c, "iscrowd": crowd} for i, c, crowd in segments],
    }


@pytest.fixture
def semantic_record(record: dict, tmp_path: Path) -> dict:
    path = tmp_path / "semantic.png"
    Image.fromarray(np.random.default_rng(1).choice([0, 18, 255], SIZE).astype(np.uint8)).save(path)
    return {"file_name": record["file_name"], "image_id": "image", "sem_seg_file_name": str(path)}


def write_panoptic(path: Path, ids: np.ndarray) -> None:
    Image.fromarray(np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)).save(path)


def whole(**options) -> ViewSampler:
    """The image as it is."""
    return ViewSampler(**{"short_edges": (SIZE[0],), "max_size": 10**4, "flip_probability": 0.0, **options})


def random_views() -> ViewSampler:
    return ViewSampler(short_edges=(30, 50), max_size=100, sampling="range", crop_size=(32, 48))


def source_mapper(views: ViewSampler | None = None, **options) -> SourceMapper:
    options = {"taxonomy": CITYSCAPES, "targets": DenseTargets(TARGETS), **options}
    return SourceMapper(views=views or whole(), **options)


def test_source_keys_are_those_of_the_contract(record: dict, semantic_record: dict) -> None:
    assert set(source_mapper()(record, Draw(0, 0))) == SEMANTIC_KEYS | INSTANCE_KEYS
    assert set(source_mapper(targets=DenseTargets(None))(record, Draw(0, 0))) == SEMANTIC_KEYS
    assert set(source_mapper()(semantic_record, Draw(0, 0))) == SEMANTIC_KEYS


def test_target_emits_no_label_and_opens_none(record: dict) -> None:
    Path(record["pan_seg_file_name"]).write_bytes(b"unreadable")
    sample = TargetMapper(views=random_views())({**record, "sem_seg_file_name": "absent.png"}, Draw(0, 0))
    assert set(sample) == {"image", "valid_mask", "place", *FILE_KEYS}
    assert sample["valid_mask"].dtype == torch.bool and sample["image"].dtype == torch.uint8
    assert sample["image"].shape == (3, 32, 48) and sample["valid_mask"].shape == (32, 48)
    assert (sample["height"], sample["width"]) == SIZE


@pytest.mark.parametrize("image_format", ["RGB", "BGR"])
def test_untouched_view_gives_the_file_and_its_targets(record: dict, image_format: str) -> None:
    sample = source_mapper(image_format=image_format)(record, Draw(0, 0))
    image = np.asarray(Image.open(record["file_name"]))[:, :, :: 1 if image_format == "RGB" else -1]
    assert np.array_equal(sample["image"].permute(1, 2, 0).numpy(), image)
    png = np.asarray(Image.open(record["pan_seg_file_name"])).astype(np.int64)
    expected = panoptic_deeplab_targets(png @ [1, 256, 65536], record["segments_info"], **TARGETS)
    for key in INSTANCE_KEYS | {"sem_seg", "sem_seg_weights"}:
        assert torch.equal(sample[key], expected[key]), key
    assert sample["instance_classes"].tolist() == [CAR, CAR, PERSON]


@pytest.mark.parametrize("ignore_crowd", [False, True])
def test_semantic_task_has_the_same_labels(record: dict, ignore_crowd: bool) -> None:
    options = {**TARGETS, "ignore_crowd_in_semantic": ignore_crowd}
    views = random_views()
    panoptic = source_mapper(views, targets=DenseTargets(options))
    assert (PERSON in panoptic(record, Draw(3, 0))["sem_seg"].unique()) == (not ignore_crowd)
    if not ignore_crowd:
        semantic = source_mapper(views, targets=DenseTargets(None))
        assert torch.equal(semantic(record, Draw(3, 0))["sem_seg"], panoptic(record, Draw(3, 0))["sem_seg"])


def test_a_mask_model_s_samples_hold_segments_and_no_dense_maps(record: dict, semantic_record: dict) -> None:
    segments = SegmentLabels(thing_ids=CITYSCAPES.thing_ids)
    sample = source_mapper(targets=segments)(record, Draw(0, 0))
    assert set(sample) == {"image", "sem_seg", "segment_ids", "segment_classes"} | FILE_KEYS
    assert sample["segment_classes"].tolist() == [ROAD, SKY, CAR, CAR]
    crowd = sample["sem_seg"] == PERSON
    assert crowd.any() and torch.equal(sample["segment_ids"] == 0, crowd | (sample["sem_seg"] == IGNORE_LABEL))
    plain = source_mapper(targets=segments)(semantic_record, Draw(0, 0))
    assert plain["segment_classes"].tolist() == [0, 18]
    assert torch.equal(plain["segment_ids"] == 2, plain["sem_seg"] == 18)


def test_semantic_labels_of_a_file(semantic_record: dict) -> None:
    sample = source_mapper()(semantic_record, Draw(0, 0))
    assert np.array_equal(sample["sem_seg"].numpy(), np.asarray(Image.open(semantic_record["sem_seg_file_name"])))
    assert sample["sem_seg"].dtype == torch.int64 and (sample["sem_seg_weights"] == 1).all()


def test_targets_are_made_after_crop_and_flip(record: dict) -> None:
    """Every thing pixel plus its offset is the mean of its instance's pixels in the view."""
    mapper = source_mapper(random_views())
    for position in range(20):
        sample = mapper(record, Draw(position, 0))
        rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(48.0), indexing="ij")
        for k in sample["instance_ids"].unique().tolist():
            inside = sample["instance_ids"] == k
            if k:
                for found, pixels in zip(sample["offset"], (rows, columns)):
                    torch.testing.assert_close((found + pixels)[inside], pixels[inside].mean().expand(inside.sum()))
        table = torch.cat([torch.tensor([-1]), sample["instance_classes"]])[sample["instance_ids"]]
        assert torch.equal(table[table >= 0], sample["sem_seg"][table >= 0])


def test_half_of_the_views_are_flipped() -> None:
    flips = sum(random_views().flip(np.random.default_rng(seed)) for seed in range(400))
    assert 160 < flips < 240  # 4 standard deviations


def test_small_images_are_padded(record: dict) -> None:
    views = whole(crop_size=(50, 80), flip_probability=1.0)
    sample = source_mapper(views, pad_value=(1, 2, 3))(record, Draw(0, 0))
    assert (sample["image"][:, SIZE[0] :].permute(1, 2, 0) == torch.tensor([1, 2, 3])).all()
    assert (sample["image"][:, :, :16].permute(1, 2, 0) == torch.tensor([1, 2, 3])).all()  # flipped: at the left
    assert (sample["sem_seg"][SIZE[0] :] == IGNORE_LABEL).all() and (sample["sem_seg"][:, :16] == IGNORE_LABEL).all()
    assert sample["center_weights"][0, SIZE[0] :].max() == 0
    valid = TargetMapper(views=views, ignore_top=5, ignore_bottom=7)(record, Draw(0, 0))["valid_mask"]
    expected = torch.zeros(50, 80, dtype=torch.bool)
    expected[5 : SIZE[0] - 7, 16:] = True
    assert torch.equal(valid, expected)


def test_ignored_rows_are_those_of_the_resized_image(record: dict) -> None:
    views = whole(short_edges=(80,))
    valid = TargetMapper(views=views, ignore_top=5, ignore_bottom=7)(record, Draw(0, 0))["valid_mask"]
    assert valid.shape == (80, 128) and valid.all(1).nonzero()[[0, -1], 0].tolist() == [5, 72]
    valid = TargetMapper(views=views, ignore_left=3, ignore_right=9)(record, Draw(0, 0))["valid_mask"]
    assert valid.all(0).nonzero()[[0, -1], 0].tolist() == [3, 118] and valid.sum() == 80 * 116


@pytest.mark.parametrize("make", [lambda: source_mapper(random_views()), lambda: TargetMapper(views=random_views())])
def test_a_sample_neither_reads_nor_changes_global_randomness(record: dict, make) -> None:
    def state() -> tuple:
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    first = make()(record, Draw(5, 0))
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = state()
    second = make()(record, Draw(5, 0))
    assert state() == before
    other = make()(record, Draw(6, 0))
    assert all(torch.equal(v, second[k]) for k, v in first.items() if isinstance(v, torch.Tensor))
    assert not torch.equal(first["image"], other["image"])


def test_crops_are_redrawn_for_the_rare_class(record: dict) -> None:
    views = whole(crop_size=(16, 16))
    plain, rare = (
        [source_mapper(views, min_crop_pixels=30, max_tries=50)(record, Draw(p, 0, class_id)) for p in range(40)]
        for class_id in (None, PERSON)
    )
    assert min(int((sample["sem_seg"] == PERSON).sum()) for sample in rare) > 30
    assert sum(int((sample["sem_seg"] == PERSON).sum()) > 30 for sample in plain) < 30


def test_crops_are_redrawn_until_no_class_dominates(record: dict) -> None:
    views = whole(crop_size=(16, 16))
    for position in range(40):
        sample = source_mapper(views, single_category_max_area=0.75, max_tries=60)(record, Draw(position, 0))
        labels = sample["sem_seg"][sample["sem_seg"] != IGNORE_LABEL]
        assert labels.bincount().max() < 0.75 * len(labels)


def test_the_last_crop_is_taken_after_max_tries(record: dict) -> None:
    mapper = source_mapper(whole(crop_size=(16, 16)), min_crop_pixels=10**6, max_tries=3)
    assert mapper(record, Draw(0, 0, CAR))["image"].shape == (3, 16, 16)


def test_label_of_another_size(record: dict) -> None:
    Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(record["pan_seg_file_name"])
    with pytest.raises(UserError, match="8x9 in .*panoptic.png for 40x64 in .*image.png"):
        source_mapper()(record, Draw(0, 0))


def test_id_that_is_not_listed(record: dict) -> None:
    write_panoptic(record["pan_seg_file_name"], np.full(SIZE, 12345))
    with pytest.raises(UserError, match="panoptic.png, found 12345"):
        source_mapper()(record, Draw(0, 0))


@pytest.mark.parametrize("value", [19, 33, 254])
def test_semantic_id_outside_of_the_taxonomy(semantic_record: dict, value: int) -> None:
    Image.fromarray(np.full(SIZE, value, np.uint8)).save(semantic_record["sem_seg_file_name"])
    with pytest.raises(UserError, match=f"0..18 or 255 in .*semantic.png, found {value}"):
        source_mapper()(semantic_record, Draw(0, 0))


@pytest.mark.parametrize("key", ["file_name", "pan_seg_file_name"])
def test_damaged_file_is_named(record: dict, key: str) -> None:
    data = Path(record[key]).read_bytes()
    Path(record[key]).write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=Path(record[key]).name):
        source_mapper()(record, Draw(0, 0))


@pytest.mark.parametrize("size", [(20, 32), (33, 53), (71, 113)])
def test_ids_are_resized_to_the_nearest_pixel_centre(size: tuple[int, int]) -> None:
    """Either neighbour where the centre lies on their border."""
    found = resize_ids(np.arange(SIZE[0] * SIZE[1], dtype=np.int32).reshape(SIZE), size)
    rows, columns = (np.linspace(0.5, n - 0.5, n) * m / n - 0.5 for n, m in zip(size, SIZE))
    assert np.abs(found // SIZE[1] - rows[:, None]).max() < 0.5 + 1e-3
    assert np.abs(found % SIZE[1] - columns[None, :]).max() < 0.5 + 1e-3


def test_views_stay_within_the_image_and_reach_every_place() -> None:
    views, generator = whole(crop_size=(30, 64)), np.random.default_rng(0)
    windows = {views.window(SIZE, generator) for _ in range(300)}
    assert windows == {Window(top, 0, 30, 64) for top in range(11)}
    assert shortest_edge_size((1052, 1914), 720, 1280) == (704, 1280) and shortest_edge_size((3, 4), 0, 1) == (3, 4)
    assert {whole(short_edges=(20, 60)).resized_size(SIZE, generator) for _ in range(50)} == {(20, 32), (60, 96)}


def test_cut_does_not_alias_and_keeps_types() -> None:
    array = np.arange(12, dtype=np.int32).reshape(3, 4)
    found = cut(array, Window(1, 2, 3, 3), fill=-7, flip=False)
    assert found.dtype == np.int32 and found.tolist() == [[6, 7, -7], [10, 11, -7], [-7, -7, -7]]
    assert cut(array, Window(0, 0, 2, 2), fill=0, flip=True).tolist() == [[1, 0], [5, 4]]


@pytest.fixture
def cfg():
    config = get_cfg()
    add_gbw_panoptic_config(config)
    MetadataCatalog.get("mapper_test").set(taxonomy=CITYSCAPES)
    config.DATASETS.TRAIN = ("mapper_test",)
    config.SEED = 4
    config.INPUT.CROP.ENABLED, config.INPUT.CROP.TYPE, config.INPUT.CROP.SIZE = True, "absolute", [16, 24]
    config.INPUT.MIN_SIZE_TRAIN = config.INPUT.TARGET.MIN_SIZE_TRAIN = (SIZE[0],)
    yield config
    MetadataCatalog.pop("mapper_test")


def test_mappers_from_a_configuration(cfg, record: dict) -> None:
    sample = SourceMapper(cfg)(record, Draw(0, 0))
    assert sample["image"].shape == (3, 16, 24) and set(sample) == SEMANTIC_KEYS | INSTANCE_KEYS
    assert TargetMapper(cfg)(record, Draw(0, 0))["image"].shape == (3, 16, 24)
    cfg.MODEL.TASK = "semantic"
    assert set(SourceMapper(cfg)(record, Draw(0, 0))) == SEMANTIC_KEYS


@pytest.mark.parametrize("key, value", [("INPUT.CROP.TYPE", "relative"), ("INPUT.RANDOM_FLIP", "vertical")])
def test_unsupported_settings_are_refused(cfg, key: str, value: str) -> None:
    cfg.merge_from_list([key, value])
    with pytest.raises(UserError, match=f"{key} .*{value}"):
        SourceMapper(cfg)


def test_opencv_and_pillow_agree_on_what_is_decoded(record: dict) -> None:
    """An oracle for the channel order: OpenCV reads BGR."""
    sample = source_mapper(image_format="BGR")(record, Draw(0, 0))
    assert np.array_equal(sample["image"].permute(1, 2, 0).numpy(), cv2.imread(record["file_name"]))


def test_photometric_distortion_changes_the_image_and_nothing_else(make_cfg):
    plain, distorted = (
        SourceMapper(make_cfg("quick/source_only.yaml", "INPUT.PHOTOMETRIC_STRENGTH", strength))
        for strength in (0.0, 2.0)
    )
    record = DatasetCatalog.get("synthia_panoptic_train")[0]
    changed = 0
    for position in range(4):
        first, second = (mapper(record, Draw(position, 0)) for mapper in (plain, distorted))
        changed += not torch.equal(first.pop("image"), second.pop("image"))
        for key, value in first.items():
            assert torch.equal(value, second[key]) if isinstance(value, torch.Tensor) else value == second[key]
    assert changed >= 2


def test_a_mirrored_image_one_pixel_wide_becomes_a_tensor():
    """NumPy calls it contiguous, with a stride that torch refuses."""
    image = np.arange(12, dtype=np.uint8).reshape(4, 1, 3)
    assert torch.equal(_as_tensor(image[:, ::-1]), torch.from_numpy(image.transpose(2, 0, 1).copy()))
