"""A copy of a network without what its libraries write for sizes that are Python numbers: the same function of the
image."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..modeling.backbones import vit


def prepare(model: nn.Module) -> nn.Module:
    """A copy on the CPU, in float32 and in evaluation, that can be traced at any size."""
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    for parent in list(model.modules()):
        if hasattr(getattr(parent, "config", None), "_attn_implementation"):
            parent.config._attn_implementation = "eager"  # fused attention is no operator of ONNX
        if hasattr(parent, "get_reference_points"):  # of transformers' pixel decoder
            parent.get_reference_points = _reference_points
        if hasattr(parent, "masked_blocks"):  # EoMT's; a trace cannot ask a tensor
            parent.masked_blocks = partial(list, parent.masked_blocks())
        if hasattr(parent, "get_attn_mask"):  # transformers' block of Swin
            parent.forward = partial(_swin_block, parent)
        if getattr(parent, "normalize_coords", "") == "separate":  # timm's rotary positions of DINOv3
            parent.get_embed = partial(_rotary_positions, parent)
        for name, child in parent.named_children():
            if type(child).__name__ == "Conv2dSame":  # timm's
                setattr(parent, name, _EvenSameConv2d(child))
    return model


@contextmanager
def traceable() -> Iterator[None]:
    """While a graph is traced: sizes that libraries put into a tensor (transformers' pixel decoder) do not become
    numbers, nor do those by which a table of positions is enlarged."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(vit, "resized_positions", partial(_positions, vit.resized_positions)))
        for name in ("tensor", "as_tensor"):
            stack.enter_context(mock.patch.object(torch, name, _of_sizes(getattr(torch, name))))
        yield


def _of_sizes(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``torch.tensor`` that takes rows of symbolic sizes [[height, width], ...], too."""

    def made(data: Any, *args: Any, **options: Any) -> Tensor:
        if isinstance(data, list) and any(
            isinstance(size, torch.SymInt) for row in data if isinstance(row, (list, tuple)) for size in row
        ):
            return torch.stack([torch.stack([torch.full((), size, dtype=torch.int64) for size in row]) for row in data])
        return original(data, *args, **options)

    return made


class _EvenSameConv2d(nn.Module):
    """TensorFlow's "same" padding of stride 2 for even sizes, which are all that an image of whole cells meets."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.stride, self.dilation, self.groups = convolution.stride, convolution.dilation, convolution.groups
        total = [max((k - 1) * d + 1 - s, 0) for k, d, s in zip(convolution.kernel_size, self.dilation, self.stride)]
        self.padding = (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, self.padding), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _positions(
    original: Callable[..., Tensor], table: Tensor, size: tuple[int, int], antialias: bool, offset: float | None
) -> Tensor:
    """``resized_positions`` as two matrix products; a factor of ``interpolate`` would become a number."""
    if antialias:
        return original(table, size, antialias, offset)
    side = round(table.shape[1] ** 0.5)
    cells = [torch.full((), n) for n in size]
    moved = torch.where((cells[0] == side) & (cells[1] == side), 0.0, offset or 0.0)
    rows, columns = (_bicubic(torch.arange(n), n, side, moved) for n in size)
    grid = table.view(side, side, -1)
    return torch.einsum("yi,xj,ijd->yxd", rows, columns, grid).reshape(1, size[0] * size[1], -1)


def _rotary_positions(rope: nn.Module, shape: tuple[int, int]) -> Tensor:
    """[h * w, 2 D] sines and cosines of timm's DINOv3; its ``float(height)`` would become a number."""
    y, x = ((torch.arange(n) + 0.5 + rope.grid_offset) / torch.full((), n) for n in shape)
    places = torch.stack((y[:, None].expand(shape), x.expand(shape)), dim=-1).flatten(0, 1)
    return torch.cat(rope._get_pos_embed_from_coords(2.0 * places - 1.0), dim=-1)


def _bicubic(places: Tensor, length: int, side: int, offset: Tensor) -> Tensor:
    """[length, side] weights of the cells of a side at each of ``places``, the side being enlarged by (length + offset)
    / side; torch's kernel of A = -0.75, which repeats the border."""
    at = (places + 0.5) * side / (torch.full((), length) + offset) - 0.5
    first = at.floor()
    weights = torch.zeros(1)
    for tap in range(-1, 3):
        x = (at - first - tap).abs()
        near = (1.25 * x - 2.25) * x * x + 1
        far = ((-0.75 * x + 3.75) * x - 6) * x + 3
        index = (first.long() + tap).clamp(0, side - 1)
        weights = weights + torch.where(x <= 1, near, far)[:, None] * (index[:, None] == torch.arange(side)).float()
    return weights


def _swin_block(
    block: nn.Module, x: Tensor, size: tuple[int, int], *_: Any, **__: Any
) -> tuple[Tensor, None]:  # fmt: skip
    """transformers' block of Swin for [1, h * w, K] cells of a map of ``size`` (h, w).

    Its padding is ``-h % window``, and what follows asks whether such terms of terms divide each other: a trace of four
    stages does not end. Here the padded map has as many whole windows as cover it, by construction.
    """
    (height, width), edge, channels = size, block.window_size, x.shape[-1]
    rows, columns = ((n + edge - 1) // edge for n in size)
    cells = block.layernorm_before(x).view(1, height, width, channels)
    cells = F.pad(cells, (0, 0, 0, columns * edge - width, 0, rows * edge - height))
    cells = block.cyclic_shift(cells).view(1, rows, edge, columns, edge, channels)
    windows = cells.transpose(2, 3).reshape(rows * columns, edge * edge, channels)
    mask = _swin_mask(rows, columns, edge, block.shift_size) if block.shift_size else None
    found = block.attention(windows, mask)[0].view(1, rows, columns, edge, edge, channels)
    found = block.cyclic_shift(found.transpose(2, 3).reshape(1, rows * edge, columns * edge, channels), reverse=True)
    found = found.index_select(1, torch.arange(height)).index_select(2, torch.arange(width))
    x = x + found.reshape(1, height * width, channels)
    return x + block.mlp(block.layernorm_after(x)), None


def _swin_mask(rows: int, columns: int, edge: int, shift: int) -> Tensor:
    """[windows, cells, cells]: -100 between cells of a window that were not neighbours before the cyclic shift."""
    region = [
        (place >= count * edge - edge).long() + (place >= count * edge - shift).long()
        for count in (rows, columns)
        for place in (torch.arange(count * edge),)
    ]
    of_cell = (3 * region[0][:, None] + region[1]).view(rows, edge, columns, edge)
    of_cell = of_cell.transpose(1, 2).reshape(rows * columns, edge * edge)
    return -100.0 * (of_cell[:, None] != of_cell[:, :, None]).float()


def _reference_points(shapes: Sequence[tuple[int, int]], valid_ratios: Tensor, device: torch.device) -> Tensor:
    """Centres of the cells of each map as shares of the image, [B, N, levels, 2] (x, y); ``linspace`` would freeze
    their number."""
    points = []
    for level, (height, width) in enumerate(shapes):
        y = (
            (torch.arange(height, device=device, dtype=valid_ratios.dtype) + 0.5)[:, None]
            .expand(height, width)
            .reshape(-1)
        )
        x = (torch.arange(width, device=device, dtype=valid_ratios.dtype) + 0.5)[None].expand(height, width).reshape(-1)
        whole = valid_ratios[:, None, level] * torch.stack((x.new_ones(()) * width, y.new_ones(()) * height))
        points.append(torch.stack((x, y), dim=-1)[None] / whole)
    return torch.cat(points, dim=1)[:, :, None] * valid_ratios[:, None]
