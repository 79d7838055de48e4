"""Data sets, their labels and images, and what is averaged over them."""

from typing import Iterator

from detectron2.data import MetadataCatalog

from ...places import unknown_data_set
from ...taxonomy import read_taxonomy
from ...weighting import STATIC_WEIGHTS, WEIGHTED_KEYS
from ..kinds import refusal, value_of


def image_problems(cfg) -> Iterator[str]:
    """One sentence for each size of images that another key contradicts."""
    ranged = cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING == "range"
    for key in ("INPUT.MIN_SIZE_TRAIN", "INPUT.TARGET.MIN_SIZE_TRAIN"):
        edges = value_of(cfg, key)
        if ranged and len(edges) > 1 and (len(edges) != 2 or edges[0] > edges[1]):
            yield refusal(
                cfg, key, "the two ends of a range, the smaller one first, with INPUT.MIN_SIZE_TRAIN_SAMPLING range",
                "correct them, or set the sampling to choice",
            )  # fmt: skip
    if cfg.INPUT.MIN_SIZE_TEST and not cfg.INPUT.MAX_SIZE_TEST:
        yield refusal(
            cfg, "INPUT.MAX_SIZE_TEST", f"at least 1 pixel with INPUT.MIN_SIZE_TEST {cfg.INPUT.MIN_SIZE_TEST}",
            "set MIN_SIZE_TEST 0, too, for images of their own size",
        )  # fmt: skip


def data_set_problems(cfg) -> Iterator[str]:
    """One sentence for each data set that is unknown or lacks the labels that it is named for."""
    if not cfg.DATASETS.TRAIN:
        yield (
            "DATASETS.TRAIN: expected at least one labelled source, found none; name one, e.g. synthia_panoptic_train."
        )
    known = set(MetadataCatalog.list())
    for key in ("DATASETS.TRAIN", "DATASETS.TARGET", "DATASETS.TEST", "TEST.UNSUPERVISED"):
        for name in value_of(cfg, key):
            if name not in known or not hasattr(MetadataCatalog.get(name), "taxonomy"):
                yield f"{key}: {unknown_data_set(name)}"
    for name in cfg.TEST.UNSUPERVISED:
        if MetadataCatalog.get(name).get("labelled_classes"):
            yield (
                f"TEST.UNSUPERVISED: expected data sets of images alone, so that no label can be read, found '{name}'; "
                "name one of them, e.g. that of DATASETS.TARGET."
            )
    for key in ("TRAIN", "TEST"):
        for name in cfg.DATASETS[key]:
            if MetadataCatalog.get(name).get("labelled_classes") == ():
                yield (
                    f"DATASETS.{key}: expected a data set with labels, found '{name}', which is images alone; name it "
                    "in DATASETS.TARGET, or a labelled one here."
                )
    space = read_taxonomy(cfg.DATASETS.TAXONOMY)
    for name in cfg.DATASETS.TRAIN + cfg.DATASETS.TEST:
        taxonomy = MetadataCatalog.get(name).taxonomy
        if not taxonomy.same_classes(space):
            yield (
                f"DATASETS.TAXONOMY: expected the classes of {name}, {taxonomy.name}, found {space.name}; name that "
                "taxonomy, or map the data set to these classes by an entry of its own in DATASETS.CUSTOM."
            )
    for name in cfg.DATASETS.TRAIN + cfg.DATASETS.TEST:
        count = MetadataCatalog.get(name).taxonomy.num_classes
        if count != cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES:
            yield refusal(
                cfg, "MODEL.SEM_SEG_HEAD.NUM_CLASSES", f"{count}, the number of classes of {name}",
                "heads keep all classes, TEST.PROTOCOLS chooses what is averaged",
            )  # fmt: skip


def labelled_target_problems(cfg) -> Iterator[str]:
    """Target images with labels: chosen in one way, from a data set with the labels that are learnt from."""
    options, known = cfg.DATASETS.TARGET_LABELLED, MetadataCatalog.list()
    if options.FILES and options.SHARE:
        yield refusal(
            cfg,
            "DATASETS.TARGET_LABELLED.SHARE",
            "0 with FILES, which name the images already",
            "set one of them to nothing",
        )
    if not options.FILES and not options.SHARE:
        if options.NAME:
            yield refusal(
                cfg, "DATASETS.TARGET_LABELLED.NAME", "'' without FILES and SHARE, which choose among its images",
                "set one of them, or NAME to ''",
            )  # fmt: skip
        return
    metadata = MetadataCatalog.get(options.NAME) if options.NAME in known else None
    labels = "instance labels" if cfg.MODEL.TASK == "panoptic" else "labels"
    if not metadata or not metadata.get("labelled_classes") or labels != "labels" and not metadata.get("panoptic_json"):
        yield (
            f"DATASETS.TARGET_LABELLED.NAME: expected a data set of target images with {labels}, found "
            f"'{options.NAME}'; name one, e.g. cityscapes_uda_panoptic_train."
        )
    elif not metadata.taxonomy.same_classes(read_taxonomy(cfg.DATASETS.TAXONOMY)):
        yield (
            f"DATASETS.TARGET_LABELLED.NAME: expected the classes of DATASETS.TAXONOMY {cfg.DATASETS.TAXONOMY}, found "
            f"those of '{options.NAME}', {metadata.taxonomy.name}; name a data set with the source's classes."
        )


def task_problems(cfg) -> Iterator[str]:
    """One sentence for each setting that MODEL.TASK has no use for."""
    if cfg.MODEL.TASK == "semantic":
        for key in ("WEIGHTING.CENTER", "WEIGHTING.OFFSET"):
            if value_of(cfg, key) != "none":
                yield refusal(
                    cfg,
                    key,
                    "none with MODEL.TASK semantic, which has no such head",
                    "set it to none or MODEL.TASK to panoptic",
                )
        return
    for name in cfg.DATASETS.TRAIN:
        if not hasattr(MetadataCatalog.get(name), "panoptic_json"):
            yield (
                f"DATASETS.TRAIN: expected a source with instance labels for MODEL.TASK panoptic, found '{name}', "
                "which has semantic labels only; set MODEL.TASK semantic or take another source."
            )


def statistics_problems(cfg) -> Iterator[str]:
    """One sentence for each source without the class statistics that a weighting or a loss follows from."""
    names = [cfg.WEIGHTING[head] for head in WEIGHTED_KEYS] + [cfg.MODEL.SEM_SEG_HEAD.LOSS_TYPE]
    names.append(cfg.WEIGHTING.PRIOR)
    needing = [name for name in names if name in (*STATIC_WEIGHTS, "logit_adjustment", "frequencies")]
    for source in cfg.DATASETS.TRAIN:
        if needing and MetadataCatalog.get(source).get("class_statistics") is None:
            yield (
                f"DATASETS.TRAIN: expected sources with class statistics for {needing[0]}, found '{source}' without; "
                "take another source, or a comparator that needs none."
            )


def protocol_problems(cfg) -> Iterator[str]:
    """One sentence for each average over what is not there."""
    if cfg.TEST.INSTANCE_AP and cfg.MODEL.TASK != "panoptic":
        yield refusal(
            cfg,
            "TEST.INSTANCE_AP",
            f"False with MODEL.TASK {cfg.MODEL.TASK}, which predicts no instances",
            "set it to False",
        )
    if not cfg.DATASETS.TEST:  # nothing is averaged
        return
    protocols, missing = read_taxonomy(cfg.DATASETS.TAXONOMY).protocols, _unlabelled_classes(cfg)
    usable = ", ".join(repr(name) for name in protocols if not missing[name])
    for name in cfg.TEST.PROTOCOLS:
        if name not in protocols:
            yield (
                f"TEST.PROTOCOLS: expected a list of different values, each one of {', '.join(protocols)}, found "
                f"{name!r}; choose among them, or add it to the taxonomy that DATASETS.TAXONOMY names."
            )
        elif missing[name]:
            yield (
                f"TEST.PROTOCOLS: expected some of {usable}, over classes that the source labels, found '{name}', "
                f"which averages over {', '.join(missing[name])} that {', '.join(cfg.DATASETS.TRAIN)} does not label; "
                "choose among them."
            )
    if not any(cfg.MODEL.TASK in protocols[name].tasks for name in cfg.TEST.PROTOCOLS):
        usable = ", ".join(
            name for name, names in missing.items() if not names and cfg.MODEL.TASK in protocols[name].tasks
        )
        yield (
            f"TEST.PROTOCOLS: expected at least one protocol for MODEL.TASK {cfg.MODEL.TASK}, found "
            f"{', '.join(cfg.TEST.PROTOCOLS)} (semantic only); add one of {usable}."
        )


def _unlabelled_classes(cfg) -> dict[str, list[str]]:
    """Protocol -> its classes that no source labels."""
    labelled = set()
    for name in cfg.DATASETS.TRAIN:
        labelled.update(MetadataCatalog.get(name).labelled_classes)
    taxonomy = read_taxonomy(cfg.DATASETS.TAXONOMY)
    names = taxonomy.names
    return {
        # all classes are allowed on a source of some: the average then says what classes of zero do to it
        name: [names[c] for c in protocol.class_ids if c not in labelled and len(protocol.class_ids) < len(names)]
        for name, protocol in taxonomy.protocols.items()
    }
