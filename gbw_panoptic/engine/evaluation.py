"""Evaluation of one or two models on every test set."""

import logging
from collections import OrderedDict
from itertools import islice

from torch import nn

from detectron2.evaluation import inference_on_dataset
from detectron2.utils import comm

from ..data.loader import build_test_loader
from ..evaluation.evaluators import build_evaluator


def evaluate(cfg, models: dict[str, nn.Module], *, iteration: int, max_images: int | None = None) -> OrderedDict:
    """Evaluate each model on each of DATASETS.TEST.

    Args:
        models: ``student`` and perhaps ``teacher``.
        iteration: of the weights, for the result files.
        max_images: stop after so many images per data set (dry runs).

    Returns:
        model -> task -> protocol -> metric; with several test sets one more level, the data set's name, on top.
    """
    results = OrderedDict()
    for dataset in cfg.DATASETS.TEST:
        results[dataset] = OrderedDict()
        for name, model in models.items():
            logging.getLogger("gbw_panoptic").info("Evaluating the %s on %s.", name, dataset)
            loader = build_test_loader(cfg, dataset)
            if max_images is not None:
                loader = list(islice(loader, max_images))
            evaluator = build_evaluator(cfg, dataset, model_name=name, iteration=iteration)
            results[dataset][name] = inference_on_dataset(model, loader, evaluator) or {}
        comm.synchronize()
    return next(iter(results.values())) if len(results) == 1 else results
