"""Keys of data sets, images and the loader, and of evaluation."""

from .kinds import Key, Kind, choice, integer, listing, number, share, switch, text

_data_sets = listing(text("the name of a data set", empty=False))
_edge = integer(low=1, high=65536, unit=" pixels")
_margin = integer(low=0, high=65536, unit=" pixels")

DATASETS = (
    Key("DATASETS.TRAIN", _data_sets, "The labelled source."),
    Key("DATASETS.TARGET", _data_sets, "Unlabelled images.", ()),
    Key("DATASETS.TARGET_LABELLED.NAME", text("the name of a labelled data set, or ''"),
        "Of the target's images. Those that FILES or SHARE choose are learnt from with their labels, beside any "
        "adaptation; no other label is opened.", ""),
    Key("DATASETS.TARGET_LABELLED.FILES", listing(text("the name of an image", empty=False), distinct=True),
        "Which images: ids or names of files.", ()),
    Key("DATASETS.TARGET_LABELLED.SHARE", share(), "Or how many, drawn with SEED; one at least, and 0: none.", 0.0),
    Key("DATASETS.TARGET_LABELLED.SEED", integer(low=0), "Of that draw; a smaller share is part of a larger one.", 0),
    Key("DATASETS.TARGET_LABELLED.LOSS_WEIGHT", number(low=0), "Factor of their losses.", 1.0),
    Key("DATASETS.TEST", _data_sets, "What is evaluated on; the first one is the headline."),
    Key("DATASETS.SOURCE_VALIDATION", integer(low=0),
        "Images of each source, evenly spaced, that training does not see: what TEST.UNSUPERVISED calibrates with; 0: "
        "none.", 0),
    Key("DATASETS.EXCLUDE", text("the path of a list, or ''"),
        "Images that training leaves out: the id of one in each line, as tools/audit.py writes them; '': none.", ""),
    Key("DATASETS.CUSTOM", text("the path of a YAML file, or ''"),
        "Your own data sets (datasets/README.md); '': custom.yaml in the root, if there.", ""),
    Key("DATASETS.TAXONOMY", text("the name or the path of a taxonomy", empty=False),
        "The classes: cityscapes, a YAML file (datasets/README.md), or a JSON file with COCO's categories.",
        "cityscapes"),
)  # fmt: skip

INPUT = (
    Key("INPUT.FORMAT", choice("RGB", "BGR"), "Order of channels; the whole package thinks in RGB, 0..255.", "RGB"),
    Key("INPUT.MIN_SIZE_TRAIN", listing(_edge, least=1), "Short edges of source images before the crop."),
    Key("INPUT.MIN_SIZE_TRAIN_SAMPLING", choice("choice", "range"),
        "One of MIN_SIZE_TRAIN, or any between its two; for both domains."),
    Key("INPUT.MAX_SIZE_TRAIN", _edge, "Bound of their long edge."),
    Key("INPUT.MIN_SIZE_TEST", _margin, "Short edge in evaluation; 0: the image's own size."),
    Key("INPUT.MAX_SIZE_TEST", _margin, "Bound of the long edge there."),
    Key("INPUT.RANDOM_FLIP", choice("horizontal", "none"), "Mirror half of the training images."),
    Key("INPUT.CROP.ENABLED", Kind("True", lambda value: value is True), "Training needs crops of one size."),
    Key("INPUT.CROP.TYPE", choice("absolute"), "Their size is in pixels."),
    Key("INPUT.CROP.SIZE", listing(_edge, length=2), "Rows and columns of a crop."),
    Key("INPUT.CROP.SINGLE_CATEGORY_MAX_AREA", number("a share", above=0, high=1),
        "Crops in which one class has more are drawn again."),
    Key("INPUT.GAUSSIAN_SIGMA", integer(low=1, high=1024, unit=" pixels"), "Of the centres' heatmap."),
    Key("INPUT.IGNORE_STUFF_IN_OFFSET", switch(), "No offset loss on stuff."),
    Key("INPUT.SMALL_INSTANCE_AREA", _margin,
        "Instances of fewer pixels count SMALL_INSTANCE_WEIGHT times in the semantic loss."),
    Key("INPUT.SMALL_INSTANCE_WEIGHT", number(low=0), "Of small instances."),
    Key("INPUT.IGNORE_CROWD_IN_SEMANTIC", switch(), "Crowds have no semantic loss."),
    Key("INPUT.TARGET.MIN_SIZE_TRAIN", listing(_edge, least=1),
        "Short edges of target images (DAFormer: 512, and 760 for GTA5 as source).", (512,)),
    Key("INPUT.TARGET.MAX_SIZE_TRAIN", _edge, "Bound of their long edge.", 1024),
    Key("INPUT.TARGET.IGNORE_TOP", _margin,
        "Rows of the resized target image whose pseudo labels are not trusted: rectification artefacts (DAFormer: 15 "
        "of 512; HRDA: 30 of 1024).", 0),
    Key("INPUT.TARGET.IGNORE_BOTTOM", _margin,
        "The same below: the ego bonnet (DAFormer: 120 of 512; HRDA: 240 of 1024).", 0),
    Key("INPUT.TARGET.IGNORE_LEFT", _margin, "Columns on the left (HRDA: 30 of 2048).", 0),
    Key("INPUT.TARGET.IGNORE_RIGHT", _margin, "Columns on the right (HRDA: 30 of 2048).", 0),
    Key("INPUT.PHOTOMETRIC_STRENGTH", number("a factor", low=0, high=4),
        "Of the ranges of photometric distortion of source images (SSD, arXiv 1512.02325; noise is ours); 0: none.",
        0.0),
    Key("INPUT.TARGET.PHOTOMETRIC_STRENGTH", number("a factor", low=0, high=4),
        "The same of the student's view of target images in self-training; the teacher sees them as they are "
        "(MC-PanDA++).", 0.0),
    Key("INPUT.FOURIER.ENABLED", switch(),
        "Fourier style transfer of source images (FDA, arXiv 2004.05498); works with every trainer, needs "
        "DATASETS.TARGET.", False),
    Key("INPUT.FOURIER.BETA", number("a share", low=0, high=0.5),
        "Of the spectrum that is exchanged (FDA: 0.01, 0.05 and 0.09, its ensemble of three).", 0.01),
)  # fmt: skip

DATALOADER = (
    Key("DATALOADER.NUM_WORKERS", integer(low=0, high=1024),
        "Processes that read images, for each domain and GPU; 0: none beside the main one."),
    Key("DATALOADER.MAX_BAD_FILES", integer(low=0),
        "Unreadable files that are skipped (counted, logged) before training stops.", 0),
    Key("DATALOADER.RAW_CACHE", text("the path of a folder, or ''"),
        "Where decoded images and labels are kept, to be mapped into memory (3.9 MB for 760x1280); '': nowhere.", ""),
    Key("DATALOADER.RARE_CLASS_SAMPLING.ENABLED", switch(),
        "Source images are drawn by P(c) = softmax((1 - f_c) / T) (DAFormer, arXiv 2111.14887, eq. 6).", True),
    Key("DATALOADER.RARE_CLASS_SAMPLING.TEMPERATURE", number(above=0), "T.", 0.01),
    Key("DATALOADER.RARE_CLASS_SAMPLING.MIN_PIXELS", integer(low=0),
        "Of the class in the full label, for an image to be drawn.", 3000),
    Key("DATALOADER.RARE_CLASS_SAMPLING.MIN_CROP_PIXELS", integer(low=0),
        "Of the class in the crop; crops are redrawn until then.", 1500),
    Key("DATALOADER.RARE_CLASS_SAMPLING.MAX_TRIES", integer(low=1, high=10000), "Crops that are drawn at most.", 10),
)  # fmt: skip

TEST = (
    Key("TEST.EVAL_PERIOD", integer(low=0), "Iterations between evaluations; 0: at the end only."),
    Key("TEST.PROTOCOLS", listing(text("the name of a protocol of DATASETS.TAXONOMY", empty=False), least=1,
                                  distinct=True),
        "Classes that are averaged; the first one is the headline.", ("19",)),
    Key("TEST.MODEL", choice("student", "teacher"),
        "Whose last iteration is the headline; both are evaluated.", "student"),
    Key("TEST.TAU", share(),
        "Of Panoptic-DeepLab's decision in evaluation and prediction (ours): logits lose TAU times the log of "
        "WEIGHTING.PRIOR. At 1, classes are decided as if none had been weighted; 0: as learnt.", 0.0),
    Key("TEST.RARE_CLASSES", integer(low=1, high=999),
        "The k source-rarest classes whose mean recall is reported, unless DATASETS.TAXONOMY says which.", 5),
    Key("TEST.UNSUPERVISED", _data_sets,
        "Data sets of images alone: each evaluation logs estimates of the score on them (docs/no_labels.md); (): none.",
        ()),
    Key("TEST.UNSUPERVISED_IMAGES", integer(low=0), "Of all of them, evenly spaced; 0: all.", 100),
    Key("TEST.INSTANCE_AP", switch(), "Cityscapes AP of the panoptic maps' things, too.", False),
    Key("TEST.NUM_PANELS", integer(low=0, high=100000), "Pictures (image, truth, prediction, error) in the report.", 8),
)  # fmt: skip
