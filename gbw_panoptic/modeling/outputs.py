"""How dense predictions become panoptic maps.

Shape legend: C classes, H x W pixels, K instances.
"""

from dataclasses import dataclass

from torch import Tensor

from ..data.instance_scores import scores_of_map
from .post_processing import panoptic_segmentation


@dataclass(frozen=True)
class PostProcessing:
    """How dense predictions become instances (names and defaults are Detectron2's MODEL.PANOPTIC_DEEPLAB keys).

    ``score_instances`` says whether a model's output has ``instance_scores``, too.
    """

    thing_ids: tuple[int, ...]
    label_divisor: int
    stuff_area: int
    threshold: float
    nms_kernel: int
    top_k: int
    score_instances: bool = False
    instance_area: int = 0

    def __call__(self, labels: Tensor, center: Tensor, offset: Tensor) -> Tensor:
        """[H, W] int64 panoptic map (class * label_divisor + instance number, -1 = void) from the likeliest
        classes [H, W] int64 and [1 | 2, H, W] maps."""
        return panoptic_segmentation(
            labels,
            center,
            offset,
            thing_ids=self.thing_ids,
            label_divisor=self.label_divisor,
            stuff_area=self.stuff_area,
            void_label=-1,
            threshold=self.threshold,
            nms_kernel=self.nms_kernel,
            top_k=self.top_k,
            instance_area=self.instance_area,
        )

    def scores(self, panoptic: Tensor, sem_seg: Tensor, center: Tensor) -> tuple[Tensor, Tensor]:
        """Values [K] of the instances in the map that ``__call__`` made of these predictions, and confidence [K]."""
        return scores_of_map(panoptic, sem_seg, center, thing_ids=self.thing_ids, label_divisor=self.label_divisor)
