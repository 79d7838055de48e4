"""A residual network of four narrow stages for small images: thin objects stay visible, a CPU trains it in minutes."""

from detectron2.layers import CNNBlockBase, Conv2d, get_norm
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.resnet import BasicBlock, ResNet
from fvcore.nn.weight_init import c2_msra_fill
from torch import Tensor
from torch.nn import functional as F

from ...errors import UserError


class CompactStem(CNNBlockBase):
    """One convolution of stride 2."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: str) -> None:
        super().__init__(in_channels, out_channels, 2)
        self.conv = Conv2d(
            in_channels, out_channels, kernel_size=3, stride=2, padding=1, bias=False, norm=get_norm(norm, out_channels)
        )
        c2_msra_fill(self.conv)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(self.conv(x))


@BACKBONE_REGISTRY.register()
def build_compact_backbone(cfg, input_shape) -> ResNet:
    """``res2`` to ``res5`` at strides 2 to 16, half of a ResNet's, with MODEL.COMPACT.WIDTHS channels (ours)."""
    options, norm = cfg.MODEL.COMPACT, cfg.MODEL.RESNETS.NORM
    if len(options.WIDTHS) != 4 or list(options.WIDTHS) != sorted(set(options.WIDTHS)):
        raise UserError(f"MODEL.COMPACT.WIDTHS: expected four rising numbers, found {options.WIDTHS}; mend them.")
    channels = options.WIDTHS[0]
    stem = CompactStem(input_shape.channels, channels, norm=norm)
    stages = []
    for width in options.WIDTHS:
        strides = [2 if stages else 1] + [1] * (options.BLOCKS - 1)
        block = {"stride_per_block": strides, "in_channels": channels, "out_channels": width, "norm": norm}
        stages.append(ResNet.make_stage(BasicBlock, options.BLOCKS, **block))
        channels = width
    return ResNet(stem, stages, out_features=cfg.MODEL.RESNETS.OUT_FEATURES)
