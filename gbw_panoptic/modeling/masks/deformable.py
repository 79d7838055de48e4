"""Deformable attention of the pixel decoder (Zhu et al., arXiv 2010.04159), without the copies of transformers' own.

Shape legend: B images, G heads, L levels, K points of a level, Q queries (the cells of all levels), N = B G,
D channels, d = D / G.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DeformableAttention(nn.Module):
    """Has the layers and the outputs of transformers' module, which it takes over.

    Samples lie as [K, Q] where transformers lays them as [Q, K]: a processor then adds K rows of Q numbers, not Q times
    K numbers. Places are computed as there, to the last bit: their gradients jump where a place crosses a cell.
    """

    def __init__(self, theirs: nn.Module) -> None:
        super().__init__()
        self.n_heads, self.n_levels, self.n_points = theirs.n_heads, theirs.n_levels, theirs.n_points
        self.sampling_offsets = theirs.sampling_offsets
        self.attention_weights = theirs.attention_weights
        self.value_proj = theirs.value_proj
        self.output_proj = theirs.output_proj

    def forward(
        self,
        hidden_states: Tensor,
        *,
        encoder_hidden_states: Tensor,
        position_embeddings: Tensor,
        reference_points: Tensor,
        spatial_shapes_list: list[tuple[int, int]],
        **_,
    ) -> tuple[Tensor, None]:
        """
        Args:
            hidden_states, position_embeddings: [B, Q, D], whose sum asks.
            encoder_hidden_states: [B, Q, D], what is sampled.
            reference_points: [B, Q, L, 2], (x, y) in 0..1.
            spatial_shapes_list: height and width of each level.
            _: the masks of padded cells among them, of which the pixel decoder has none.

        Returns:
            [B, Q, D], and nothing in place of the weights.
        """
        asking = hidden_states + position_embeddings
        sizes = [height * width for height, width in spatial_shapes_list]
        values = self.value_proj(encoder_hidden_states).transpose(1, 2).split(sizes, dim=2)
        grids = self._grids(asking, reference_points, spatial_shapes_list)
        weights = self._weights(asking)
        output = 0
        for value, shape, grid, weight in zip(values, spatial_shapes_list, grids, weights):
            value = value.reshape(grid.shape[0], -1, *shape)
            samples = F.grid_sample(value, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
            output = output + weighted_sum(samples, weight)
        return self.output_proj(output.reshape(*asking.shape[::2], -1).transpose(1, 2)), None

    def _grids(self, asking: Tensor, references: Tensor, shapes: list[tuple[int, int]]) -> list[Tensor]:
        """For each level [N, K, Q, 2]: places in -1..1."""
        offsets = self.sampling_offsets(asking).transpose(1, 2).contiguous()
        offsets = offsets.unflatten(1, (self.n_heads, self.n_levels, self.n_points, 2)).unbind(2)
        grids = []
        for level, (height, width) in enumerate(shapes):
            starts = references[:, None, None, :, level].unbind(-1)
            steps = zip(starts, offsets[level].unbind(3), (width, height))
            places = torch.stack([start + offset / size for start, offset, size in steps], dim=-1)
            grids.append((2 * places - 1).flatten(0, 1))
        return grids

    def _weights(self, asking: Tensor) -> tuple[Tensor, ...]:
        """For each level [N, K, Q]: they sum to 1 over all levels' points."""
        logits = self.attention_weights(asking).transpose(1, 2).unflatten(1, (self.n_heads, -1)).flatten(0, 1)
        return logits.softmax(1).split(self.n_points, dim=1)


def weighted_sum(samples: Tensor, weights: Tensor) -> Tensor:
    """Sum over K of samples [N, d, K, Q] times weights [N, K, Q]: [N, d, Q]."""
    # a graph for other runtimes has no gradients, and no such function
    return _WeightedSum.apply(samples, weights) if torch.is_grad_enabled() else _sum_of_points(samples, weights)


def _sum_of_points(samples: Tensor, weights: Tensor) -> Tensor:
    result = samples[:, :, 0] * weights[:, None, 0]
    for point in range(1, weights.shape[1]):
        result.addcmul_(samples[:, :, point], weights[:, None, point])
    return result


class _WeightedSum(torch.autograd.Function):
    """Autograd's own would make and read a product as large as the samples, forwards and backwards."""

    @staticmethod
    def forward(ctx, samples: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(samples, weights)
        return _sum_of_points(samples, weights)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        samples, weights = ctx.saved_tensors
        of_weights = [(gradient * samples[:, :, point]).sum(1) for point in range(weights.shape[1])]
        return gradient[:, :, None] * weights[:, None], torch.stack(of_weights, dim=1)
