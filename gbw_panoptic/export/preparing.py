"""A copy of a network without what its libraries write for sizes that are Python numbers: the same function of the
image."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def prepare(model: nn.Module) -> nn.Module:
    """A copy on the CPU, in float32 and in evaluation, that can be traced at any size."""
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    for parent in list(model.modules()):
        if hasattr(getattr(parent, "config", None), "_attn_implementation"):
            parent.config._attn_implementation = "eager"  # fused attention is no operator of ONNX
        if hasattr(parent, "get_reference_points"):  # of transformers' pixel decoder
            parent.get_reference_points = _reference_points
        for name, child in parent.named_children():
            if type(child).__name__ == "Conv2dSame":  # timm's
                setattr(parent, name, _EvenSameConv2d(child))
    return model


@contextmanager
def traceable() -> Iterator[None]:
    """While a graph is traced: sizes that libraries put into a tensor (transformers' pixel decoder) do not become
    numbers."""
    with ExitStack() as stack:
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
