"""Sums of outer products by segment, in one batched matrix product.

Shape legend: N rows, A and K columns, S segments, T rows of a tile.
"""

import torch
from torch import Tensor


def segment_products(left: Tensor, right: Tensor, segments: Tensor, num_segments: int, tile: int = 512) -> Tensor:
    """For each segment s the sum over its rows i of left_i (x) right_i.

    Rows are moved into tiles that hold rows of one segment only; every tile is one small matrix product. Shapes depend
    on N, S and T alone, so nothing has to be known on the host. O(N * A * K), independent of S.

    Args:
        left: [N, A] float.
        right: [N, K] float.
        segments: [N] int64; rows outside 0..num_segments - 1 take no part.
        num_segments: S.
        tile: T, rows per product.

    Returns:
        [S, A, K] float.
    """
    num_rows = len(segments)
    num_tiles = -(-num_rows // tile) + num_segments + 1
    bins = torch.where((segments >= 0) & (segments < num_segments), segments, num_segments)
    order = torch.argsort(bins, stable=True)
    sizes = torch.zeros(num_segments + 1, dtype=torch.int64, device=bins.device).index_add_(
        0, bins, torch.ones_like(bins)
    )
    tiles_per_segment = (sizes + tile - 1) // tile
    first_tile = tiles_per_segment.cumsum(0) - tiles_per_segment
    first_row = sizes.cumsum(0) - sizes
    sorted_bins = bins[order]
    rank = torch.arange(num_rows, device=bins.device) - first_row[sorted_bins]
    slot = first_tile[sorted_bins] * tile + rank
    source = torch.full((num_tiles * tile,), num_rows, dtype=torch.int64, device=bins.device)
    source[slot] = order
    pad = source == num_rows
    source = source.clamp(max=num_rows - 1)
    tiled_left = left[source].masked_fill_(pad.unsqueeze(1), 0).view(num_tiles, tile, -1)
    tiled_right = right[source].view(num_tiles, tile, -1)
    products = torch.bmm(tiled_left.transpose(1, 2), tiled_right)
    tile_segment = torch.searchsorted(
        tiles_per_segment.cumsum(0), torch.arange(num_tiles, device=bins.device), right=True
    ).clamp(max=num_segments)
    out = products.new_zeros(num_segments + 1, left.shape[1], right.shape[1])
    return out.index_add_(0, tile_segment, products)[:num_segments]
