"""Two gloo ranks with half the batch each equal one rank: losses, class weights, models, teachers, discriminators,
evaluation.

Parameters are float64: in float32 the order of sums depends on a rank's batch and on the CPU, and moves a teacher's
logits by enough to change pseudo labels whose two best classes are close, after which nothing is equal.
"""

import json
import re

import pytest
import torch
from tiny_runs import run
from two_ranks import on_two_ranks

from gbw_panoptic.modeling.masks import matching, points

GBW = ("WEIGHTING.SEMANTIC", "gbw", "WEIGHTING.CENTER", "gbw", "WEIGHTING.OFFSET", "gbw", "GBW.MOMENTUM", 0.5)
SELF_TRAINING = ("SELF_TRAINING.INSTANCE_LOSSES", True, "SELF_TRAINING.CONFIDENCE_THRESHOLD", 0.05,
                 "SELF_TRAINING.MASKED.ENABLED", True, "SELF_TRAINING.MASKED.BLOCK_SIZE", 16)  # fmt: skip
DISTANCE = ("SELF_TRAINING.FEATURE_DISTANCE.ENABLED", True, "SELF_TRAINING.FEATURE_DISTANCE.CLASSES",
            "('road', 'building')",
            "SELF_TRAINING.FEATURE_DISTANCE.MIN_SHARE", 0.6)  # fmt: skip
ADAPTIVE = ("SELF_TRAINING.ADAPTIVE_THRESHOLDS.ENABLED", True, "SELF_TRAINING.ADAPTIVE_THRESHOLDS.DECAY", 0.5,
            "SELF_TRAINING.LOCATION_PRIOR", 0.5, "SELF_TRAINING.QUALITY", "class", "SELF_TRAINING.INSTANCE_MIX.ENABLED",
            True,
            "SELF_TRAINING.INSTANCE_MIX.MIN_SCORE", 0.0)  # fmt: skip
#: Normalisation within an image, and no dropout, whose random numbers are those of a rank.
OPTIONS = (
    "MODEL.BACKBONE.NAME", "build_compact_backbone", "MODEL.RESNETS.NORM", "GN",
    *(word for head in ("SEM_SEG_HEAD", "INS_EMBED_HEAD") for word in (
        f"MODEL.{head}.NORM", "GN", f"MODEL.{head}.ASPP_CHANNELS", 32, f"MODEL.{head}.CONVS_DIM", 32,
        f"MODEL.{head}.HEAD_CHANNELS", 32, f"MODEL.{head}.PROJECT_CHANNELS", "[32, 32]", f"MODEL.{head}.ASPP_DROPOUT",
        0.0,
    )),
    "SOLVER.OPTIMIZER", "SGD", "SOLVER.BASE_LR", 0.01, "SOLVER.WARMUP_ITERS", 0, "SOLVER.IMS_PER_BATCH", 2,
    "SOLVER.MAX_ITER", 3,
    "DATALOADER.NUM_WORKERS", 0, "INPUT.CROP.SIZE", "(64, 128)",
)  # fmt: skip
EVALUATION = ("DATASETS.TEST", "('cityscapes_uda_panoptic_val',)")  # three images: one rank has two of them
VIT = (
    "MODEL.BACKBONE.NAME", "build_vit_backbone", "MODEL.VIT.VARIANT", "dinov2_tiny_reg", "MODEL.VIT.PYRAMID_CHANNELS",
    32,
    "MODEL.VIT.PYRAMID_NORM", "GN", "MODEL.VIT.GRADIENT_CHECKPOINTING", True, "SOLVER.LAYER_DECAY", 0.8,
    "MODEL.VIT.OUT_FEATURES", "['res2', 'res3', 'res5']",
)  # fmt: skip
EOMT = (
    "MODEL.BACKBONE.NAME", "build_vit_backbone", "MODEL.MASK2FORMER.NUM_QUERIES", 8, "MODEL.MASK2FORMER.NUM_POINTS", 64,
    "MODEL.MASK2FORMER.OBJECT_THRESHOLD", 0.0, "MODEL.MASK2FORMER.OVERLAP_THRESHOLD", 0.0,
    "SELF_TRAINING.SEGMENTS.POINT_CONFIDENCE", 0.05, "GBW.MOMENTUM", 0.9,
)  # fmt: skip
CASES = {
    "source": ("quick/source_only.yaml", *GBW, *EVALUATION),
    "accumulated": ("quick/source_only.yaml", *GBW, "SOLVER.IMS_PER_BATCH", 4, "SOLVER.ACCUMULATION_STEPS", 2),
    "self_training": ("quick/self_training_gbw.yaml", *SELF_TRAINING, *DISTANCE, *ADAPTIVE),
    "vit": ("quick/self_training_gbw.yaml", *VIT, *SELF_TRAINING),
    "eomt": ("streets/eomt_self_training_gbw.yaml", *EOMT),
    "adversarial": ("quick/adversarial_gbw.yaml", "ADVERSARIAL.ALIGN_INSTANCES", True),
    "entropy": ("quick/entropy_gbw.yaml",),
    "active": ("quick/active_ripu.yaml", *GBW, *SELF_TRAINING, "ACTIVE.ITERATIONS", "(1,)", "ACTIVE.SELF_TRAINING",
               True,
               "ACTIVE.NUM_OVERLAYS", 0, "TEST.MODEL", "teacher"),
}  # fmt: skip


def same_points(num_points, _):
    """In place of points that a rank draws for its images: the same for every image."""
    return torch.rand(num_points, 2, generator=torch.Generator().manual_seed(num_points)).float()  # as masks are there


def train_all(folder) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for module in (matching, points):
            patch.setattr(module, "random_points", same_points)
        for name, (config, *options) in CASES.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            run(config, folder / name, *OPTIONS, *options)


def _on_a_rank(rank, folder):
    torch.set_default_dtype(torch.float64)
    train_all(folder)
    return torch.distributed.get_world_size()


@pytest.fixture(scope="module")
def folders(streets_root, tmp_path_factory):
    """Everything is trained in one pair of processes, and in this one."""
    root = tmp_path_factory.mktemp("ranks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(streets_root))
        torch.set_default_dtype(torch.float64)
        try:
            train_all(root / "one")
        finally:  # whatever happened, other tests are of float32
            torch.set_default_dtype(torch.float32)
            torch.use_deterministic_algorithms(False)
        assert on_two_ranks(_on_a_rank, root, root / "two") == [2, 2]
    return root / "one", root / "two"


def read(folder):
    return torch.load(folder / "model_final.pth", weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_states(folders, name):
    one, two = (read(folder / name) for folder in folders)
    assert one.keys() == two.keys()
    modules = [
        key for key in one if key not in ("trainer", "discriminator_optimizer", "iteration", "settings", "description")
    ]
    assert name not in ("self_training", "vit", "eomt", "active") or "teacher" in modules
    for module in modules:
        for key, value in one[module].items():
            torch.testing.assert_close(
                two[module][key], value, atol=2e-6, rtol=1e-5, msg=lambda m: f"{module}.{key}: {m}"
            )


def last_values(path) -> dict:
    """Of every name in metrics.json; what the line of an evaluation lacks is in the one before."""
    return {key: value for line in path.read_text().splitlines() for key, value in json.loads(line).items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_losses_and_class_weights(folders, name):
    one, two = (last_values(folder / name / "metrics.json") for folder in folders)
    names = [
        key
        for key in one
        if re.search("^(?!pseudo_labels).*/loss_", key) or key.startswith("gbw/") or key == "total_loss"
    ]
    assert any(key.startswith("gbw/") for key in names) and any("/loss_" in key for key in names)
    for key in names:  # not the health of pseudo labels: its ratio is a mean of the ranks' ratios
        assert two[key] == pytest.approx(one[key], rel=1e-5, abs=1e-6), key


@pytest.mark.slow
def test_evaluation_counts_each_image_once(folders):
    one, two = (json.loads((folder / "source/inference/student.json").read_text()) for folder in folders)
    assert one["images"] == two["images"] == 3
    total = [sum(map(sum, found["confusion"]["pixels"])) for found in (one, two)]
    assert total[0] == total[1] > 0
