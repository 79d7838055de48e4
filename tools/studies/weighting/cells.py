"""What the study of class weighting compares: cells, their configurations, and the tiers and blocks that they form.

Two editions: the first on small networks from random weights (tiers 1 to 4), the second on the demo's network and
scale, in two stages (tiers 5 to 7). They share no cell, and no table.
"""

from collections.abc import Iterable
from pathlib import Path

from .results import Block, Cell

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
#: GBW with every value given, so that results keep their meaning if a default changes.
_GBW = {
    "GBW.LAMBDA": "0.5", "GBW.GRADIENT": "logits", "GBW.NORMALIZE": "False", "GBW.MOMENTUM": "0.0",
    "GBW.READING": "ours", "GBW.ERRORS": "misses", "GBW.GUARD": "0.0", "GBW.COOLDOWN_ITERS": "0",
    "WEIGHTING.BRANCHES": "('source', 'mixed', 'masked', 'target')",
}  # fmt: skip
#: Weights that spread by 0.4, as those of _GBW do on average.
_SCALE_FREE = _GBW | {"GBW.READING": "scale_free", "GBW.LAMBDA": "1.25"}
#: In three tenths of the second stage the weights go back to 1.
_GUARDED = _SCALE_FREE | {"GBW.GUARD": "0.5", "GBW.COOLDOWN_ITERS": "150"}
UNWEIGHTED, GBW = "unweighted", "GBW, logits"
SCALE_FREE, GUARDED = "GBW, scale-free", "GBW, scale-free, guard"
#: Name -> class weighting of every loss, and the values of its keys. The first is the reference of all differences.
WEIGHTINGS = {
    UNWEIGHTED: ("none", {}),
    "inverse frequency": ("inverse_frequency", {}),
    "effective number": ("effective_number", {}),
    GBW: ("gbw", _GBW),
    # normalised, since these gradients grow with the norm of the features, which no lambda knows
    "GBW, last_layer": ("gbw", _GBW | {"GBW.GRADIENT": "last_layer", "GBW.NORMALIZE": "True"}),
    "GBW, pixel": ("gbw", _GBW | {"GBW.GRADIENT": "pixel"}),
}
FEW = tuple(WEIGHTINGS)[:4]
LAMBDAS = (0.05, 0.15, 0.5, 1.5, 5.0)
#: One value changed at a time; lambda 0.5 and the gradient settings are above.
SENSITIVITY = {
    **{f"GBW, lambda {x:g}": ("gbw", _GBW | {"GBW.LAMBDA": str(x)}) for x in LAMBDAS if x != 0.5},
    "GBW, momentum 0.9": ("gbw", _GBW | {"GBW.MOMENTUM": "0.9"}),
    "GBW, momentum 0.99": ("gbw", _GBW | {"GBW.MOMENTUM": "0.99"}),
    "GBW, normalised": ("gbw", _GBW | {"GBW.NORMALIZE": "True"}),
    "GBW, last_layer, not normalised": ("gbw", _GBW | {"GBW.GRADIENT": "last_layer"}),
    "GBW, last_layer, lambda 5": (
        "gbw", _GBW | {"GBW.GRADIENT": "last_layer", "GBW.NORMALIZE": "True", "GBW.LAMBDA": "5.0"},
    ),
    "GBW, source only": ("gbw", _GBW | {"WEIGHTING.BRANCHES": "('source',)"}),
    "GBW, pseudo labels only": ("gbw", _GBW | {"WEIGHTING.BRANCHES": "('mixed',)"}),
}  # fmt: skip
#: Of panoptic training: which of its losses gain and which lose by class weights.
HEADS = {"GBW, semantic loss only": ("gbw", _GBW | {"WEIGHTING.CENTER": "none", "WEIGHTING.OFFSET": "none"})}
#: Of Mask2Former, likewise.
MASKS = {"GBW, classification only": ("gbw", _GBW | {"WEIGHTING.MASK": "none"})}
#: Of strategies that ask something of unlabelled images: whether weights there gain or lose.
UNLABELLED = {"GBW, labelled losses only": ("gbw", _GBW | {"WEIGHTING.TARGET": "none"})}
#: Of the second edition, whose first is the reference, too. Its network is weighted in the semantic loss alone: weights
#: on centres and offsets cost it cars (docs/streets.md).
SECOND = {
    UNWEIGHTED: WEIGHTINGS[UNWEIGHTED],
    "effective number": WEIGHTINGS["effective number"],
    "BLDA": ("none", {"MODEL.SEM_SEG_HEAD.LOSS_TYPE": "blda"}),
    GBW: WEIGHTINGS[GBW],
    "GBW, released": ("gbw", _GBW | {
        "GBW.READING": "released", "GBW.LAMBDA": "1.0", "WEIGHTING.LOSS_DENOMINATOR": "all",
    }),
    SCALE_FREE: ("gbw", _SCALE_FREE),
    GUARDED: ("gbw", _GUARDED),
    "GBW, all heads": ("gbw", _GBW | {"WEIGHTING.CENTER": "gbw", "WEIGHTING.OFFSET": "gbw"}),
}  # fmt: skip
#: What may give precision back, one at a time, and which errors the gradients see.
IDEAS = {
    "GBW, scale-free, false positives count": ("gbw", _SCALE_FREE | {"GBW.ERRORS": "both"}),
    "GBW, scale-free, false positives count against": ("gbw", _SCALE_FREE | {"GBW.ERRORS": "signed"}),
    "GBW, scale-free, guard alone": ("gbw", _GUARDED | {"GBW.COOLDOWN_ITERS": "0"}),
    "GBW, scale-free, cool-down alone": ("gbw", _GUARDED | {"GBW.GUARD": "0.0"}),
    "GBW, scale-free, balanced teacher": ("gbw", _SCALE_FREE | {"SELF_TRAINING.TAU": "1.0"}),
    "GBW, scale-free, source labels alone": ("gbw", _SCALE_FREE | {"WEIGHTING.BRANCHES": "('source',)"}),
    "GBW, scale-free, location prior": ("gbw", _SCALE_FREE | {"SELF_TRAINING.LOCATION_PRIOR": "1.0"}),
    "GBW, scale-free, momentum 0.9": ("gbw", _SCALE_FREE | {"GBW.MOMENTUM": "0.9"}),
    "GBW, scale-free, lambda 2.5": ("gbw", _SCALE_FREE | {"GBW.LAMBDA": "2.5"}),
}
ALL_WEIGHTINGS = {**WEIGHTINGS, **SENSITIVITY, **HEADS, **MASKS, **UNLABELLED, **SECOND, **IDEAS}
#: Network -> folder of its configurations, and what their names end with.
NETWORKS = {
    "Panoptic-DeepLab, convolutional": ("study", ""),
    "Panoptic-DeepLab, transformer": ("study", "_mit_b0"),
    "Mask2Former": ("study", "_mask2former"),
    "Panoptic-DeepLab, ImageNet": ("demo", ""),
}
CONVOLUTIONAL, TRANSFORMER, MASK2FORMER, IMAGENET = NETWORKS
STRATEGIES = ("source_only", "adversarial", "entropy", "self_training")
#: Task -> what it changes, and the protocol of its scores: the classes that its source labels.
TASKS = {
    "panoptic": ({}, "16"),
    "semantic": (
        {"MODEL.TASK": "semantic", "DATASETS.TRAIN": "('gta5_sem_train',)", "TEST.PROTOCOLS": "('19',)"},
        "19",
    ),
}
_IMAGES = {"source": "400", "target-train": "400", "target-val": "100"}
#: Folder of configurations -> Streets as it is generated for them (make_streets); that of the demo is tools/demo.py's.
DATA = {
    "study": {"size": "96x192", "gap": "0.35", **_IMAGES},
    "demo": {"size": "128x256", "gap": "0.4", "reach": "25", **_IMAGES},
}
#: Of both stages of the second edition: source images that training does not see, for estimates without labels.
HELD_OUT = {"DATASETS.SOURCE_VALIDATION": "40"}
#: Of its second stage: scores and estimates without labels at five points of a run (tools/trust_study.py reads them).
WATCHED = HELD_OUT | {
    "TEST.EVAL_PERIOD": "100", "TEST.UNSUPERVISED": "('cityscapes_uda_images_train',)",
    "TEST.UNSUPERVISED_IMAGES": "40",
    "TEST.NUM_PANELS": "0",
}  # fmt: skip
SENSITIVITY_OF = ("semantic", CONVOLUTIONAL, "self_training")


def block(task: str, network: str, strategy: str, weightings: tuple[str, ...]) -> Block:
    """One table: the same task, network and strategy under several weightings."""
    title = f"{task}, {network}, {strategy.replace('_', ' ')}"
    return Block(title, tuple(Cell(task, network, strategy, weighting) for weighting in weightings))


def _sensitivity() -> tuple[Block, ...]:
    return (
        _against_gbw(SENSITIVITY_OF, (*(name for name in WEIGHTINGS if name not in FEW), *SENSITIVITY)),
        # momentum 0.99 gained on the semantic task: whether here, too, decides the default
        _against_gbw(("panoptic", *SENSITIVITY_OF[1:]), (*HEADS, "GBW, momentum 0.99")),
        _against_gbw(("panoptic", MASK2FORMER, "self_training"), tuple(MASKS)),
        *(
            _against_gbw((task, CONVOLUTIONAL, strategy), tuple(UNLABELLED))
            for task in TASKS
            for strategy in ("adversarial", "entropy")
        ),
    )


def _ideas() -> Block:
    compared = block("panoptic", IMAGENET, "self_training", (UNWEIGHTED, SCALE_FREE, *IDEAS))
    return Block(f"ideas: {compared.title}", compared.cells)


def _against_gbw(place: tuple[str, str, str], names: tuple[str, ...]) -> Block:
    """Settings of GBW, compared with the one of the other tiers."""
    compared = block(*place, (GBW, *names, UNWEIGHTED))
    return Block(f"sensitivity: {compared.title}", compared.cells)


#: First edition, 1: the strategy that is used most; 2: the others, and all for the semantic task; 3: other networks; 4:
#: GBW's settings. Second edition, 5: the same strategy; 6: the others; 7: ideas.
TIERS: dict[int, tuple[Block, ...]] = {
    1: (block("panoptic", CONVOLUTIONAL, "self_training", tuple(WEIGHTINGS)),),
    2: (
        *(block("panoptic", CONVOLUTIONAL, strategy, FEW) for strategy in STRATEGIES[:3]),
        *(block("semantic", CONVOLUTIONAL, strategy, FEW) for strategy in STRATEGIES),
    ),
    3: tuple(block("panoptic", network, "self_training", (UNWEIGHTED, GBW)) for network in (TRANSFORMER, MASK2FORMER)),
    4: _sensitivity(),
    5: (block("panoptic", IMAGENET, "self_training", tuple(SECOND)),),
    6: tuple(
        block("panoptic", IMAGENET, strategy, (UNWEIGHTED, SCALE_FREE, GUARDED))
        for strategy in ("adversarial", "entropy")
    ),
    7: (_ideas(),),
}
SEEDS = {1: 5, 2: 3, 3: 3, 4: 3, 5: 5, 6: 3, 7: 3}
#: Edition -> its tiers, and the weighting that its summary is of.
EDITIONS = {"first": ((1, 2, 3, 4), GBW), "second": ((5, 6, 7), SCALE_FREE)}
LAMBDA_CELLS = {
    x: Cell(*SENSITIVITY_OF, GBW if x == float(_GBW["GBW.LAMBDA"]) else f"GBW, lambda {x:g}") for x in LAMBDAS
}


def config_file(cell: Cell) -> Path:
    """The configuration that a cell overrides."""
    return _config(cell.network, cell.strategy)


def scale(cell: Cell) -> str:
    """Key of :data:`DATA`."""
    return NETWORKS[cell.network][0]


def planned(tiers: Iterable[int]) -> dict[Block, int]:
    """Blocks of tiers -> number of their seeds."""
    return {block: SEEDS[tier] for tier in tiers for block in TIERS[tier]}


def options(cell: Cell) -> list[str]:
    """KEY VALUE overrides of the configuration: the task, and the class weighting of every loss that is weighted."""
    kind, values = ALL_WEIGHTINGS[cell.weighting]
    if cell.network == MASK2FORMER:
        losses = ["CLASSIFICATION", "MASK"]
    elif cell.network == IMAGENET:
        losses = ["SEMANTIC"]
    else:
        losses = ["SEMANTIC", "CENTER", "OFFSET"] if cell.task == "panoptic" else ["SEMANTIC"]
    if cell.strategy in ("adversarial", "entropy"):
        losses.append("TARGET")
    tests = ["cityscapes_uda_panoptic_val"]
    if cell.strategy == "self_training" and cell.network != IMAGENET:  # how right the last teacher is; behind training
        tests.append("cityscapes_uda_panoptic_train")
    keys = {
        **TASKS[cell.task][0], **{f"WEIGHTING.{loss}": kind for loss in losses},
        **values, "DATASETS.TEST": str(tuple(tests)), **(WATCHED if cell.network == IMAGENET else {}),
    }  # fmt: skip
    return [part for pair in keys.items() for part in pair]


def first_options(config: Path) -> list[str]:
    """KEY VALUE overrides of a first stage or teacher, by its configuration."""
    return [part for pair in HELD_OUT.items() for part in pair] if config.parent.name == NETWORKS[IMAGENET][0] else []


def first_config(cell: Cell) -> Path | None:
    """Of the training on the source, without class weights, that all cells of a network and seed share; None where
    there is none.

    It is the first stage of the second edition, and the first teacher of Mask2Former's self-training (MC-PanDA's
    burn-in): with a teacher that starts as badly as the student, what the source has taught is lost.
    """
    needed = cell.network == IMAGENET or cell.network == MASK2FORMER and cell.strategy == "self_training"
    return _config(cell.network, "source_only") if needed else None


def _config(network: str, strategy: str) -> Path:
    place, end = NETWORKS[network]
    return CONFIGS / place / f"{strategy}{end}.yaml"


def folder(cell: Cell) -> str:
    """A name for the cell's files."""
    words = f"{cell.task}_{cell.network}_{cell.strategy}_{cell.weighting}"
    return words.replace(",", "").replace(" ", "_").lower()
