"""Keys of the trainers: self-training, alignment, entropy minimisation, active learning (RIPU, CVPR 2022, and CBDA,
arXiv 2311.14146, which is RIPU with both switches on)."""

from ..active.acquisition import MODES, SCORES
from ..active.effort import PATTERN
from ..active.units import UNITS
from ..adaptation.entropy_minimization import ENTROPY_LOSSES
from ..adaptation.mean_teacher.augmentation import BLUR_SIGMA
from ..adaptation.mean_teacher.pseudo_labels import INSTANCE_QUALITIES, QUALITIES, SELECTIONS
from ..losses.adversarial import ALIGNED_MAPS, GANS
from .kinds import Key, choice, integer, listing, number, registered, share, switch, text
from .trainers import TRAINERS

_factor, _probability = number(low=0), share("a probability")
_threshold = number("a probability", above=0, high=1)
#: DAFormer; two stuff classes are among them.
_DISTANT = (
    "traffic light", "traffic sign",
    "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip

TRAINER = (
    Key("TRAINER.NAME", registered(TRAINERS.keys), "How the model is adapted (docs/methods.md).", "SourceOnlyTrainer"),
    Key("TRAINER.DETERMINISTIC", switch(), "Deterministic algorithms; needed for bit-exact resume on GPUs.", False),
)  # fmt: skip

SELF_TRAINING = (
    Key("SELF_TRAINING.EMA_DECAY", number(low=0, below=1),
        "Of the teacher (DAFormer); the ramp min(1 - 1 / (t + 1), decay) is always on.", 0.999),
    Key("SELF_TRAINING.SELECTION", choice(*SELECTIONS),
        "With quality, every pixel keeps its label, weighted by the share of confident pixels (DACS, DAFormer). With "
        "threshold, only confident pixels keep it (an option of DACS). With class_percentile, the surest third of each "
        "class does (FDA).", "quality"),
    Key("SELF_TRAINING.CONFIDENCE_THRESHOLD", _threshold, "Of quality and threshold (DACS, DAFormer).", 0.968),
    Key("SELF_TRAINING.QUALITY", choice(*QUALITIES),
        "Quality weight of each image (ours), or over the rank's batch (as published). class: of each class in an "
        "image (ours), as MC-PanDA weighs a mask.", "image"),
    Key("SELF_TRAINING.ADAPTIVE_THRESHOLDS.ENABLED", switch(),
        "A threshold of each class that follows the teacher (MC-PanDA++, arXiv 2609.39681), in place of "
        "SEGMENTS.MASK_CONFIDENCE_* or, for labels of pixels, of CONFIDENCE_THRESHOLD (there: ours).", False),
    Key("SELF_TRAINING.ADAPTIVE_THRESHOLDS.START", number("a probability", low=0, below=1),
        "Its first value (MC-PanDA++).", 0.0),
    Key("SELF_TRAINING.ADAPTIVE_THRESHOLDS.DECAY", number(low=0, below=1),
        "What it keeps of itself in an update (MC-PanDA++: 0.999 in 110000 iterations); shorter runs need less, such "
        "as 1 - 110 / SOLVER.MAX_ITER.", 0.999),
    Key("SELF_TRAINING.CLASS_PERCENTILE.PERCENTILE", number(low=0, high=100),
        "Of a class's confidences (FDA) in the rank's batch (ours).", 66.0),
    Key("SELF_TRAINING.CLASS_PERCENTILE.MAX_THRESHOLD", _threshold,
        "Pixels of this confidence are kept in any case (FDA).", 0.9),
    Key("SELF_TRAINING.TAU", share(),
        "The same as TEST.TAU, of the teacher before it labels pixels (ours): pseudo labels of a balanced teacher.",
        0.0),
    Key("SELF_TRAINING.LOCATION_PRIOR", share("a strength"),
        "How much the teacher's labels look where the source shows a class (CBST-SP, arXiv 1810.07911). The class's "
        "frequency is divided out (ours). 0: not at all.", 0.0),
    Key("SELF_TRAINING.CLASS_MIX", switch(),
        "Paste half of the source image's classes on the target image (ClassMix, DACS).", True),
    Key("SELF_TRAINING.SHARED_PASS", switch(),
        "Source and mixed images go through the student together (ours): the same results in one pass of twice the "
        "memory, for networks without batch norm.", False),
    Key("SELF_TRAINING.TARGET_LOSS_WEIGHT", _factor, "Factor of the losses of mixed images.", 1.0),
    Key("SELF_TRAINING.INSTANCE_LOSSES", switch(),
        "Centre and offset losses on the teacher's instances, too (ours).", False),
    Key("SELF_TRAINING.INSTANCE_QUALITY", choice(*INSTANCE_QUALITIES),
        "What weighs them: the pixel's weight alone, or times its instance's score (Panoptic-DeepLab's; as a weight: "
        "ours).", "pixel"),
    Key("SELF_TRAINING.INSTANCE_MIX.ENABLED", switch(),
        "The teacher's instances, pasted on source images, for the losses of centres and offsets alone (IMix of "
        "LIDAPS, there for Mask R-CNN).", False),
    Key("SELF_TRAINING.INSTANCE_MIX.MIN_SCORE", share("a score"), "Of the instances that are pasted (LIDAPS).", 0.75),
    Key("SELF_TRAINING.INSTANCE_MIX.WEIGHT", _factor, "Factor of these losses (LIDAPS).", 1.0),
    Key("SELF_TRAINING.COLOR_JITTER_STRENGTH", share("a strength"),
        "Of the strong augmentation of mixed images (DACS).", 0.2),
    Key("SELF_TRAINING.COLOR_JITTER_PROBABILITY", _probability,
        "Of the jitter. The published code's color_jitter_probability 0.2 is a threshold: the jitter fires in 80 % of "
        "the steps.", 0.8),
    Key("SELF_TRAINING.COLOR_JITTER_HUE", share(),
        "How far the hue shifts, as a share of COLOR_JITTER_STRENGTH (DACS: 1; MC-PanDA: a quarter of 0.8).", 1.0),
    Key("SELF_TRAINING.GRAYSCALE_PROBABILITY", _probability,
        "Of a grey image, after the jitter (MC-PanDA: 0.2).", 0.0),
    Key("SELF_TRAINING.BLUR_PROBABILITY", _probability, "Of the blur.", 0.5),
    Key("SELF_TRAINING.BLUR_SIGMA", listing(number(above=0, high=100), length=2, rising=True),
        "Range of its standard deviation in pixels (DACS; MC-PanDA: 0.1 to 2).", BLUR_SIGMA),
    Key("SELF_TRAINING.MASKED.ENABLED", switch(),
        "Masked image consistency (MIC, arXiv 2212.01322); pseudo labels and augmentation are those of mixed "
        "images.", False),
    Key("SELF_TRAINING.MASKED.RATIO", share(), "Of the blocks that are masked (MIC).", 0.7),
    Key("SELF_TRAINING.MASKED.BLOCK_SIZE", integer(low=1, high=65536, unit=" pixels"),
        "Side of a block; MIC: 64 at full resolution, 32 at half (crops of 512).", 64),
    Key("SELF_TRAINING.MASKED.WEIGHT", _factor, "Factor of its losses (MIC).", 1.0),
    Key("SELF_TRAINING.FEATURE_DISTANCE.ENABLED", switch(),
        "Features of things stay near the initial backbone's (DAFormer, arXiv 2111.14887), which should be "
        "ImageNet's.", False),
    Key("SELF_TRAINING.FEATURE_DISTANCE.WEIGHT", _factor, "Factor of that distance (DAFormer).", 0.005),
    Key("SELF_TRAINING.FEATURE_DISTANCE.MIN_SHARE", number("a share", above=0.5, high=1),
        "Of a feature cell's pixels that one class has (DAFormer).", 0.75),
    Key("SELF_TRAINING.FEATURE_DISTANCE.CLASSES",
        listing(text("the name of a class", empty=False), least=1, distinct=True),
        "Those of DAFormer: two stuff classes are among them.", _DISTANT),
)  # fmt: skip

SEGMENTS = (
    Key("SELF_TRAINING.SEGMENTS.BURN_IN_ITERS", integer(low=0),
        "Of a mask model (MC-PanDA, arXiv 2407.14110). For so many iterations the teacher is a fixed model of the "
        "source, then it starts again as the student's copy. MC-PanDA: 15000 from SYNTHIA, 20000 from Cityscapes. 0: "
        "it averages from the start, with the ramp.", 0),
    Key("SELF_TRAINING.SEGMENTS.TEACHER_WEIGHTS", text("the path of a local .pth file, or ''"),
        "That model, made by source_only or published; needed with BURN_IN_ITERS.", ""),
    Key("SELF_TRAINING.SEGMENTS.MASK_CONFIDENCE_THINGS", number("a probability", low=0, below=1),
        "A segment counts by the share of its pixels above this confidence (MC-PanDA); 0: all count fully.", 0.99),
    Key("SELF_TRAINING.SEGMENTS.MASK_CONFIDENCE_STUFF", number("a probability", low=0, below=1),
        "The same for stuff (MC-PanDA).", 0.99),
    Key("SELF_TRAINING.SEGMENTS.POINT_CONFIDENCE", _probability,
        "Mask losses leave out points where no segment has this confidence (MC-PanDA: 0.8, on Vistas 0.9); 0: no "
        "filter.", 0.8),
    Key("SELF_TRAINING.SEGMENTS.MIN_AREA", integer(low=0, unit=" pixels"),
        "Of the crop; segments of so many or fewer are dropped (MC-PanDA).", 25),
    Key("SELF_TRAINING.SEGMENTS.SOURCE_MASK_FACTOR", _factor,
        "Of the mask and dice losses of the source in self-training (MC-PanDA++: 2).", 1.0),
)  # fmt: skip

ADVERSARIAL = (
    Key("ADVERSARIAL.ALIGN", choice(*ALIGNED_MAPS),
        "What the discriminator sees: softmax maps (AdaptSegNet), or self-information maps (ADVENT).", "softmax"),
    Key("ADVERSARIAL.GAN", choice(*GANS),
        "vanilla (AdaptSegNet, ADVENT), or least_squares (AdaptSegNet: with LOSS_WEIGHT 0.01).", "vanilla"),
    Key("ADVERSARIAL.LOSS_WEIGHT", _factor, "Factor of the alignment (AdaptSegNet, ADVENT).", 0.001),
    Key("ADVERSARIAL.AUXILIARY_LOSS_WEIGHT", _factor,
        "The same with MODEL.AUXILIARY_HEAD (AdaptSegNet, ADVENT).", 0.0002),
    Key("ADVERSARIAL.LEARNING_RATE", number(above=0), "Of the discriminators, Adam (AdaptSegNet, ADVENT).", 1e-4),
    Key("ADVERSARIAL.BETAS", listing(number(low=0, below=1), length=2),
        "Of that Adam (AdaptSegNet, ADVENT).", (0.9, 0.99)),
    Key("ADVERSARIAL.POLY_LR_POWER", number(low=0), "Of its learning rate (AdaptSegNet, ADVENT).", 0.9),
    Key("ADVERSARIAL.ALIGN_INSTANCES", switch(),
        "The discriminator sees centre heatmap and offset length, too (ours).", False),
)  # fmt: skip

ENTROPY = (
    Key("ENTROPY.LOSS", choice(*ENTROPY_LOSSES),
        "entropy: MinEnt (ADVENT); or maximum_squares (arXiv 1909.13589: with LOSS_WEIGHT 0.1).", "entropy"),
    Key("ENTROPY.LOSS_WEIGHT", _factor, "Factor of the loss (MinEnt).", 0.001),
    Key("ENTROPY.AUXILIARY_LOSS_WEIGHT", _factor, "The same with MODEL.AUXILIARY_HEAD (MinEnt).", 0.0002),
    Key("ENTROPY.IMAGE_WISE", switch(), "Image-wise weighting of maximum squares.", False),
    Key("ENTROPY.IMAGE_WISE_RATIO", share(), "Its exponent (maximum squares).", 0.2),
)  # fmt: skip


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
