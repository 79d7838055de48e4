"""What strategies and evaluators see of a model."""

from typing import Any, Protocol, Sequence

from torch import Tensor, nn

from .predictions import DensePrediction, SegmentPrediction
from .samples import ModelOutput, Sample


class TrainedModel(Protocol):
    """The one call of a model that a strategy trains, whatever wraps it."""

    def __call__(
        self, batched_inputs: Sequence[Sample], branch: str = "source", *, dense: bool = False, instances: bool = True
    ) -> dict[str, Tensor] | tuple[dict[str, Tensor], DensePrediction] | list[ModelOutput]:
        """
        Args:
            batched_inputs: crops of one size in training; images of any size in evaluation.
            branch: whose weighting state is used in training, one of ``weighting.BRANCHES``.
            dense: in training return the predictions, too, with their graph: for losses that need no labels.
            instances: run the instance heads, if there are any; without it there are no instance losses.

        Returns:
            Training: name -> scalar loss, empty for samples without labels; with ``dense`` a pair of these and the
            predictions. Evaluation: an output for each image.
        """


class MetaArchitecture(TrainedModel, Protocol):
    """The public calls of a meta-architecture; nothing else of it is used outside of ``modeling``.

    Attributes:
        backbone: maps normalised images to feature maps.
        post_processing: turns predictions of :meth:`predict` into instances or segments.
        training: decides what a call gives.
    """

    backbone: nn.Module
    post_processing: Any
    training: bool

    def decision_bias(self, tau: float) -> Tensor:
        """[C, 1, 1] what the prior of its class weights, times tau, adds to semantic logits; of models that predict
        them."""

    def predict(
        self, batched_inputs: Sequence[Sample], *, instances: bool = True
    ) -> DensePrediction | SegmentPrediction:
        """Predictions for images of one size, at that size, without a graph."""

    def output(self, prediction: DensePrediction | SegmentPrediction, record: Sample) -> ModelOutput:
        """What a call gives in evaluation, for the one image of a prediction, at the record's size."""
