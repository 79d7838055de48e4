"""From an image to label maps of its own size.

Shapes: H x W pixels of the image.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass

import cv2
import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from torch import nn

from .. import modeling  # noqa: F401  (registers the meta-architectures)
from ..data.views import resize_ids, resize_image, shortest_edge_size
from ..engine.settings import build_settings
from ..errors import UserError
from ..evaluation.maps import predicted_labels, predicted_panoptic_map, predicted_scores
from ..modeling.panoptic_deeplab import log_of_weights
from ..structures.predictions import Prediction
from ..taxonomy import Taxonomy
from ..weighting import WEIGHTED_KEYS
from .weights import ModelFile, load_for_prediction

#: Logits exist for so many pixels at most (4096 x 2048: 0.6 GiB for 19 classes); maps of larger images are enlarged.
MAX_PIXELS = 1 << 23


@dataclass(eq=False)
class Predictor:
    """Maps images of any size to predictions; any meta-architecture with Detectron2's panoptic outputs will do.

    Attributes:
        image_format: channel order that the model takes.
        short_edge, max_size: lengths of the edges that the model sees, as in evaluation; 0: those of the image.
        max_pixels: of the logits.
        confidence: whether predictions say how sure they are of every pixel.
    """

    model: nn.Module
    _: KW_ONLY
    taxonomy: Taxonomy
    image_format: str
    short_edge: int
    max_size: int
    max_pixels: int = MAX_PIXELS
    confidence: bool = False

    def __post_init__(self) -> None:
        self.model.eval()

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> Prediction:
        """
        Args:
            image: uint8 [H, W, 3] RGB.

        Raises:
            UserError: the image does not fit into memory.
        """
        size = image.shape[:2]
        seen = tuple(max(1, edge) for edge in shortest_edge_size(size, self.short_edge, self.max_size))
        pixels = resize_image(image, seen).transpose(2, 0, 1)
        if self.image_format == "BGR":
            pixels = pixels[::-1]
        height, width = self._output_size(size)
        record = {"image": torch.from_numpy(pixels.copy()), "height": height, "width": width}
        try:
            output = self.model([record])[0]
        except (MemoryError, RuntimeError) as error:
            lacks_memory = isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError))
            if not lacks_memory and "can't allocate memory" not in str(error):  # the CPU allocator's words
                raise
            raise UserError(
                f"expected memory enough for the network at {seen[1]}x{seen[0]} pixels, found too little; give a "
                "smaller --resize (in Python: resize)."
            ) from None
        labels = resize_ids(predicted_labels(output), size)
        if "panoptic_seg" not in output:
            return Prediction(labels, None, confidence=self._confidence(output, size))
        panoptic = resize_ids(predicted_panoptic_map(output, self.taxonomy), size)
        scores = {segment - 1: score for segment, score in (predicted_scores(output) or {}).items()}
        return Prediction(labels, panoptic, scores, self._confidence(output, size))

    def _confidence(self, output: Mapping, size: tuple[int, int]) -> np.ndarray | None:
        """float32 of the given size (height, width): the largest probability of every pixel."""
        if not self.confidence:
            return None
        logits = output["sem_seg"].float()
        largest = (logits.amax(dim=0) - logits.logsumexp(dim=0)).exp().cpu().numpy()
        return cv2.resize(largest, size[::-1], interpolation=cv2.INTER_LINEAR)

    def _output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The image's own, or its shape with at most ``max_pixels``."""
        scale = min(1.0, (self.max_pixels / (size[0] * size[1])) ** 0.5)
        return max(1, int(scale * size[0])), max(1, int(scale * size[1]))


def build_predictor(
    cfg, weights: ModelFile | str, model_name: str | None = None, *, scores: bool = False, confidence: bool = False
) -> tuple[Predictor, str]:
    """The configured model with a checkpoint's weights, and whose they are.

    Args:
        model_name: ``student`` or ``teacher``; None: TEST.MODEL if the checkpoint holds it, else the student.
        scores, confidence: what predictions say beside their maps: see :class:`Prediction`.
    """
    cfg = cfg.clone()
    cfg.defrost()
    # class weights and shaped losses may need the source's statistics, and predictions need neither
    for key in WEIGHTED_KEYS:
        cfg.WEIGHTING[key] = "none"
    cfg.WEIGHTING.PRIOR = "weights"
    cfg.MODEL.SEM_SEG_HEAD.LOSS_TYPE = "cross_entropy"
    auxiliary = cfg.MODEL.AUXILIARY_HEAD  # of training; but a map that it alone reads must have a reader
    auxiliary.ENABLED = auxiliary.ENABLED and auxiliary.IN_FEATURE not in cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES
    cfg.TEST.INSTANCE_AP = scores and cfg.MODEL.TASK == "panoptic"
    model = build_model(cfg)
    file = ModelFile(weights) if isinstance(weights, str) else weights
    name = load_for_prediction(model, file, model_name, default=cfg.TEST.MODEL, settings=build_settings(cfg).values)
    _recall_class_weights(model, file, name)
    predictor = Predictor(
        model,
        taxonomy=MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy,
        image_format=cfg.INPUT.FORMAT,
        short_edge=cfg.INPUT.MIN_SIZE_TEST,
        max_size=cfg.INPUT.MAX_SIZE_TEST,
        confidence=confidence,
    )
    return predictor, name


def _recall_class_weights(model: nn.Module, file: ModelFile, name: str) -> None:
    """Give a model that decides by TEST.TAU the class weights of its training, which it was built without.

    Raises:
        UserError: there were none, and TEST.TAU takes them back.
    """
    tau = getattr(model, "tau", None)
    if tau is None:
        return
    weights = file.class_weights(name)
    if weights is None and tau:
        raise UserError(
            f"TEST.TAU: expected 0 with {file.path}, which holds no class weights of the source, found {tau}; set it "
            "to 0"
        )
    if weights is not None and len(weights) != model.num_classes:
        raise UserError(
            f"expected {model.num_classes} class weights in {file.path}, found {len(weights)}; export the model again"
        )
    model.log_prior = None if weights is None else log_of_weights(weights).to(model.device)
