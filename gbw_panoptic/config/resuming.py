"""What a resumed run may change: every configuration key is free, applied or refused, by the one table below."""

FREE, APPLIED, REFUSED = "free", "applied", "refused"
#: Beginning of a key -> what a resume does with another value of it; the longest beginning counts. Free: training does
#: not depend on it. Applied: it holds from the resume on, and the log says so. Refused: it would be another experiment.
#: Keys that no beginning covers are refused.
RESUME = {
    # where and how fast it runs
    "OUTPUT_DIR": FREE,
    "MODEL.DEVICE": FREE,
    "MODEL.CHANNELS_LAST": FREE,
    "MODEL.COMPILE": FREE,
    "MODEL.VIT.GRADIENT_CHECKPOINTING": FREE,
    "CUDNN_BENCHMARK": FREE,
    "FLOAT32_PRECISION": FREE,
    "TRAINER.DETERMINISTIC": FREE,
    "DATALOADER.NUM_WORKERS": FREE,
    "DATALOADER.MAX_BAD_FILES": FREE,
    "DATALOADER.RAW_CACHE": FREE,
    # what is measured and told
    "DATASETS.TEST": FREE,
    "DATASETS.CUSTOM": FREE,  # a path; the names of the data sets are compared
    "TEST": FREE,
    "TRACKING": FREE,
    "VIS_PERIOD": FREE,
    "SOLVER.CHECKPOINT_PERIOD": FREE,
    "SOLVER.CHECKPOINTS_KEPT": FREE,
    # of the beginning alone
    "MODEL.WEIGHTS": FREE,
    "MODEL.WEIGHTS_SHA256": FREE,
    "VERSION": FREE,
    # the learning rate is a function of the iteration and of these
    "SOLVER.MAX_ITER": APPLIED,
    "SOLVER.BASE_LR": APPLIED,
    "SOLVER.BASE_LR_END": APPLIED,
    "SOLVER.BACKBONE_MULTIPLIER": APPLIED,
    "SOLVER.LR_SCHEDULER_NAME": APPLIED,
    "SOLVER.WARMUP": APPLIED,
    "SOLVER.POLY_LR": APPLIED,
    "SOLVER.STEPS": APPLIED,
    "SOLVER.GAMMA": APPLIED,
    "SOLVER.REFERENCE_BATCH": APPLIED,
    # an update is a function of its gradients, of what the optimizer remembers, and of these
    "SOLVER.WEIGHT_DECAY": APPLIED,
    "SOLVER.MOMENTUM": APPLIED,
    "SOLVER.NESTEROV": APPLIED,
    "SOLVER.CLIP_GRADIENTS": APPLIED,
    # another machine may need them
    "SOLVER.IMS_PER_BATCH": APPLIED,
    "SOLVER.ACCUMULATION_STEPS": APPLIED,
    "SOLVER.AMP": APPLIED,
    # what is learnt, from what and how
    "SEED": REFUSED,
    "MODEL": REFUSED,
    "INPUT": REFUSED,
    "DATASETS": REFUSED,
    "DATALOADER": REFUSED,
    "SOLVER": REFUSED,
    "TRAINER": REFUSED,
    "WEIGHTING": REFUSED,
    "GBW": REFUSED,
    "SELF_TRAINING": REFUSED,
    "SELF_TRAINING.SHARED_PASS": APPLIED,
    "ADVERSARIAL": REFUSED,
    "ENTROPY": REFUSED,
    "ACTIVE": REFUSED,
    "GLOBAL": REFUSED,
}


def rule(key: str) -> str:
    """What :data:`RESUME` says of a key."""
    beginnings = [name for name in RESUME if key.startswith(name)]
    return RESUME[max(beginnings, key=len)] if beginnings else REFUSED
