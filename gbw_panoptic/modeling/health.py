"""Whether a backbone tells the parts of a picture apart: the silent failure of weights that were loaded wrongly.

Shape legend: K channels, h x w cells.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Ours: every family of backbones here has 0.5 to 1.2, with random weights as with ImageNet's.
_LEAST = 0.05
_SIDE = 128


@torch.no_grad()
def describe_flat_features(backbone: nn.Module) -> str | None:
    """One sentence on the first map of ``backbone`` that hardly varies over a picture, or is not finite; None if all
    do.

    The picture is noise. No random number is drawn from the global generator, and no statistic of a norm moves.
    """
    training, device = backbone.training, next(backbone.parameters()).device
    backbone.eval()
    maps = getattr(backbone, "inspected", backbone)(noise().to(device))
    backbone.train(training)
    for name, x in maps.items():
        found = relative_deviation(x)
        if not found >= _LEAST:  # NaN, too
            return (
                f"expected features that vary over a picture by at least {_LEAST} of their size, found {found:.3f} in "
                f"{name} of {type(backbone).__name__}; look whether the file is of this backbone and its input "
                "normalisation, and was trained at all."
            )
    return None


def relative_deviation(x: Tensor) -> float:
    """Of a map [1, K, h, w]: the standard deviation over cells, mean of the channels, over the mean absolute value."""
    x = x.float()
    return float(x.flatten(2).std(-1).mean() / x.abs().mean())


def noise() -> Tensor:
    """[1, 3, side, side], of mean 0 and deviation 1."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 3, 8, 8, generator=generator)
    fine = torch.randn(1, 3, _SIDE, _SIDE, generator=generator)
    picture = F.interpolate(coarse, size=(_SIDE, _SIDE), mode="bilinear") + 0.3 * fine
    return (picture - picture.mean()) / picture.std()
