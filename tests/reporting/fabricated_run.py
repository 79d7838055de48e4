"""OUTPUT_DIRs as a training would have left them, in milliseconds."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from gbw_panoptic.evaluation.panoptic_quality import PanopticQuality
from gbw_panoptic.evaluation.scores import panoptic_scores, semantic_scores
from gbw_panoptic.evaluation.semantic import SemanticConfusion
from gbw_panoptic.taxonomy import CITYSCAPES, PROTOCOLS

DATASET = "cityscapes_uda_panoptic_val"
CONFIG = """
TRAINER: {NAME: SelfTrainingTrainer}
MODEL: {TASK: panoptic}
DATASETS: {TRAIN: [synthia_panoptic_train], TARGET: [cityscapes_uda_images_train], TEST: [cityscapes_uda_panoptic_val]}
TEST: {MODEL: teacher}
"""


def scores_of(seed: int, protocols: tuple[str, ...]) -> dict:
    """Random scores, in the form of a result file."""
    rng = np.random.default_rng(seed)
    quality = PanopticQuality([{"id": c, "isthing": thing} for c, thing in enumerate(CITYSCAPES.is_thing)])
    tp, fp, fn = rng.integers(1, 50, (3, 19))
    quality.add_state({"tp": tp, "fp": fp, "fn": fn, "iou": tp * rng.uniform(0.5, 1, 19)})
    confusion = SemanticConfusion(19)
    confusion.matrix += rng.integers(1, 50, (19, 20)) + 200 * np.eye(19, 20, dtype=int)
    panoptic = [PROTOCOLS[name] for name in protocols if "panoptic" in PROTOCOLS[name].tasks]
    return {
        "panoptic": {p.name: panoptic_scores(quality, p, CITYSCAPES) for p in panoptic},
        "semantic": {
            name: semantic_scores(confusion, PROTOCOLS[name], CITYSCAPES, source_pixels=range(1, 20), num_rare=3)
            for name in protocols
        },
    }


def metrics_lines() -> list[dict]:
    """Losses and class weights every 20 iterations, and one evaluation at the end."""
    lines = []
    for iteration in range(19, 400, 20):
        line = {"iteration": iteration, "total_loss": 3 / iteration, "source/loss_sem_seg": 2 / iteration, "lr": 1e-4}
        for c, name in enumerate(CITYSCAPES.names):
            if (c + iteration // 20) % 5:
                line[f"gbw/source/semantic/weight/{name}"] = 0.5 + c / 19
        lines.append(line)
    return [*lines, {"iteration": 399, "teacher/panoptic/16/PQ": 41.5}]


def fabricate_run(
    folder: Path,
    *,
    config: str = CONFIG,
    scores: dict[str, int],
    protocols: tuple[str, ...] = ("16", "13"),
    iteration: int = 399,
    **result: object,
) -> Path:
    """A run's OUTPUT_DIR.

    Args:
        scores: model -> seed of its scores.
        iteration: at which it was evaluated.
        result: other entries of the result files.
    """
    panels = folder / "inference" / "panels" / "teacher"
    panels.mkdir(parents=True)
    (folder / "config.yaml").write_text(config)
    (folder / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in metrics_lines()))
    for model, seed in scores.items():
        content = {
            "model": model, "dataset": DATASET, "iteration": iteration, "images": 100, "protocols": protocols,
            "scores": scores_of(seed, protocols),
            "confusion": {"classes": CITYSCAPES.names, "pixels": np.ones((19, 20), int).tolist()}, **result,
        }  # fmt: skip
        (folder / "inference" / f"{model}.json").write_text(json.dumps(content))
    Image.new("RGB", (8, 8)).save(panels / "frankfurt 0.png")
    return folder
