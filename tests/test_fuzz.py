"""Random input of every kind is taken or refused with one sentence; nothing else ever happens."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gbw_panoptic import files
from gbw_panoptic.active.budget import RegionShape, select_within_budget
from gbw_panoptic.active.label_store import BOUGHT_VOID, NOT_BOUGHT, LabelStore
from gbw_panoptic.engine.setup import load_config
from gbw_panoptic.errors import UserError
from gbw_panoptic.evaluation.panoptic_quality import PanopticQuality
from gbw_panoptic.validation import validate

CONFIG = str(Path(__file__).parents[1] / "configs" / "quick" / "self_training_gbw.yaml")


def settings_of(examples: int):
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


def refusal(action) -> str | None:
    """The one line that the user is told; None where ``action`` works. Any other exception fails the test."""
    try:
        action()
    except UserError as error:
        return str(error)
    return None


def is_sentence(text: str | None) -> bool:
    return bool(text) and "\n" not in text


def keys_of(node: CfgNode, prefix: str = "") -> list[str]:
    return [
        key for name, value in node.items()
        for key in (keys_of(value, f"{prefix}{name}.") if isinstance(value, CfgNode) else [prefix + name])
    ]  # fmt: skip


#: Keys that a user may reach for; what only Detectron2's detectors read is left out.
SECTIONS = (
    "SOLVER", "INPUT", "DATASETS", "DATALOADER", "WEIGHTING", "GBW", "TRAINER", "SELF_TRAINING", "ADVERSARIAL",
    "ENTROPY",
    "ACTIVE", "TEST", "TRACKING", "SEED", "OUTPUT_DIR", "MODEL.TASK", "MODEL.WEIGHTS", "MODEL.SEM_SEG_HEAD",
    "MODEL.INS_EMBED_HEAD", "MODEL.AUXILIARY_HEAD", "MODEL.PANOPTIC_DEEPLAB",
)  # fmt: skip
KEYS = [key for key in keys_of(load_config(CONFIG, [])) if key.startswith(SECTIONS)]
VALUES = st.one_of(
    st.sampled_from([
        "", "()", "[]", "{}", "None", "True", "False", "0", "1", "-1", "0.5", "-0.5", "nan", "inf", "1e400",
        "2147483648", "gbw",
        "none", "manual", "focal", "quality", "teacher", "semantic", "(1,)", "('a',)", "(None,)", "[[1, 2]]", "(-1, 0)",
        "(1, 'a')",
        "((", "'", "a b", "\\x00", "../..", "/", "5%", "-5%", "%", "1%%", "SelfTrainingTrainer", "ActiveTrainer", "é",
        "(64, 64)",
        "('nowhere',)", "{'a': 1}", "lambda: 0", "__import__('os')", "!!python/name:os.system", "(1, 2, 3)",
        "(0.5, 0.5)",
    ]),
    st.integers(-3, 70000).map(str),
    st.floats(allow_nan=True, allow_infinity=True).map(str),
    st.text(max_size=6),
)  # fmt: skip


@settings_of(50)
@given(st.lists(st.tuples(st.sampled_from([*KEYS, "GBW", "NO.SUCH.KEY", "gbw.lambda"]), VALUES), max_size=3))
def test_configuration_overrides(streets, overrides):
    told = refusal(lambda: validate(load_config(CONFIG, [word for pair in overrides for word in pair])))
    assert told is None or is_sentence(told)
    if any(key not in KEYS for key, _ in overrides):
        assert told is not None


@settings_of(40)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(max_size=60).map(str.encode),
        st.sampled_from(KEYS).map(lambda k: f"{k}: [1, {{".encode()),
    )
)
def test_configuration_files(tmp_path, content):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    told = refusal(lambda: load_config(str(path), []))
    assert told is None or is_sentence(told) and path.name in told


def encoded(mode: str, form: str) -> bytes:
    data, pixels = io.BytesIO(), np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    if mode == "I;16":
        return cv2.imencode(".png", pixels[:, :, 0].astype(np.uint16) << 8)[1].tobytes()
    Image.fromarray(pixels).convert(mode).save(data, form)
    return data.getvalue()


ENCODED = [encoded(mode, "PNG") for mode in ("RGB", "RGBA", "L", "P", "1", "LA", "I;16")] + [
    encoded("RGB", "JPEG"),
    encoded("RGB", "TIFF"),
]
READERS = (files.read_image, files.read_image_size, files.read_panoptic, files.read_label, files.read_instance_ids,
           files.read_two_byte_channels)  # fmt: skip


@settings_of(120)
@given(
    st.one_of(
        st.binary(max_size=80),
        st.tuples(st.sampled_from(ENCODED), st.integers(0, 400)).map(lambda p: p[0][: p[1]]),
        st.tuples(
            st.sampled_from(ENCODED), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4)
        ).map(lambda p: bytes(dict(p[1]).get(i, byte) for i, byte in enumerate(p[0]))),
    )
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of odd TIFF tags
def test_images(tmp_path, content):
    path = tmp_path / "image.png"
    path.write_bytes(content)
    for reader in READERS:
        told = refusal(lambda: reader(path))
        assert told is None or is_sentence(told) and path.name in told


@settings_of(25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 30))
def test_a_map_is_its_own_best_prediction(tmp_path, seed, height, width):
    """Encoded and decoded again, PQ of any map with itself is 100."""
    rng = np.random.default_rng(seed)
    values = np.append(rng.choice(2**24 - 1, 6, replace=False) + 1, 0)
    ids = rng.choice(values, (height, width))
    files.write_panoptic(tmp_path / "ids.png", ids)
    decoded = files.read_panoptic(tmp_path / "ids.png")
    assert np.array_equal(decoded, ids)
    present = [int(value) for value in np.unique(ids) if value]
    segments = [{"id": value, "category_id": value % 3, "iscrowd": 0} for value in present]
    quality = PanopticQuality([{"id": category, "isthing": category == 2} for category in range(3)])
    quality.update(decoded, segments, ids, segments)
    per_class = quality.compute()["per_class"]
    for category in {value % 3 for value in present}:
        assert per_class[category]["fp"] == per_class[category]["fn"] == 0
        assert per_class[category]["PQ"] == pytest.approx(100)


@settings_of(25)
@given(st.data())
def test_label_stores(tmp_path_factory, data):
    """Whatever is picked in whatever order: counts add up, nothing is bought twice, and rounds can be taken back."""
    radius = data.draw(st.integers(0, 2))
    shape = RegionShape(radius, 2 * radius)
    size = data.draw(st.tuples(st.integers(3, 14), st.integers(3, 14)))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    truth = rng.choice([0, 1, 2, 255], size).astype(np.uint8)
    store, history = LabelStore(tmp_path_factory.mktemp("store"), ("road", "sky", "car"), shape), []
    for number in range(1, data.draw(st.integers(1, 4)) + 1):
        before = torch.from_numpy(store.read("a", size) != NOT_BOUGHT)
        history.append(store.read("a", size))
        costs = shape.costs(~before)
        budget = data.draw(st.integers(0, 40))
        picks = select_within_budget(torch.from_numpy(rng.random(size)), costs, budget, shape, shape.barred(before))
        store.plan(number, "a", picks)
        counts = store.buy(number, "a", truth)
        assert np.array_equal(store.buy(number, "a", truth), counts)  # a killed run repeats it
        bought = store.read("a", size) != NOT_BOUGHT
        assert counts.sum() == bought.sum() - before.sum().item() <= budget
        store.finish(number, counts, cost=int(counts.sum()), allowed=10**6, settings={})
    labels = store.read("a", size)
    assert np.array_equal(labels[labels != NOT_BOUGHT], np.where(truth < 3, truth, BOUGHT_VOID)[labels != NOT_BOUGHT])
    assert store.spent == (labels != NOT_BOUGHT).sum()
    assert store.class_counts().tolist() == [(labels == c).sum() for c in range(3)]
    last = data.draw(st.integers(0, len(history) - 1))
    store.take_back(last)
    assert np.array_equal(store.read("a", size), history[last]) and len(store.rounds) == last
