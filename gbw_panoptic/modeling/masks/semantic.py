"""Semantic output of a mask model: class probabilities of the queries, spread by their masks.

Shape legend: B images, C classes, Q queries, h x w cells of the masks, H x W pixels of the image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

#: Queries whose masks exist at full resolution at a time.
QUERIES_AT_A_TIME = 8


def upsampled_masks(mask_logits: Tensor, *, stride: int, image_size: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Mask logits at full resolution: bilinear to the padded input, cropped to the image, bilinear to ``size``.

    Args:
        mask_logits: [Q, h, w].
        stride: pixels per cell.
        image_size: (H, W) without padding, at most (stride * h, stride * w).
        size: of the result.

    Returns:
        [Q, *size] float32.
    """
    height, width = image_size
    masks = F.interpolate(mask_logits.float()[None], scale_factor=stride, mode="bilinear", align_corners=False)
    masks = masks[..., :height, :width]
    if (height, width) != tuple(size):
        masks = F.interpolate(masks, size=size, mode="bilinear", align_corners=False)
    return masks[0]


def semantic_probabilities(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """sum_q softmax(class)_q * sigmoid(mask)_q (Mask2Former, section 3), normalised over the classes (ours).

    Args:
        class_logits: [B, Q, C + 1]; mask_logits: [B, Q, ...].

    Returns:
        [B, C, ...] float32 > 0, sums of 1.
    """
    with torch.autocast(mask_logits.device.type, enabled=False):  # logarithms of half precision are too coarse
        probabilities = class_logits.float().softmax(dim=-1)[..., :-1]
        return normalized(torch.einsum("bqc,bq...->bc...", probabilities, mask_logits.float().sigmoid()))


def normalized(scores: Tensor) -> Tensor:
    """[B, C, ...] >= 0 to sums of 1; a floor keeps logarithms finite where no query claims a pixel."""
    scores = scores + torch.finfo(torch.float32).eps
    return scores / scores.sum(dim=1, keepdim=True)


@torch.no_grad()
def semantic_logits(
    class_logits: Tensor,
    mask_logits: Tensor,
    *,
    stride: int,
    image_size: tuple[int, int],
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Logarithm of :func:`semantic_probabilities` at full resolution, a few queries of an image at a time.

    Args:
        class_logits: [B, Q, C + 1]; mask_logits: [B, Q, h, w].
        stride, image_size, size: see :func:`upsampled_masks`; ``size`` defaults to ``image_size``.

    Returns:
        [B, C, *size] float32.
    """
    size = size or image_size
    probabilities = class_logits.float().softmax(dim=-1)[..., :-1]
    scores = torch.zeros((*probabilities.shape[::2], *size), device=mask_logits.device)
    for image, (p, masks) in enumerate(zip(probabilities, mask_logits)):
        for some, some_masks in zip(p.split(QUERIES_AT_A_TIME), masks.split(QUERIES_AT_A_TIME)):
            claims = upsampled_masks(some_masks, stride=stride, image_size=image_size, size=size).sigmoid()
            with torch.autocast(claims.device.type, enabled=False):
                scores[image] += torch.einsum("qc,qyx->cyx", some, claims)
    return normalized(scores).log()
