"""Keys against class imbalance: class weights and gradient-based class weighting.

Formulas are in weighting/static.py; n_c: labelled source pixels of a class, f_c: their share.
"""

from ..losses import GRADIENTS, LOSS_TYPES
from ..weighting import BRANCHES, DENOMINATORS, ERRORS, PRIORS, READINGS, weightings
from .kinds import Key, choice, integer, listing, number, registered, switch

_weighting = registered(
    weightings, hints={name: f"it is a pixel loss: set MODEL.SEM_SEG_HEAD.LOSS_TYPE {name}" for name in LOSS_TYPES}
)  # fmt: skip

WEIGHTING = (
    Key("WEIGHTING.SEMANTIC", _weighting,
        "Class weights of the semantic head. With n_c labelled source pixels of a class, f_c is their share. Manual "
        "takes WEIGHTING.CLASS_WEIGHTS as they are. The inverse_frequency is 1 / f_c, its sqrt_inverse_frequency 1 / "
        "sqrt(f_c). The median_frequency is 1 / share of the class in the images that contain it (arXiv 1411.4734). "
        "The effective_number is 1 / (1 - b^n_c) with b = 1 - 1 / N (arXiv 1901.05555). The log_inverse is 1 / ln(k + "
        "f_c) (arXiv 1606.02147, ENet). The weights of gbw follow from the gradients of each step (arXiv 2407.01327). "
        "Static ones have mean 1 over the classes that occur.", "none"),
    Key("WEIGHTING.CENTER", _weighting, "Class weights of the centre head.", "none"),
    Key("WEIGHTING.OFFSET", _weighting, "Class weights of the offset head.", "none"),
    Key("WEIGHTING.CLASSIFICATION", _weighting, "Mask2Former: by class of the matched segment.", "none"),
    Key("WEIGHTING.MASK", _weighting,
        "Mask2Former: of its mask and dice losses, each with weights of its own.", "none"),
    Key("WEIGHTING.TARGET", _weighting,
        "Of what entropy minimisation and alignment ask of the target, by predicted class.", "none"),
    Key("WEIGHTING.BRANCHES", listing(choice(*BRANCHES), distinct=True),
        "Branches whose labelled losses are weighted; elsewhere every class weighs 1. mixed, masked: pseudo labels; "
        "target: labels of the target, bought or of DATASETS.TARGET_LABELLED. WEIGHTING.TARGET applies whatever stands "
        "here.", BRANCHES),
    Key("WEIGHTING.CLASS_WEIGHTS", listing(number(low=0)),
        "Of manual: one number a class, in the order of the taxonomy.", ()),
    Key("WEIGHTING.EFFECTIVE_NUMBER_SHARE", number("a share", above=0, high=1),
        "N over the sum of n_c (ours: published N count images).", 0.01),
    Key("WEIGHTING.LOG_INVERSE_K", number(low=1), "k of log_inverse (ENet).", 1.02),
    Key("WEIGHTING.PRIOR", choice(*PRIORS),
        "What TEST.TAU and SELF_TRAINING.TAU take back. With weights, the mean class weights of the source branch, "
        "which the checkpoint holds. With frequencies, the shares of the classes in the source (arXiv 2007.07314).",
        "weights"),
    Key("WEIGHTING.LOSS_DENOMINATOR", choice(*DENOMINATORS),
        "What a weighted sum of pixel losses is divided by. With weights it is the sum of the weights of its pixels: a "
        "weighting then only redistributes. With valid it is their number. With all it is that of all pixels, ignored "
        "ones too (Detectron2's DeepLab, DAFormer).", "weights"),
)  # fmt: skip

GBW = (
    Key("GBW.READING", choice(*READINGS),
        "Which formulas of GBW. The authors' code has those of released, for the cross entropy of semantic heads only. "
        "Its whole is GBW.LAMBDA 1 with WEIGHTING.LOSS_DENOMINATOR all. With scale_free (ours), GBW.LAMBDA means the "
        "same for every loss, image size and batch. The standard deviation of the weights over the classes is then 1 / "
        "(2 LAMBDA). The keys below GBW.LAMBDA are of ours and scale_free.", "ours"),
    Key("GBW.LAMBDA", number(above=0), "Pull of the weights towards 1.", 0.5),
    Key("GBW.GRADIENT", choice(*GRADIENTS),
        "Which gradients, of semantic and classification heads; autograd is slow, for checking.", "logits"),
    Key("GBW.NORMALIZE", switch(),
        "Divide gradients by their mean first; always on for instance heads and masks. No choice of scale_free.",
        False),
    Key("GBW.ERRORS", choice(*ERRORS),
        "Which errors the gradients of semantic heads see (ours). With misses, those on a class's own pixels. With "
        "both, also what is wrongly taken for the class. With signed, the latter counts against it.", "misses"),
    Key("GBW.GUARD", number(low=0),
        "Of semantic heads (ours). A class that is predicted more often than it occurs has less of its gradient "
        "counted, and none from this excess on. At 1 it is predicted twice as often. 0: no guard.", 0.0),
    Key("GBW.COOLDOWN_ITERS", integer(low=0),
        "In so many iterations at the end the weights go back to 1, in a straight line (ours).", 0),
    Key("GBW.MOMENTUM", number(low=0, below=1),
        "Of a moving average of gradients; 0 is the paper's update in each iteration.", 0.0),
    Key("GBW.WARMUP_ITERS", integer(low=0), "Weights stay 1 until then.", 0),
)  # fmt: skip
