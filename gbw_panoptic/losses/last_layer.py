"""Class gradients at the weight of a 1x1 convolution whose output is upsampled bilinearly, without upsampling its
input.

With A the upsampling, the gradient of class c is sum_i r_i (x) (A h)_i = sum_j (A^T [y = c] r)_j (x) h_j: the residuals
are brought down to the cells of the features instead of the features up to the pixels. That costs C * A numbers a cell
where the other way costs K a pixel, and has neither sorting nor scattering.

Shape legend: C classes, A entries of a residual (C for logits), K feature channels, H x W pixels of the loss, s =
stride, h x w cells (h * s >= H, w * s >= W). All pixels of one *block* of s x s pixels, shifted by half a cell, lie
between the same four cells ("corners").
"""

import torch
import torch.nn.functional as F
from torch import Tensor

#: Rows of blocks in one product, and numbers in its four corners: rows * (w + 1) * 4 * C for each entry of a residual.
_BLOCK_ROWS, _NUMBERS = 32, 1 << 25


def last_layer_products(residual: Tensor, groups: Tensor, features: Tensor, *, stride: int, num_classes: int) -> Tensor:
    """sum over the pixels i of each class of residual_i (x) h_i, with h upsampled by ``stride`` (bilinear, half-pixel
    centres).

    Args:
        residual: [A, H, W] float32, of one image.
        groups: [H, W] int64; pixels outside 0..C - 1 take no part.
        features: [K, h, w] float; its upper left H x W pixels after upsampling belong to ``groups``.
        stride: s, an integer.

    Returns:
        [C, A, K]: class of the pixel, entry of the residual, feature channel.

    Raises:
        ValueError: the upsampled features are smaller than the groups.
    """
    height, width = features.shape[-2:]
    if height * stride < groups.shape[0] or width * stride < groups.shape[1]:
        raise ValueError(
            f"Expected features of stride {stride} to cover {tuple(groups.shape)} pixels, but got {height} x {width} "
            "cells."
        )
    membership = (groups.unsqueeze(-1) == torch.arange(num_classes, device=groups.device)).to(residual.dtype)
    membership = _blocks(membership, height, width, stride)  # [h + 1, w + 1, s * s, C]
    residual = _blocks(residual.permute(1, 2, 0), height, width, stride)
    cells = F.pad(features.to(residual.dtype).unsqueeze(0), (1, 1, 1, 1), mode="replicate")[0]  # blocks at the border
    corners = _corner_weights(stride, residual)
    total = residual.new_zeros(num_classes, residual.shape[-1], len(features))
    entries = max(1, _NUMBERS // (_BLOCK_ROWS * (width + 1) * 4 * num_classes))
    for row in range(0, height + 1, _BLOCK_ROWS):
        part = slice(row, row + _BLOCK_ROWS)
        for some, sums in zip(residual[part].split(entries, dim=-1), total.split(entries, dim=1)):
            low = _adjoint(membership[part], some, corners)
            sums += (low.flatten(0, 1).T @ cells[:, row : row + len(low)].flatten(1).T).view(sums.shape)
    return total


def _adjoint(membership: Tensor, residual: Tensor, corners: Tensor) -> Tensor:
    """A^T [y = c] r of some rows of blocks: [rows + 1, w + 2, C * A] on the padded cells."""
    rows, columns, pixels, entries = residual.shape
    weighted = residual.unsqueeze(-2) * corners.view(pixels, 4, 1)  # [rows, w + 1, s * s, 4, A]
    products = torch.bmm(
        membership.reshape(rows * columns, pixels, -1).transpose(1, 2),
        weighted.reshape(rows * columns, pixels, 4 * entries),
    ).view(rows, columns, -1, 4, entries)
    low = products.new_zeros(rows + 1, columns + 1, products.shape[2], entries)
    low[:-1, :-1] += products[..., 0, :]
    low[:-1, 1:] += products[..., 1, :]
    low[1:, :-1] += products[..., 2, :]
    low[1:, 1:] += products[..., 3, :]
    return low.flatten(2)


def _blocks(pixels: Tensor, height: int, width: int, stride: int) -> Tensor:
    """[H, W, X] -> [h + 1, w + 1, s * s, X]: blocks of pixels between the same four cells, zeros outside the image."""
    before = stride - stride // 2  # the first block lies between the border and the first cells
    bottom = (height + 1) * stride - before - pixels.shape[0]
    right = (width + 1) * stride - before - pixels.shape[1]
    padded = F.pad(pixels, (0, 0, before, right, before, bottom))
    split = padded.view(height + 1, stride, width + 1, stride, -1).transpose(1, 2)
    return split.reshape(height + 1, width + 1, stride * stride, -1)


def _corner_weights(stride: int, like: Tensor) -> Tensor:
    """[s * s, 4] bilinear weights of a block's pixels for its upper left, upper right, lower left and lower right
    cell."""
    position = torch.arange(stride, dtype=like.dtype, device=like.device) + stride // 2
    second = (position + 0.5) / stride - 0.5  # share of the second cell, in [0, 1)
    ramp = torch.stack((1 - second, second), dim=1)
    return torch.einsum("ya,xb->yxab", ramp, ramp).reshape(stride * stride, 4)
