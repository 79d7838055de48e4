"""Evaluation of one or two models on every test set, and estimates where there are no labels."""

from collections import OrderedDict
from collections.abc import Collection, Iterator
from itertools import islice

from detectron2.evaluation import inference_on_dataset
from detectron2.utils import comm
from torch import nn

from .. import cli
from ..data.loader import build_test_loader
from ..evaluation.evaluators import build_evaluator
from .unsupervised import estimate


def evaluate(cfg, models: dict[str, nn.Module], *, iteration: int, max_images: int | None = None) -> OrderedDict:
    """Evaluate each model on each of DATASETS.TEST.

    Args:
        models: ``student`` and perhaps ``teacher``.
        iteration: of the weights, for the result files.
        max_images: stop after so many images per data set (dry runs).

    Returns:
        model -> task -> protocol -> metric; with several test sets one more level, the data set's name, on top. Beside
        them, ``unsupervised``: see :func:`~.unsupervised.estimate`.
    """
    results = OrderedDict()
    for dataset in cfg.DATASETS.TEST:
        results[dataset] = OrderedDict()
        for name, model in models.items():
            loader = build_test_loader(cfg, dataset)
            if max_images is not None:
                loader = list(islice(loader, max_images))
            evaluator = build_evaluator(cfg, dataset, model_name=name, iteration=iteration)
            with _Counted(loader, f"Evaluating the {name}") as counted:
                results[dataset][name] = inference_on_dataset(model, counted, evaluator) or {}
        comm.synchronize()
    estimates = estimate(cfg, models, iteration=iteration, max_images=max_images)
    return OrderedDict({**(next(iter(results.values())) if len(results) == 1 else results), **estimates})


class _Counted:
    """A loader whose batches are counted on the terminal of the main process."""

    def __init__(self, loader: Collection, title: str) -> None:
        self._loader = loader
        self._line = cli.progress(len(loader), title, unit="batch") if comm.is_main_process() else None

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator:
        for batch in self._loader:
            yield batch
            if self._line is not None:
                self._line.update()

    def __enter__(self) -> "_Counted":
        return self

    def __exit__(self, *error: object) -> None:
        if self._line is not None:
            self._line.close()
