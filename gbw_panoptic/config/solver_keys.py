"""Keys of the run and of the optimisation."""

from .kinds import Key, choice, integer, listing, number, switch, switch_or_auto, text

_decay = number(low=0)

SOLVER = (
    Key("SOLVER.MAX_ITER", integer(low=1), "Iterations of the training."),
    Key("SOLVER.IMS_PER_BATCH", integer(low=1, high=65536),
        "Images of each domain that one update sees, over all processes and micro-batches."),
    Key("SOLVER.ACCUMULATION_STEPS", integer(low=1, high=65536),
        "Micro-batches of an update (ours). GBW's class weights and the losses' denominators are those of each "
        "micro-batch; its losses count one part in so many.", 1),
    Key("SOLVER.OPTIMIZER", choice("SGD", "ADAM", "ADAMW"), "One kernel updates a parameter."),
    Key("SOLVER.BASE_LR", number(low=0), "Learning rate behind the warm-up."),
    Key("SOLVER.REFERENCE_BATCH", integer(low=0),
        "BASE_LR is for so many images: it is scaled by IMS_PER_BATCH over this; 0: as it is.", 0),
    Key("SOLVER.REFERENCE_WORLD_SIZE", integer(low=0),
        "Detectron2's; only 0, since it would change batch and schedule with the machine."),
    Key("SOLVER.BACKBONE_MULTIPLIER", number(low=0), "Factor of the backbone's learning rate.", 1.0),
    Key("SOLVER.LAYER_DECAY", number(above=0, high=1),
        "Of build_vit_backbone: factor for every block between a parameter and the heads (ViTDet: B 0.7, L 0.8; EoMT: "
        "0.8).", 1.0),
    Key("SOLVER.WEIGHT_DECAY", _decay, "Of all parameters but those named below."),
    Key("SOLVER.WEIGHT_DECAY_NORM", _decay, "Of normalisation layers."),
    Key("SOLVER.WEIGHT_DECAY_EMBED", _decay, "Of embeddings and relative position tables (Mask2Former).", 0.0),
    Key("SOLVER.MOMENTUM", number(low=0, below=1), "Of SGD."),
    Key("SOLVER.NESTEROV", switch(), "Of SGD; it needs a MOMENTUM above 0."),
    Key("SOLVER.LR_SCHEDULER_NAME", choice("WarmupPolyLR", "WarmupMultiStepLR", "WarmupCosineLR"),
        "Shape of the learning rate."),
    Key("SOLVER.WARMUP_METHOD", choice("linear", "constant"), "How the learning rate rises at first."),
    Key("SOLVER.WARMUP_FACTOR", number(low=0), "Of the first iteration's learning rate."),
    Key("SOLVER.WARMUP_ITERS", integer(low=0), "Iterations of the rise."),
    Key("SOLVER.STEPS", listing(integer(low=1), rising=True),
        "Iterations at which WarmupMultiStepLR multiplies by GAMMA."),
    Key("SOLVER.GAMMA", number(above=0), "Of WarmupMultiStepLR."),
    Key("SOLVER.POLY_LR_POWER", number(low=0), "Of WarmupPolyLR."),
    Key("SOLVER.POLY_LR_CONSTANT_ENDING", number(low=0, high=1),
        "Of WarmupPolyLR: the learning rate stays at this share of BASE_LR."),
    Key("SOLVER.CLIP_GRADIENTS.ENABLED", switch(), "Gradient clipping."),
    Key("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", choice("value", "norm", "full_model"),
        "Of each element, of each parameter's norm, or of one norm over all (ours)."),
    Key("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", number(above=0), "Bound of the value or norm."),
    Key("SOLVER.CLIP_GRADIENTS.NORM_TYPE", number(above=0, infinite=True), "p of the norm."),
    Key("SOLVER.AMP.ENABLED", switch_or_auto(), "Mixed precision; auto: where the device has instructions for it."),
    Key("SOLVER.AMP.PRECISION", choice("bfloat16", "float16"),
        "Of SOLVER.AMP.ENABLED; float16 has loss scaling, for GPUs without bfloat16.", "bfloat16"),
    Key("SOLVER.CHECKPOINT_PERIOD", integer(low=1), "Iterations between checkpoints."),
    Key("SOLVER.CHECKPOINTS_KEPT", integer(low=0), "The last so many of them, beside the final one; 0: all.", 3),
)  # fmt: skip

RUN = (
    Key("SEED", integer(low=0), "A run without a seed cannot be repeated.", 0),
    Key("OUTPUT_DIR", text("the path of a folder", empty=False), "Everything that a run writes."),
    Key("CUDNN_BENCHMARK", switch(), "cuDNN looks for the fastest convolutions."),
    Key("TRACKING.WANDB", switch(),
        "Weights & Biases, beside metrics.json and TensorBoard; needs `pip install wandb`, offline with "
        "WANDB_MODE=offline.", False),
    Key("TRACKING.MLFLOW", switch(),
        "MLflow, likewise; needs `pip install 'gbw-panoptic[mlflow]'`. MLFLOW_TRACKING_URI names the server.", False),
    Key("TRACKING.PROJECT", text("the name of a project", empty=False),
        "Its project there, or its experiment in MLflow.", "gbw-panoptic"),
)  # fmt: skip
