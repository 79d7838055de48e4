"""Feature distance: on things of the source, the student's features stay near those of the backbone that it started
from (DAFormer, Hoyer et al., arXiv 2111.14887: thing-class ImageNet feature distance).

Shape legend: B images, H x W pixels, K channels, h x w cells of the last feature map, s its stride.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...distributed import mean_over_ranks
from ...structures.model import TrainedModel
from ...structures.samples import SourceSample
from .teacher import unwrapped


class FeatureDistance:
    """Holds the frozen backbone. Only the backbone is copied, and it belongs in the checkpoint: initial weights may
    come from a file that is gone when a run is resumed.

    Works with any model that has its backbone in ``backbone``, with Detectron2's ``output_shape``. The features of the
    student's own source pass are used, so that a pass of the frozen backbone without graph is all that it costs.

    Attributes:
        initial: the frozen backbone, in evaluation mode.
    """

    def __init__(
        self, backbone: nn.Module, *, weight: float, class_ids: tuple[int, ...], min_share: float, ignore_label: int
    ) -> None:
        """
        Args:
            backbone: whose last feature map (the one of the largest stride) is compared.
            weight: of the loss.
            class_ids: contiguous ids of the classes on which features are compared.
            min_share: in (0.5, 1], a cell takes part if one of these classes has this share of its pixels.
        """
        self.initial = copy.deepcopy(backbone).eval().requires_grad_(False)
        shapes = backbone.output_shape()
        self.feature = max(shapes, key=lambda name: (shapes[name].stride, list(shapes).index(name)))
        self.stride = shapes[self.feature].stride
        self.weight = weight
        self.class_ids = class_ids
        self.min_share = min_share
        self.ignore_label = ignore_label

    def start_from(self, model: TrainedModel) -> None:
        """Take the weights of a model that has not been trained yet."""
        self.initial.load_state_dict(unwrapped(model).backbone.state_dict())

    def source_losses(self, model: TrainedModel, samples: list[SourceSample]) -> dict[str, Tensor]:
        """The model's losses on labelled samples, and ``loss_feature_distance``, a part of the same graph."""
        passes: list[tuple[Tensor, Tensor]] = []

        def remember(module, inputs, outputs) -> None:
            passes.append((inputs[0], outputs[self.feature]))

        handle = unwrapped(model).backbone.register_forward_hook(remember)
        try:
            losses = model(samples, branch="source")
        finally:
            handle.remove()
        ((images, features),) = passes
        with torch.no_grad():
            initial = self.initial(images)[self.feature]
        labels = torch.stack([sample["sem_seg"].to(features.device, non_blocking=True) for sample in samples])
        mask = dominated_cells(
            labels,
            self.class_ids,
            stride=self.stride,
            size=features.shape[-2:],
            min_share=self.min_share,
            ignore_label=self.ignore_label,
        )
        return {**losses, "loss_feature_distance": self.weight * mean_distance(features, initial, mask)}


def mean_distance(features: Tensor, initial: Tensor, mask: Tensor) -> Tensor:
    """Mean over all ranks' cells of ``mask`` [B, h, w] bool of the distance of two feature maps [B, K, h, w].

    Returns:
        float32 scalar; exactly 0 with zero gradients where the mask is empty or the features are equal (the published
        code takes the mean of nothing).
    """
    distances = torch.linalg.vector_norm(features.float() - initial.float(), dim=1)
    return mean_over_ranks(torch.where(mask, distances, 0).sum(), mask.sum())


def dominated_cells(
    labels: Tensor,
    class_ids: tuple[int, ...],
    *,
    stride: int,
    size: tuple[int, int],
    min_share: float,
    ignore_label: int,
) -> Tensor:
    """Cells of which one of the classes has at least ``min_share`` of the pixels, void and padding counted in.

    One class at a time, so that no one-hot map exists.

    Args:
        labels: [B, H, W] int64.
        size: (h, w) of the feature map; cells that reach beyond the labels hold void there.
        min_share: above 0.5, so that such a class is the dominant one.

    Returns:
        [B, h, w] bool.
    """
    height, width = size[0] * stride, size[1] * stride
    padding = (0, width - labels.shape[-1], 0, height - labels.shape[-2])
    labels = F.pad(labels, padding, value=ignore_label)
    mask = torch.zeros((len(labels), *size), dtype=torch.bool, device=labels.device)
    for class_id in class_ids:
        pixels = F.avg_pool2d((labels == class_id).float(), stride, divisor_override=1)
        mask |= pixels >= min_share * stride**2
    return mask
