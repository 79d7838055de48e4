"""A trained model as one module from an image to its maps, which torch.export takes at any height and width.

Shapes: H x W pixels.
"""

import statistics
from abc import abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ..errors import UserError
from ..inference.model import PanopticModel
from ..modeling.eomt import DomainAdaptiveEoMT
from ..modeling.mask2former import DomainAdaptiveMask2Former
from ..modeling.masks.head import STRIDES
from ..modeling.masks.merging import SegmentPostProcessing
from ..modeling.panoptic_deeplab import DomainAdaptivePanopticDeepLab
from ..modeling.post_processing import PostProcessing
from .merging import cropped, panoptic_of_centers, panoptic_of_masks, semantic_of_masks
from .preparing import prepare, traceable

#: Sizes (H, W) at which what was written is compared with the graph: whole cells, and others; landscape and portrait.
_SIZES = ((96, 130), (131, 75), (128, 160))
#: Pixels that may differ there, on noise: rounding decides where two classes are as likely.
_TOLERANCE = 0.01


class PanopticGraph(nn.Module):
    """Normalisation, network and merging of one image, at the size that it is given in."""

    def __init__(self, model: nn.Module, *, image_format: str, num_classes: int, confidence: bool = False) -> None:
        """
        Args:
            model: one of the meta-architectures, in evaluation.
            image_format: RGB or BGR, the order that the network takes.
            confidence: whether there is a map of how sure the network is.
        """
        super().__init__()
        self.model = model
        self.reversed = image_format == "BGR"
        self.num_classes = num_classes
        self.confidence = confidence

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """
        Args:
            image: uint8 [H, W, 3] RGB.

        Returns:
            ``semantic`` int32 [H, W], contiguous classes, for the panoptic task ``panoptic`` int32 [H, W], and where it
            is asked for ``confidence`` int32 [H, W], the probability of the class in per cent.
        """
        height, width = image.shape[:2]
        labels, panoptic, probability = self.maps(self._padded(image), (height, width))
        percent = (100 * probability).round() if self.confidence else None
        return tuple(x.int() for x in (labels, panoptic, percent) if x is not None)

    @property
    def output_names(self) -> list[str]:
        """Of the maps, in their order."""
        return ["semantic", *["panoptic"] * self.is_panoptic, *["confidence"] * self.confidence]

    @property
    @abstractmethod
    def is_panoptic(self) -> bool:
        """Whether there is a panoptic map."""

    @abstractmethod
    def maps(self, image: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor | None, Tensor]:
        """Classes, panoptic map and the classes' probability [H, W] of a normalised and padded image [1, 3, H', W']."""

    def _padded(self, image: Tensor) -> Tensor:
        pixels = image.permute(2, 0, 1).float()
        if self.reversed:
            pixels = pixels[[2, 1, 0]]
        pixels = (pixels - self.model.pixel_mean) / self.model.pixel_std
        cell = self.model.size_divisibility
        below, right = ((n + cell - 1) // cell * cell - n for n in image.shape[:2])
        return F.pad(pixels[None], (0, right, 0, below))


class CenterGraph(PanopticGraph):
    """Of Panoptic-DeepLab."""

    @property
    def is_panoptic(self) -> bool:
        return self.model.ins_embed_head is not None

    def maps(self, image: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor | None, Tensor]:
        features = self.model.backbone(image)
        logits = self.model.sem_seg_head(features)[0][0]
        if self.model.tau:
            logits = logits + self.model.decision_bias(self.model.tau)
        labels, probability = (cropped(x, size) for x in (logits.argmax(dim=0), logits.softmax(dim=0).amax(dim=0)))
        if not self.is_panoptic:
            return labels, None, probability
        center, offset = (cropped(x[0], size) for x in self.model.ins_embed_head(features))
        process = self.model.post_processing
        return labels, panoptic_of_centers(labels, center[0], offset, process, self.num_classes), probability


class MaskGraph(PanopticGraph):
    """Of Mask2Former and EoMT."""

    @property
    def is_panoptic(self) -> bool:
        return self.model.panoptic

    def maps(self, image: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor | None, Tensor]:
        output = self.model.segments(image)
        classes, masks = output.class_logits[-1][0], output.mask_logits[-1][0]
        labels, probability = semantic_of_masks(classes, masks, size, STRIDES[0])
        if not self.is_panoptic:
            return labels, None, probability
        return labels, panoptic_of_masks(classes, masks, size, STRIDES[0], self.model.post_processing), probability


def graph_of(model: PanopticModel, *, confidence: bool = False) -> PanopticGraph:
    """The graph of a copy of the network, which is left as it is."""
    _require_numbers(model.predictor.model.post_processing, model.taxonomy.label_divisor)
    network = model.predictor.model
    graphs = {
        DomainAdaptivePanopticDeepLab: CenterGraph, DomainAdaptiveMask2Former: MaskGraph, DomainAdaptiveEoMT: MaskGraph,
    }  # fmt: skip
    options = {"image_format": model.predictor.image_format, "num_classes": model.taxonomy.num_classes}
    return graphs[type(network)](prepare(network), **options, confidence=confidence).eval()


def traced(graph: PanopticGraph) -> ExportedProgram:
    """The graph as torch.export's program, for images of any height and width."""
    # no whole cells: what holds for these alone would be taken for a rule
    example = torch.zeros(70, 101, 3, dtype=torch.uint8)
    with traceable(), torch.no_grad():
        return torch.export.export(graph, (example,), dynamic_shapes=({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},))


def require_same(graph: PanopticGraph, run: Callable[[np.ndarray], Sequence[np.ndarray]]) -> None:
    """Compare what was written with the graph at sizes of whole cells and of others.

    Args:
        run: maps of an image by the written file.

    Raises:
        UserError: they are others at most of the sizes; on noise, rounding may decide about a whole segment at one of
            them.
    """
    shares = []
    for seed, size in enumerate(_SIZES):
        image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
        with torch.inference_mode():
            expected = graph(torch.from_numpy(image))
        shares.append(
            max(float((one.numpy() != np.asarray(two)).mean()) for one, two in zip(expected, run(image), strict=True))
        )
    if statistics.median(shares) > _TOLERANCE:
        found = ", ".join(f"{100 * share:.2f} % at {size[1]}x{size[0]}" for share, size in zip(shares, _SIZES))
        raise UserError(
            f"expected the maps of PyTorch from the written graph, found other pixels ({found}); nothing was written: "
            "report this with the configuration"
        )


def _require_numbers(process: PostProcessing | SegmentPostProcessing, divisor: int) -> None:
    """
    Raises:
        UserError: there may be more objects than a class has numbers; which of them have one, the graph does not
            decide.
    """
    if getattr(process, "top_k", 0) > divisor:
        raise UserError(
            f"MODEL.PANOPTIC_DEEPLAB.TOP_K_INSTANCE: expected at most {divisor} for an export, found {process.top_k}; "
            "lower it"
        )
