"""ConvNeXt, PVTv2, ResNet and every other model of timm that gives feature maps at strides 4, 8, 16 and 32 (or from 2
on).

Shape legend: B images, H x W pixels, K_s channels of the map with stride s.
"""

import difflib
import re
from types import ModuleType
from typing import Mapping, Sequence

import torch
from detectron2.modeling import BACKBONE_REGISTRY
from torch import Tensor, nn

from ...errors import UserError
from ...optional import import_optional
from ..published.names import timm_state
from .pyramid import FINE_STRIDES, STRIDES, ChannelNorm, PyramidBackbone, check_names

_KEY = "MODEL.TIMM"


class TimmBackbone(PyramidBackbone):
    """A ``features_only`` model of timm with random weights."""

    feature_norms = ("norms.",)

    def __init__(self, *, name: str, drop_path_rate: float, feature_norm: bool, out_features: Sequence[str]) -> None:
        """
        Args:
            name: timm's, without a tag of weights, e.g. convnext_tiny.
            drop_path_rate: of the last block, rising linearly from 0 at the first; 0 also for models that have none.
            feature_norm: a layer normalisation for every wanted map.
            out_features: ``res1``, of stride 2, among them needs a model with a map of this stride.

        Raises:
            UserError: timm is not installed, or has no such model with such features.
        """
        timm = import_optional("timm", wanted_by="MODEL.BACKBONE.NAME build_timm_backbone")
        check_names(out_features, FINE_STRIDES, f"{_KEY}.OUT_FEATURES")
        strides = FINE_STRIDES if "res1" in out_features else STRIDES
        indices, channels = _pyramid(timm, name, tuple(strides.values()))
        super().__init__(channels=channels, out_features=out_features, key=f"{_KEY}.OUT_FEATURES", strides=strides)
        self.model = _create(timm, name, out_indices=indices[: self.depth], drop_path_rate=drop_path_rate)
        _cut_unread(self.model)
        self.norms = nn.ModuleDict(
            {key: ChannelNorm(self._out_feature_channels[key]) for key in self._out_features if feature_norm}
        )

    def from_public(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return timm_state(state, self.state_dict().keys())

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        maps = zip(self._out_feature_strides, self.model(images))
        return [self.norms[name](x) if name in self.norms else x for name, x in maps]


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg, input_shape) -> TimmBackbone:
    """MODEL.TIMM; Detectron2's ``input_shape`` is that of an RGB image."""
    options = cfg.MODEL.TIMM
    return TimmBackbone(
        name=options.NAME,
        drop_path_rate=options.DROP_PATH_RATE,
        feature_norm=options.FEATURE_NORM,
        out_features=tuple(options.OUT_FEATURES),
    )


def _pyramid(timm: ModuleType, name: str, strides: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Indices and channels of the model's maps at the strides, from a copy without memory."""
    if name.startswith("swin"):
        raise UserError(
            f"{_KEY}.NAME: expected a model for images of any size, found '{name}', whose windows are bound to one; "
            "set MODEL.BACKBONE.NAME build_swin_backbone."
        )
    if not timm.is_model(name):
        close = ", ".join(difflib.get_close_matches(name, timm.list_models(), n=3)) or "e.g. convnext_tiny, pvt_v2_b2"
        raise UserError(f"{_KEY}.NAME: expected a model of timm ({close}), found '{name}'; correct the name.")
    with torch.device("meta"):
        model = _create(timm, name, out_indices=None, drop_path_rate=0.0)
    info = model.feature_info
    reductions = info.reduction()
    if not set(strides) <= set(reductions):
        *finer, coarsest = map(str, strides)
        raise UserError(
            f"{_KEY}.NAME: expected a model with feature maps at strides {', '.join(finer)} and {coarsest}, found "
            f"'{name}' with {', '.join(map(str, reductions))}; take a pyramid, e.g. convnext_tiny, pvt_v2_b2 or (from "
            "stride 2 on) resnet18."
        )
    places = [reductions.index(stride) for stride in strides]
    indices, channels = [info.out_indices[place] for place in places], [info.channels()[place] for place in places]
    if not _takes_any_size(model, places, channels, strides):
        raise UserError(
            f"{_KEY}.NAME: expected a model that takes images of any size and gives channels first, found '{name}', "
            "which does not; take another pyramid, e.g. convnext_tiny or pvt_v2_b2."
        )
    return indices, channels


def _takes_any_size(model: nn.Module, places: list[int], channels: list[int], strides: tuple[int, ...]) -> bool:
    """Whether a model without memory (on the meta device) gives maps of the right shapes for an unusual size."""
    height, width = 3 * 32, 5 * 32
    try:
        with torch.no_grad():
            maps = model.eval()(torch.empty(1, 3, height, width, device="meta"))
    except (AssertionError, RuntimeError):  # what timm and torch raise for shapes
        return False
    expected = [(1, count, height // s, width // s) for count, s in zip(channels, strides)]
    return [tuple(maps[place].shape) for place in places] == expected


def _cut_unread(model: nn.Module) -> None:
    """Take off the blocks behind the last map that is wanted, whose parameters would get no gradient. timm does it
    itself but for EfficientNet and its relatives."""
    last = re.match(r"blocks\.(\d+)", model.feature_info.module_name()[-1])
    if last and isinstance(getattr(model, "blocks", None), nn.Sequential):
        model.blocks = model.blocks[: int(last[1]) + 1]


def _create(timm: ModuleType, name: str, *, out_indices: list[int] | None, drop_path_rate: float) -> nn.Module:
    options = {"out_indices": out_indices} if out_indices else {}
    if drop_path_rate:
        options["drop_path_rate"] = drop_path_rate
    try:
        return timm.create_model(name, pretrained=False, features_only=True, **options)
    except (TypeError, RuntimeError, AttributeError) as error:
        found = str(error).splitlines()[0]
        raise UserError(
            f"{_KEY}: expected a model that gives feature maps and takes DROP_PATH_RATE {drop_path_rate}, found "
            f"'{name}', which does not ({found}); take another one, or a rate of 0."
        ) from error
