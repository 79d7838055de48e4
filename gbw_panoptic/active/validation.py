"""Contradictions in the settings of active learning; a part of :mod:`gbw_panoptic.validation`."""

from typing import Iterator

from detectron2.data import MetadataCatalog


def active_problems(cfg) -> Iterator[str]:
    """One sentence for each setting of ACTIVE that contradicts itself or the data sets; none for other trainers."""
    if cfg.TRAINER.NAME != "ActiveTrainer":
        return
    yield from acquisition_problems(cfg)
    iterations = tuple(cfg.ACTIVE.ITERATIONS)
    if iterations and iterations[-1] >= cfg.SOLVER.MAX_ITER:
        yield (
            f"ACTIVE.ITERATIONS: expected acquisition before SOLVER.MAX_ITER {cfg.SOLVER.MAX_ITER}, so that its labels are "
            f"learnt from, found {iterations[-1]}; acquire earlier or train longer."
        )
    if (iterations[:1] == (0,) or cfg.ACTIVE.SOURCE_FREE) and not cfg.MODEL.WEIGHTS:
        key = "SOURCE_FREE True" if cfg.ACTIVE.SOURCE_FREE else f"ITERATIONS {iterations}"
        yield (
            f"MODEL.WEIGHTS: expected a model of the source with ACTIVE.{key}, found none; train one first, e.g. with "
            "configs/streets/source_only.yaml, and name its checkpoint."
        )
    if cfg.ACTIVE.SOURCE_FREE and cfg.INPUT.FOURIER.ENABLED:
        yield "INPUT.FOURIER.ENABLED: expected False with ACTIVE.SOURCE_FREE, which reads no source, found True; set it to False."
    if cfg.ACTIVE.SOURCE_FREE and cfg.ACTIVE.SELF_TRAINING:
        yield (
            "ACTIVE.SELF_TRAINING: expected False with ACTIVE.SOURCE_FREE, since it mixes source with target images, found True; "
            "set one of them to False."
        )


def acquisition_problems(cfg) -> Iterator[str]:
    """What tools/acquire.py needs, too."""
    options = cfg.ACTIVE
    name = options.ANNOTATOR
    if options.PANOPTIC and cfg.MODEL.TASK != "panoptic":
        yield (
            f"ACTIVE.PANOPTIC: expected False with MODEL.TASK {cfg.MODEL.TASK}, which has no instance heads, found True; set it "
            "to False or MODEL.TASK to panoptic."
        )
    if options.PANOPTIC and name in MetadataCatalog.list() and not hasattr(MetadataCatalog.get(name), "panoptic_json"):
        yield (
            f"ACTIVE.PANOPTIC: expected an ACTIVE.ANNOTATOR with instance labels, found '{name}', which has semantic labels "
            "only; set it to False or name another."
        )
    if name not in MetadataCatalog.list() or not MetadataCatalog.get(name).get("labelled_classes"):
        yield (
            f"ACTIVE.ANNOTATOR: expected a labelled data set of the target's images, found '{name}'; name one, e.g. "
            "cityscapes_uda_panoptic_train."
        )
