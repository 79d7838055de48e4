"""A small data set with classes of its own: COCO-panoptic labels, taxonomy and description, and tiny runs on it."""

import json
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from gbw_panoptic.data.preparation import prepare
from gbw_panoptic.engine.build import build_trainer
from gbw_panoptic.engine.setup import adapt_to_machine, load_config, register_data_sets
from gbw_panoptic.validation import validate

ROOT = Path(__file__).parents[2]
SIZE = 64
IMAGES = 3
#: Nothing here changes what is trained and how, only how large it is.
SMALL = (
    "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "SOLVER.IMS_PER_BATCH", 1, "SOLVER.MAX_ITER", 2, "SOLVER.WARMUP_ITERS",
    1, "TEST.EVAL_PERIOD", 0,
    "INPUT.CROP.SIZE", "(64, 64)", "INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.TARGET.MIN_SIZE_TRAIN", "(64,)",
    "INPUT.MIN_SIZE_TEST", 64,
    "INPUT.TARGET.IGNORE_TOP", 0, "INPUT.TARGET.IGNORE_BOTTOM", 0, "DATALOADER.NUM_WORKERS", 0, "TEST.NUM_PANELS", 1,
    "DATALOADER.RARE_CLASS_SAMPLING.MIN_PIXELS", 0, "DATALOADER.RARE_CLASS_SAMPLING.MIN_CROP_PIXELS", 0,
    "ACTIVE.NUM_OVERLAYS", 1,
    "MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP", 4,
    "MODEL.SEM_SEG_HEAD.ASPP_CHANNELS", 8, "MODEL.SEM_SEG_HEAD.CONVS_DIM", 8, "MODEL.SEM_SEG_HEAD.HEAD_CHANNELS", 8,
    "MODEL.INS_EMBED_HEAD.ASPP_CHANNELS", 8, "MODEL.INS_EMBED_HEAD.CONVS_DIM", 8, "MODEL.INS_EMBED_HEAD.HEAD_CHANNELS",
    8,
    "MODEL.MASK2FORMER.ENCODER_FEEDFORWARD_DIM", 32, "MODEL.MASK2FORMER.DECODER_FEEDFORWARD_DIM", 32,
    "MODEL.MASK2FORMER.NUM_QUERIES", 10,
    "MODEL.MASK2FORMER.HIDDEN_DIM", 32, "MODEL.MASK2FORMER.NUM_HEADS", 2, "MODEL.MASK2FORMER.ENCODER_LAYERS", 1,
    "MODEL.MASK2FORMER.DECODER_LAYERS", 1, "MODEL.MASK2FORMER.NUM_POINTS", 64,
    "MODEL.PANOPTIC_DEEPLAB.CENTER_THRESHOLD", 0.0, "MODEL.PANOPTIC_DEEPLAB.STUFF_AREA", 4,
)  # fmt: skip


def write(root: Path, things: list[bool], *, names: list[str] | None = None, more: dict | None = None) -> Path:
    """Raw images and labels in ``root``, ``custom.yaml`` and ``taxonomy.yaml``, whose path is returned; nothing is
    prepared.

    Args:
        things: whether each class has instances.
        more: of the taxonomy: protocols, unions, rare classes.
    """
    names = names or [f"class {i}" for i in range(len(things))]
    generator = np.random.default_rng(len(things))
    categories = [
        {"id": 10 + i, "name": name, "isthing": int(thing)} for i, (name, thing) in enumerate(zip(names, things))
    ]
    images, annotations = [], []
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    side = max(int(np.ceil(np.sqrt(len(things)))) + 1, 3)
    cell = SIZE // side
    for number in range(IMAGES):
        cells = generator.permutation(side * side).reshape(side, side) + 1  # the segments, each of one class
        ids = np.zeros((SIZE, SIZE), np.int32)
        ids[: side * cell, : side * cell] = np.kron(cells, np.ones((cell, cell), np.int32))
        classes = {i: (i - 1) % len(things) for i in range(1, side * side + 1)}
        colors = generator.integers(0, 256, (side * side + 1, 3))
        noise = generator.integers(-20, 20, (SIZE, SIZE, 3))
        Image.fromarray(np.clip(colors[ids] + noise, 0, 255).astype(np.uint8)).save(root / f"images/{number}.png")
        pixels = np.stack([ids & 255, ids >> 8, np.zeros_like(ids)], axis=-1).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"labels/{number}.png")
        images.append({"id": number, "file_name": f"{number}.png"})
        segments = [{"id": i, "category_id": 10 + c, "iscrowd": 0} for i, c in classes.items()]
        annotations.append({"image_id": number, "file_name": f"{number}.png", "segments_info": segments})
    (root / "panoptic.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    split = {"images": "images", "panoptic_json": "panoptic.json", "panoptic_root": "labels"}
    (root / "custom.yaml").write_text(yaml.safe_dump({"own": {"splits": {"train": split}}}))
    colors = [[i % 256, (7 * i) % 256, 100 + i // 256] for i in range(len(things))]
    classes = [{"name": n, "thing": t, "color": c} for n, t, c in zip(names, things, colors)]
    (root / "taxonomy.yaml").write_text(
        yaml.safe_dump({"name": "own", "classes": classes, **(more or {})}, sort_keys=False)
    )
    return root / "taxonomy.yaml"


def configuration(config: str, taxonomy: Path, output: Path, *opts):
    """A configuration of ``configs/`` at test scale, on the data set of :func:`write`, which is registered."""
    data = (
        "DATASETS.TAXONOMY",
        taxonomy,
        "DATASETS.TRAIN",
        "('own_panoptic_train',)",
        "DATASETS.TEST",
        "('own_panoptic_train',)",
    )
    words = [str(word) for word in (*SMALL, *data, "OUTPUT_DIR", output, *opts)]
    cfg = load_config(str(ROOT / "configs" / config), words)
    if cfg.DATASETS.TARGET:
        cfg.DATASETS.TARGET = ("own_images_train",)
    if cfg.ACTIVE.ANNOTATOR:
        cfg.ACTIVE.ANNOTATOR, cfg.ACTIVE.ITERATIONS = "own_panoptic_train", (1,)
    register_data_sets(cfg)
    adapt_to_machine(cfg)
    output.mkdir(parents=True, exist_ok=True)
    return cfg


def train(cfg):
    """Two iterations; the trainer."""
    validate(cfg)
    trainer = build_trainer(cfg)
    trainer.train(0, cfg.SOLVER.MAX_ITER)
    return trainer


def prepared(root: Path, things: list[bool], **options) -> Path:
    """:func:`write`, and the labels prepared."""
    taxonomy = write(root, things, **options)
    (report,) = prepare("own", root, workers=1, taxonomy=taxonomy)
    assert not report.faults and report.prepared == IMAGES
    return taxonomy
