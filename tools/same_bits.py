"""Whether this tree trains as a revision of its history does, bit for bit: losses of six steps, the state after them,
outputs.

    python tools/same_bits.py REV
    python tools/same_bits.py REV --cases source_only mask2former_self_training

Every strategy trains a tiny network of every architecture on Streets, in float32 and on one thread: once with the
revision's files, once with those here, both on this machine. Exits with 1 and names what differs.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STEPS = 6
#: Nothing here changes what is trained and how, only how large it is, and that an untrained teacher finds instances.
TINY = (
    "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "SOLVER.AMP.ENABLED", False, "SOLVER.IMS_PER_BATCH", 2,
    "SOLVER.MAX_ITER", STEPS,
    "SOLVER.CHECKPOINT_PERIOD", 1000, "TEST.EVAL_PERIOD", 0, "TEST.NUM_PANELS", 0, "DATASETS.TEST", "()",
    "DATALOADER.NUM_WORKERS", 0, "INPUT.CROP.SIZE", "(64, 128)", "INPUT.MIN_SIZE_TEST", 32, "INPUT.MAX_SIZE_TEST", 64,
    "MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP", 4,
    "MODEL.SEM_SEG_HEAD.ASPP_CHANNELS", 8, "MODEL.SEM_SEG_HEAD.CONVS_DIM", 8, "MODEL.SEM_SEG_HEAD.HEAD_CHANNELS", 8,
    "MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS", "[8, 8]", "MODEL.INS_EMBED_HEAD.PROJECT_CHANNELS", "[8, 8]",
    "MODEL.INS_EMBED_HEAD.ASPP_CHANNELS", 8, "MODEL.INS_EMBED_HEAD.CONVS_DIM", 8, "MODEL.INS_EMBED_HEAD.HEAD_CHANNELS",
    8,
    "MODEL.PANOPTIC_DEEPLAB.CENTER_THRESHOLD", 0.0,
    "MODEL.MASK2FORMER.ENCODER_FEEDFORWARD_DIM", 32, "MODEL.MASK2FORMER.DECODER_FEEDFORWARD_DIM", 32,
    "MODEL.MASK2FORMER.NUM_QUERIES", 10, "MODEL.MASK2FORMER.HIDDEN_DIM", 32, "MODEL.MASK2FORMER.NUM_HEADS", 2,
    "MODEL.MASK2FORMER.ENCODER_LAYERS", 1, "MODEL.MASK2FORMER.DECODER_LAYERS", 1, "MODEL.MASK2FORMER.NUM_POINTS", 64,
    "MODEL.MASK2FORMER.OBJECT_THRESHOLD", 0.0, "MODEL.MASK2FORMER.OVERLAP_THRESHOLD", 0.0,
    "SELF_TRAINING.SEGMENTS.MIN_AREA", 3, "SELF_TRAINING.SEGMENTS.POINT_CONFIDENCE", 0.05,
    "SELF_TRAINING.SEGMENTS.MASK_CONFIDENCE_THINGS", 0.05, "SELF_TRAINING.SEGMENTS.MASK_CONFIDENCE_STUFF", 0.05,
    "SELF_TRAINING.CONFIDENCE_THRESHOLD", 0.05, "ACTIVE.ITERATIONS", "(2, 4)", "ACTIVE.NUM_OVERLAYS", 0,
)  # fmt: skip
_SWITCHES = (
    "SELF_TRAINING.MASKED.ENABLED", True, "SELF_TRAINING.MASKED.BLOCK_SIZE", 16, "INPUT.FOURIER.ENABLED", True,
    "SELF_TRAINING.FEATURE_DISTANCE.ENABLED", True, "SELF_TRAINING.FEATURE_DISTANCE.CLASSES", ("road", "building"),
    "SELF_TRAINING.FEATURE_DISTANCE.MIN_SHARE", 0.6, "INPUT.FOURIER.BETA", 0.05,
    "INPUT.TARGET.IGNORE_TOP", 2, "INPUT.TARGET.IGNORE_LEFT", 3,
)  # fmt: skip
_INSTANCES = (
    "SELF_TRAINING.SELECTION", "class_percentile", "SELF_TRAINING.INSTANCE_LOSSES", True,
    "SELF_TRAINING.INSTANCE_QUALITY", "score",
)  # fmt: skip
_TARGET = ("DATASETS.TARGET", "('cityscapes_uda_images_train',)", "TRAINER.NAME")
#: Name -> configuration and what else is set.
CASES = {
    "source_only": ("quick/source_only.yaml", ()),
    "self_training": ("quick/self_training_gbw.yaml", ()),
    "self_training_switches": ("quick/self_training_gbw.yaml", (*_SWITCHES, *_INSTANCES)),
    "semantic": ("quick/self_training.yaml", ("MODEL.TASK", "semantic", "DATASETS.TRAIN", "('gta5_sem_train',)")),
    "adversarial": ("quick/adversarial_gbw.yaml", ("MODEL.AUXILIARY_HEAD.ENABLED", True,
                                                   "MODEL.AUXILIARY_HEAD.IN_FEATURE", "res3")),
    "entropy": ("quick/entropy_gbw.yaml", ()),
    "active": ("quick/active_cbda.yaml", ("ACTIVE.SELF_TRAINING", True, "ACTIVE.PANOPTIC", True)),
    "mask2former_source_only": ("quick/mask2former_source_only.yaml",
                                ("WEIGHTING.MASK", "gbw", "WEIGHTING.CLASSIFICATION", "gbw")),
    "mask2former_self_training": ("streets/mask2former_self_training_gbw.yaml", ()),
    "mask2former_switches": ("streets/mask2former_self_training_gbw.yaml", _SWITCHES),
    "mask2former_semantic": ("streets/mask2former_self_training.yaml",
                             ("MODEL.TASK", "semantic", "DATASETS.TRAIN", "('gta5_sem_train',)")),
    "mask2former_adversarial": ("quick/mask2former_source_only.yaml", (*_TARGET, "AdversarialTrainer")),
    "mask2former_entropy": ("quick/mask2former_source_only.yaml", (*_TARGET, "EntropyMinimizationTrainer")),
}  # fmt: skip


def main(arguments: argparse.Namespace) -> int:
    from gbw_panoptic.errors import UserError

    with tempfile.TemporaryDirectory() as folder:
        old, root = Path(folder, "revision"), Path(folder, "streets")
        old.mkdir()
        archive = subprocess.run(["git", "archive", arguments.revision], cwd=ROOT, capture_output=True)
        if archive.returncode:
            said = " ".join(archive.stderr.decode(errors="replace").split()).rstrip(".")
            raise UserError(
                f"expected a revision of this repository, found {arguments.revision} ({said}); name one of `git log`."
            )
        subprocess.run(["tar", "-x", "-C", old], input=archive.stdout, check=True)
        make_streets(root)
        before, after = (recorded_by(tree, root, arguments.cases, Path(folder)) for tree in (old, ROOT))
    differences = [line for case in arguments.cases for line in compared(case, before[case], after[case])]
    print(
        "\n".join(differences) or f"{len(arguments.cases)} runs of {STEPS} steps, the same bits as {arguments.revision}"
    )
    return 1 if differences else 0


def make_streets(root: Path) -> None:
    """The prepared Streets of the tests."""
    from gbw_panoptic.data.preparation import prepare
    from gbw_panoptic.streets import generate

    generate(root, size=(128, 256), source=12, target_train=10, target_val=3, seed=7)
    for name in ("synthia", "gta5", "cityscapes"):
        prepare(name, root, workers=1)


def recorded_by(tree: Path, root: Path, cases: list[str], folder: Path) -> dict[str, dict]:
    """What a process with the package of ``tree`` records."""
    path = folder / "recorded.json"
    command = [sys.executable, str(Path(__file__).resolve()), "--record", str(path), "--cases", *cases]
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "DETECTRON2_DATASETS": str(root)}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{tree}: {done.stderr[-2000:]}")
    return json.loads(path.read_text())


def record(case: str, tree: Path, output: Path) -> dict:
    """Train one case; the data sets are registered.

    Returns:
        ``losses``: of each step every scalar of the log, in step order; ``state`` and ``outputs``: name -> digest.
    """
    import torch
    from detectron2.engine import HookBase

    from gbw_panoptic.engine import build_trainer
    from gbw_panoptic.engine.setup import adapt_to_machine, load_config

    class Losses(HookBase):
        steps: list[dict] = []

        def after_step(self) -> None:
            latest = self.trainer.storage.latest()
            self.steps.append({name: value for name, (value, at) in sorted(latest.items()) if at == self.trainer.iter})

    torch.set_num_threads(1)
    config, options = CASES[case]
    words = [str(word) for word in (*TINY, *options, "OUTPUT_DIR", output)]
    cfg = load_config(str(tree / "configs" / config), words)
    adapt_to_machine(cfg)
    os.makedirs(output, exist_ok=True)
    trainer, losses = build_trainer(cfg), Losses()
    losses.steps = []
    trainer.register_hooks([losses])
    trainer.train(0, STEPS)
    parts = {"student": trainer.model, "optimizer": trainer.optimizer, **trainer.strategy.modules}
    state = {
        name: digest(value) for name, value in sorted(flat({k: part.state_dict() for k, part in parts.items()}).items())
    }
    steps = [{k: v for k, v in step.items() if not k.endswith("time") and k != "eta_seconds"} for step in losses.steps]
    return {"losses": steps, "state": state, "outputs": _outputs(trainer.model)}


def _outputs(model) -> dict[str, str]:
    """Digests of what the model says about an image of the target."""
    import torch
    from detectron2.data import DatasetCatalog

    from gbw_panoptic.files import read_image

    image = read_image(DatasetCatalog.get("cityscapes_uda_panoptic_val")[0]["file_name"], "RGB")
    with torch.no_grad():
        (output,) = model.eval()([{"image": torch.from_numpy(image.transpose(2, 0, 1).copy())}])
    return {name: digest(value) for name, value in sorted(flat(output).items())}


def flat(value, name: str = "") -> dict:
    """Every tensor and number of a nested state, by its path."""
    import torch

    if isinstance(value, dict):
        return {k: v for key, part in value.items() for k, v in flat(part, f"{name}.{key}").items()}
    if isinstance(value, (list, tuple)):
        return flat(dict(enumerate(value)), name)
    return {name[1:]: torch.as_tensor(value)} if isinstance(value, (int, float, torch.Tensor)) else {}


def digest(tensor) -> str:
    """Of shape, type and bits."""
    array = tensor.detach().cpu().contiguous().numpy()
    return hashlib.sha256(f"{array.shape}{array.dtype}".encode() + array.tobytes()).hexdigest()[:16]


def compared(case: str, before: dict, after: dict) -> list[str]:
    """A line for each of losses, state and outputs that differs."""
    lines = []
    for step, (one, two) in enumerate(zip(before["losses"], after["losses"], strict=True)):
        names = [name for name in sorted({*one, *two}) if one.get(name) != two.get(name)]
        if names:
            values = f"{one.get(names[0])} before, {two.get(names[0])} now"
            lines.append(f"{case}: {len(names)} values of step {step} differ, first {names[0]}: {values}")
            break
    for part in ("state", "outputs"):
        one, two = before[part], after[part]
        names = [name for name in sorted({*one, *two}) if one.get(name) != two.get(name)]
        if names:
            lines.append(f"{case}: {len(names)} of {len({*one, *two})} tensors of the {part} differ, first {names[0]}")
    return lines


def record_all(arguments: argparse.Namespace) -> None:
    """In the process of a tree, which is the current folder."""
    import gbw_panoptic
    from gbw_panoptic.data import register_all

    tree = Path.cwd()
    assert Path(gbw_panoptic.__file__).is_relative_to(tree), (
        f"expected the package of {tree}, found {gbw_panoptic.__file__}"
    )
    register_all()
    with tempfile.TemporaryDirectory() as folder:
        found = {case: record(case, tree, Path(folder, case)) for case in arguments.cases}
    Path(arguments.record).write_text(json.dumps(found))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], epilog=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("revision", nargs="?", default="HEAD", help="of git, with which the files here are compared")
    parser.add_argument(
        "--cases", nargs="+", choices=tuple(CASES), default=list(CASES), metavar="NAME", help=", ".join(CASES)
    )
    parser.add_argument("--record", metavar="FILE", help="only write what the current folder's package gives")
    return parser.parse_args()


if __name__ == "__main__":
    words = parse()
    if words.record:
        record_all(words)
    else:
        from gbw_panoptic import cli

        cli.run(lambda: main(words))
