"""EoMT's head (Kerssies et al., arXiv 2503.19108): queries join the tokens of a ViT before its last blocks, and small
layers read classes and masks from both.

Shape legend: B images, C classes, Q queries, n blocks that see queries, h x w patches, N = prefix + h w tokens (those of
the class and of registers are the prefix), D channels of a token.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import UserError
from ..backbones.pyramid import ChannelNorm
from ..backbones.vit import ViT
from .head import STRIDES, MaskHeadOutput

#: Shares of a training: where the first and the last block begin to lose their masks, and how long each takes.
_FIRST, _LAST, _LENGTH = 1 / 6, 4 / 6, 1 / 6
_POWER = 0.9


class EncoderOnlyHead(nn.Module):
    """Runs a ViT with queries. A block's mask keeps a query from patches outside of its own mask; in the course of a
    training, block after block loses it.

    In training there are n + 1 prediction sets: before every block that sees queries, and the result.

    Attributes:
        probabilities: of each of the n blocks, that a query is kept from such patches, in training.
        masked: bool [n], the same in evaluation, where nothing is drawn (ours: a probability of at least a half). It is
            in checkpoints, since weights that were trained with masks need them.
    """

    def __init__(self, vit: ViT, *, num_classes: int, num_queries: int, num_blocks: int) -> None:
        """
        Args:
            vit: of which width, patch size and depth are taken; it is none of this module's parts.
            num_blocks: n.

        Raises:
            UserError: the ViT has fewer blocks.
        """
        super().__init__()
        width, depth = vit.model.embed_dim, len(vit.model.blocks)
        if num_blocks > depth:
            raise UserError(
                f"MODEL.EOMT.NUM_BLOCKS: expected at most {depth}, the depth of MODEL.VIT.VARIANT, found {num_blocks}; "
                "lower it, or take a deeper variant."
            )
        self.queries = nn.Embedding(num_queries, width)
        self.class_predictor = nn.Linear(width, num_classes + 1)
        hidden = [layer for _ in range(2) for layer in (nn.Linear(width, width), nn.GELU())]
        self.mask_embedding = nn.Sequential(*hidden, nn.Linear(width, width))
        doublings = int(math.log2(vit.patch_size // STRIDES[0]))
        self.upscaling = nn.Sequential(*(upscaling_block(width) for _ in range(doublings)))
        self.probabilities = (1.0,) * num_blocks
        self.register_buffer("masked", torch.ones(num_blocks, dtype=torch.bool))

    def anneal(self, progress: float) -> None:
        """Set what blocks mask at a share of the training, in 0..1."""
        self.probabilities = mask_probabilities(progress, len(self.probabilities))
        self.masked.copy_(torch.tensor([p >= 0.5 for p in self.probabilities]))

    def masked_blocks(self) -> list[bool]:
        """:attr:`masked` on the host."""
        return self.masked.tolist()

    def forward(self, vit: ViT, images: Tensor) -> MaskHeadOutput:
        """
        Args:
            images: normalised [B, 3, H, W] of whole patches; the masks have cells of 4 x 4 pixels.
        """
        x, size = vit.embed(images)
        rotary, prefix = vit.rotary(size), vit.model.num_prefix_tokens
        blocks, count = list(vit.model.blocks), len(self.probabilities)
        x = vit.through(blocks[:-count], x, **rotary)
        queries = self.queries.weight
        x = torch.cat((x, queries.expand(len(x), *queries.shape)), dim=1)
        if rotary:
            rotary = {"rope": unrotated(rotary["rope"], len(queries))}
        predictions = []
        for block, probability in zip(blocks[-count:], self.probabilities if self.training else self.masked_blocks()):
            mask = None
            if self.training or probability:
                predictions.append(self._predict(vit, x, size))
                mask = attention_mask(predictions[-1][1].detach(), size, prefix, float(probability))
            x = vit.through([block], x, attn_mask=mask, **rotary)
        classes, masks, hidden = zip(*predictions, self._predict(vit, x, size))
        return MaskHeadOutput(class_logits=classes, mask_logits=masks, hidden=hidden[-1])

    def _predict(self, vit: ViT, x: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Class logits [B, Q, C + 1], mask logits [B, Q, H / 4, W / 4] and the normed queries, of [B, N + Q, D]."""
        count = self.queries.num_embeddings
        x = vit.model.norm(x)
        queries, pixels = x[:, -count:], self.upscaling(vit.patch_map(x[:, :-count], size))
        masks = torch.einsum("bqd,bdhw->bqhw", self.mask_embedding(queries), pixels)
        return self.class_predictor(queries), masks, queries


def upscaling_block(width: int) -> nn.Sequential:
    """Twice as many cells of a side."""
    return nn.Sequential(
        nn.ConvTranspose2d(width, width, 2, stride=2),
        nn.GELU(),
        nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
        ChannelNorm(width, eps=1e-6),
    )


def mask_probabilities(progress: float, num_blocks: int) -> tuple[float, ...]:
    """Of each block: 1 at first, then falling as (1 - share) ** 0.9, then 0 (as published of three and four blocks).

    Args:
        progress: share of the training, in 0..1.
    """
    distance = (_LAST - _FIRST) / max(num_blocks - 1, 1)
    shares = [(progress - _FIRST - block * distance) / _LENGTH for block in range(num_blocks)]
    return tuple((1 - min(max(share, 0.0), 1.0)) ** _POWER for share in shares)


def attention_mask(masks: Tensor, size: tuple[int, int], prefix: int, probability: float) -> Tensor | None:
    """bool [B, 1, N + Q, N + Q]: what each token may look at; None if that is everything.

    A query sees the patches of its mask, the prefix and all queries; patches and prefix see everything. With a
    probability below 1, that is drawn for each query of each image.

    Args:
        masks: mask logits [B, Q, h', w'].
        size: (h, w).
    """
    if not probability:
        return None
    visible = F.interpolate(masks.float(), size=size, mode="bilinear", align_corners=False).flatten(2) > 0
    if probability < 1:
        visible = visible | (torch.rand(visible.shape[:2], device=visible.device) >= probability).unsqueeze(2)
    count, patches = visible.shape[1:]
    return F.pad(visible, (prefix, count, prefix + patches, 0), value=True).unsqueeze(1)


def unrotated(rope: Tensor, count: int) -> Tensor:
    """Rotary positions [h w, 2 D'] (sines, then cosines) and those of ``count`` tokens without a position."""
    sines, cosines = rope.new_zeros(count, rope.shape[1] // 2), rope.new_ones(count, rope.shape[1] // 2)
    return torch.cat((rope, torch.cat((sines, cosines), dim=1)))
