"""A second semantic head on an earlier feature map, for multi-level alignment (AdaptSegNet, arXiv 1802.10349). Training
only.

Shape legend: B images, C classes, K feature channels, H x W pixels of the input, h x w cells of the feature map.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class AuxiliaryHead(nn.Module):
    """Sum of dilated 3x3 convolutions straight to class logits, the classifier of AdaptSegNet.

    Its released code uses two of the paper's four dilations, 6 and 12; so do we.
    """

    def __init__(self, *, in_feature: str, in_channels: int, stride: int, num_classes: int, dilations: tuple[int, ...]):
        """
        Args:
            in_feature: name of the backbone's feature map.
            stride: of that map, pixels.
        """
        super().__init__()
        self.in_feature = in_feature
        self.stride = stride
        self.classifiers = nn.ModuleList(
            nn.Conv2d(in_channels, num_classes, 3, padding=dilation, dilation=dilation) for dilation in dilations
        )
        for classifier in self.classifiers:
            nn.init.normal_(classifier.weight, std=0.01)
            nn.init.zeros_(classifier.bias)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """[B, C, h * stride, w * stride] logits from the backbone's feature maps."""
        x = features[self.in_feature]
        logits = sum(classifier(x) for classifier in self.classifiers)
        return F.interpolate(logits, scale_factor=self.stride, mode="bilinear", align_corners=False)
