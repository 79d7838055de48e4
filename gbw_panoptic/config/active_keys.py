"""Keys of active learning: RIPU (CVPR 2022), and CBDA (arXiv 2311.14146), which is RIPU with both switches on."""

from ..active.acquisition import MODES, SCORES
from ..active.effort import PATTERN
from ..active.units import UNITS
from .key import Key
from .kinds import choice, integer, listing, number, share, switch, text

_factor = number(low=0)

ACTIVE = (
    Key("ACTIVE.ANNOTATOR", text("the name of a labelled data set, or ''"),
        "Of the target's images; it answers for the human annotator. '': humans answer (acquire.py --for).", ""),
    Key("ACTIVE.LABELS", text("the path of a folder, or ''"), "Of the bought labels; '': active/ in OUTPUT_DIR.", ""),
    Key("ACTIVE.BUDGET",
        text("a share such as '5%', a number of pixels, or of regions, clicks, images or seconds such as '300 clicks'",
             pattern=PATTERN),
        "Of all target pixels (RIPU: 2.2% and 5%), or an amount; all rounds together. What regions, clicks, images and "
        "seconds are, docs/labelling.md says.", "5%"),
    Key("ACTIVE.ITERATIONS", listing(integer(low=0), rising=True),
        "A round of acquisition after each of them; they share the budget equally (RIPU). 0: before the first one, by "
        "MODEL.WEIGHTS; (): train on the labels that tools/acquire.py has "
        "bought.", (10000, 12000, 14000, 16000, 18000)),
    Key("ACTIVE.SCORE", choice(*SCORES), "ripu: impurity times uncertainty; entropy: uncertainty alone.", "ripu"),
    Key("ACTIVE.MODE", choice(*MODES), "Squares of radius RADIUS, or single pixels at least RADIUS apart.", "region"),
    Key("ACTIVE.RADIUS", integer(low=0, high=65536, unit=" pixels"), "RIPU: 1 for regions, 32 for pixels.", 1),
    Key("ACTIVE.UNIT", choice("", *UNITS),
        "What is asked at once. '': as MODE says. A click names one class for most of a superpixel.", ""),
    Key("ACTIVE.SUPERPIXEL", integer(low=2, high=65536, unit=" pixels"), "Side of a superpixel, about (ours).", 32),
    Key("ACTIVE.CLASS_BALANCE", switch(), "Classes that were bought seldom count more (CBDA).", False),
    Key("ACTIVE.DYNAMIC_BUDGET", switch(), "One budget over all images (CBDA); else each image gets its share.", False),
    Key("ACTIVE.GAMMA", _factor, "Strength of the class balance (ours).", 1.0),
    Key("ACTIVE.SOFT", switch(), "Class balance by the whole prediction; else by its argmax (ours).", True),
    Key("ACTIVE.VOID_COSTS", switch(), "Bought pixels whose truth is void count against the budget (RIPU).", True),
    Key("ACTIVE.TARGET_LOSS_WEIGHT", _factor, "Cross entropy on bought pixels (RIPU).", 1.0),
    Key("ACTIVE.NEGATIVE_LOSS_WEIGHT", _factor, "Negative learning on the target (RIPU).", 1.0),
    Key("ACTIVE.NEGATIVE_THRESHOLD", share("a probability"), "Probabilities below it are pushed to 0 (RIPU).", 0.05),
    Key("ACTIVE.CONSISTENCY_LOSS_WEIGHT", _factor, "Consistency across class boundaries of the source (RIPU).", 0.1),
    Key("ACTIVE.PANOPTIC", switch(),
        "A bought pixel of a thing tells its instance and that one's centre, too, at no cost; they train the instance "
        "heads (ours).", False),
    Key("ACTIVE.SELF_TRAINING", switch(),
        "A mean teacher's labels for what was not bought, in mixed (and masked) images, by SELF_TRAINING.*. Bought "
        "labels stand in their place there and count fully (ours).", False),
    Key("ACTIVE.SOURCE_FREE", switch(),
        "RIPU's setting without source data: no file of DATASETS.TRAIN is read; MODEL.WEIGHTS are a model of the "
        "source.", False),
    Key("ACTIVE.NUM_OVERLAYS", integer(low=0, high=100000), "Pictures of what was bought, after each round.", 8),
)  # fmt: skip
