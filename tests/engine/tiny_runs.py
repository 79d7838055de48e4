"""Training runs of a model so small that a process can be started, killed and resumed within a second or two."""

import multiprocessing
import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Nothing here changes what is trained and how, only how large it is: 0.5 MB of weights instead of 60.
NARROW = (
    "MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP", 4,
    "MODEL.SEM_SEG_HEAD.ASPP_CHANNELS", 8, "MODEL.SEM_SEG_HEAD.CONVS_DIM", 8, "MODEL.SEM_SEG_HEAD.HEAD_CHANNELS", 8,
    "MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS", "[8, 8]", "MODEL.INS_EMBED_HEAD.PROJECT_CHANNELS", "[8, 8]",
    "MODEL.INS_EMBED_HEAD.ASPP_CHANNELS", 8, "MODEL.INS_EMBED_HEAD.CONVS_DIM", 8, "MODEL.INS_EMBED_HEAD.HEAD_CHANNELS",
    8,
)  # fmt: skip
TINY = (*NARROW, "INPUT.CROP.SIZE", "(32, 64)", "SOLVER.IMS_PER_BATCH", 1, "TEST.NUM_PANELS", 0, "DATASETS.TEST", "()")


def run(config: str, output: Path, *opts, resume: bool = False) -> None:
    """What tools/train_net.py does, in this process; the data sets are those of $DETECTRON2_DATASETS."""
    import torch

    from gbw_panoptic.data import register_all
    from gbw_panoptic.engine.build import build_trainer, resume_or_load
    from gbw_panoptic.engine.setup import adapt_to_machine, load_config

    torch.set_num_threads(1)
    register_all()
    settings = ("OUTPUT_DIR", output, *TINY, "TRAINER.DETERMINISTIC", True, *opts)
    cfg = load_config(str(ROOT / "configs" / config), [str(word) for word in settings])
    adapt_to_machine(cfg)
    trainer = build_trainer(cfg)
    resume_or_load(trainer, "", resume=resume)
    if trainer.start_iter < cfg.SOLVER.MAX_ITER:
        trainer.train(trainer.start_iter, cfg.SOLVER.MAX_ITER)


def quiet_run(root: str, config: str, output: Path, *arguments, **options) -> None:
    """:func:`run` as the target of a process; what it prints goes to a file beside the output."""
    os.environ["DETECTRON2_DATASETS"] = root
    log = os.open(f"{output}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1), os.dup2(log, 2)
    multiprocessing.set_start_method("fork", force=True)  # of its loader's workers, as where no server started it
    run(config, output, *arguments, **options)


def flat(value, name: str = "") -> dict:
    """Every tensor and number of a nested state."""
    import torch

    if isinstance(value, dict):
        return {k: v for key, part in value.items() for k, v in flat(part, f"{name}.{key}").items()}
    if isinstance(value, (list, tuple)):
        return flat(dict(enumerate(value)), name)
    return {name: torch.as_tensor(value)} if isinstance(value, (int, float, torch.Tensor)) else {}


def assert_same_state(expected: dict, found: dict) -> None:
    """Bit for bit, every tensor and number of two checkpoints."""
    import torch

    one, two = flat(expected), flat(found)
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.equal(value, two[name]), name
