"""The fully convolutional domain discriminator of AdaptSegNet (arXiv 1802.10349) and ADVENT (arXiv 1811.12833).

Shape legend: B images, A channels of the map, H x W pixels.
"""

from torch import nn

_CHANNELS = (64, 128, 256, 512)  # both papers
_SLOPE = 0.2  # both papers
#: Pixels a side: five strides of 2 leave nothing of smaller maps.
MIN_SIZE = 32


def discriminator(in_channels: int) -> nn.Sequential:
    """Five 4x4 convolutions of stride 2, leaky ReLU between them, no normalisation, no final sigmoid.

    Maps [B, A, H, W] to [B, 1, H // 32, W // 32] raw outputs.
    """
    layers: list[nn.Module] = []
    for channels in _CHANNELS:
        layers += [nn.Conv2d(in_channels, channels, 4, stride=2, padding=1), nn.LeakyReLU(_SLOPE, inplace=True)]
        in_channels = channels
    return nn.Sequential(*layers, nn.Conv2d(in_channels, 1, 4, stride=2, padding=1))

