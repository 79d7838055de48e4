"""Training runs of a model so small that a process can be started, killed and resumed within a second or two."""

import os
from pathlib import Path

#: Nothing here changes what is trained and how, only how large it is.
TINY = (
    "MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP", 4,
    "MODEL.SEM_SEG_HEAD.ASPP_CHANNELS", 8, "MODEL.SEM_SEG_HEAD.CONVS_DIM", 8, "MODEL.SEM_SEG_HEAD.HEAD_CHANNELS", 8,
    "MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS", "[8, 8]", "MODEL.INS_EMBED_HEAD.PROJECT_CHANNELS", "[8, 8]",
    "MODEL.INS_EMBED_HEAD.ASPP_CHANNELS", 8, "MODEL.INS_EMBED_HEAD.CONVS_DIM", 8, "MODEL.INS_EMBED_HEAD.HEAD_CHANNELS", 8,
    "INPUT.CROP.SIZE", "(32, 64)", "SOLVER.IMS_PER_BATCH", 1, "TEST.NUM_PANELS", 0, "DATASETS.TEST", "()",
)  # fmt: skip


def run(config: str, output: Path, *opts, resume: bool = False) -> None:
    """What tools/train_net.py does, in this process; the data sets are those of $DETECTRON2_DATASETS."""
    import torch
    from conftest import configuration

    from gbw_panoptic.data import register_all
    from gbw_panoptic.engine.build import build_trainer, resume_or_load

    torch.set_num_threads(1)
    register_all()
    cfg = configuration(config, Path(output), *TINY, "TRAINER.DETERMINISTIC", True, *opts)
    trainer = build_trainer(cfg)
    resume_or_load(trainer, "", resume=resume)
    if trainer.start_iter < cfg.SOLVER.MAX_ITER:
        trainer.train(trainer.start_iter, cfg.SOLVER.MAX_ITER)


def quiet_run(root: str, *arguments, **options) -> None:
    """:func:`run` as the target of a process."""
    os.environ["DETECTRON2_DATASETS"] = root
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1), os.dup2(null, 2)
    run(*arguments, **options)


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
