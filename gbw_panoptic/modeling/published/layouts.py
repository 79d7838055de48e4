"""Published weights of backbones, and of a whole Mask2Former, fitted to a model whole or not at all (but for the class
prediction)."""

import logging
import re
from typing import Collection, Mapping

from torch import Tensor, nn

from ...errors import UserError
from ..backbones import PyramidBackbone
from .names import detectron2_resnet_state, split_head

_PREFIX = "backbone."
#: Wrappers around a backbone in files of other projects; the first that occurs is taken off.
_WRAPPERS = ("module.backbone.", _PREFIX, "module.")


def fit_to_model(state: Mapping[str, Tensor], model: nn.Module, origin: str) -> Mapping[str, Tensor]:
    """The state as it is if it has names of the model's backbone; else taken for a backbone's alone, and renamed.

    Args:
        origin: where the state is from, for messages.

    Raises:
        UserError: the backbone has a tensor that the state lacks or has in another shape.
    """
    names = {name for name in model.state_dict() if name.startswith(_PREFIX)}
    if not names or names & state.keys():
        return state
    own, found = model.backbone.state_dict(), _renamed(state, model.backbone)
    fitting = {name: tensor for name, tensor in found.items() if name in own and tensor.shape == own[name].shape}
    lacking = [name for name in own if name not in fitting and not _optional(name, model.backbone)]
    if lacking:
        name = lacking[0]
        what = f"of shape {tuple(found[name].shape)} instead of {tuple(own[name].shape)}" if name in found else "absent"
        raise UserError(
            f"expected every tensor of the configured backbone in {origin}, found {len(lacking)} of "
            f"{len(own)} absent or of another shape, first {name} ({what}); give the weights of this backbone, in a "
            "layout that docs/backbones.md lists."
        )
    left = sorted(found.keys() - own.keys())
    deeper = [name for name in left if _continues(name, own, stages=_stages(model.backbone))]
    if deeper:
        raise UserError(
            f"expected the configured backbone in {origin}, found a deeper one, with {deeper[0]} ({len(deeper)} "
            "tensors more); configure the backbone that the weights are of, or give the weights of this one."
        )
    logging.getLogger("gbw_panoptic").info(
        "The backbone starts from %s (%d tensors); left out: %s.", origin, len(fitting), _listed(left)
    )
    return {_PREFIX + name: tensor for name, tensor in fitting.items()}


def _renamed(state: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if any(name.startswith(wrapper) for name in state):
            state = {name.removeprefix(wrapper): t for name, t in state.items() if name.startswith(wrapper)}
            break
    if isinstance(backbone, PyramidBackbone):
        return backbone.from_public(state)
    return detectron2_resnet_state(state)


def _stages(backbone: nn.Module) -> int:
    return int(backbone.staged) if isinstance(backbone, PyramidBackbone) else 1


def _continues(name: str, own: Collection[str], *, stages: int) -> bool:
    """Whether a tensor is of one more block in a stage that the backbone has, as a deeper variant's are.

    Whole stages more are no fault: those behind the last map that is wanted are not built.

    Args:
        stages: how many numbers of a name are those of stages, 1 or 0.
    """
    own = {re.sub(r"_(?=\d+\.)", ".", other).removeprefix("model.") for other in own}  # timm's files have neither
    name = name.removeprefix("model.")
    numbers = list(re.finditer(r"\d+(?=\.)", name))
    for number in numbers[stages:]:
        if not any(other.startswith(name[: number.end() + 1]) for other in own):
            return any(re.match(re.escape(name[: number.start()]) + r"\d+\.", other) for other in own)
    return False


def _optional(name: str, backbone: nn.Module) -> bool:
    """What files of classifiers have not: counters of batch norm (in old ones), and the norms of feature maps."""
    norms = backbone.feature_norms if isinstance(backbone, PyramidBackbone) else ()
    return name.endswith("num_batches_tracked") or name.startswith(tuple(norms))


def _listed(names: list[str]) -> str:
    return f"{len(names)}, first {names[0]}" if names else "nothing"


HEAD, CLASSES = "mask_head.", "mask_head.class_predictor."


def fit_published(state: Mapping[str, Tensor], model: nn.Module, origin: str) -> Mapping[str, Tensor]:
    """The state under the model's names, if it is of a published layout that the model can take; else as it is.

    Args:
        origin: where the state is from, for messages.

    Raises:
        UserError: a mask head, or a backbone, does not fit the model's.
    """
    own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(HEAD)}
    if not own:
        return fit_to_model(state, model, origin)
    head, rest = split_head(state)
    fitted = dict(fit_to_model(rest, model, origin))
    if head is None:
        return fitted
    fitted.update({HEAD + name: tensor for name, tensor in head.items()})
    _check(fitted, own, origin)
    return _without_other_classes(fitted, own, origin)


def _check(fitted: Mapping[str, Tensor], own: Mapping[str, Tensor], origin: str) -> None:
    needed = {name: tensor for name, tensor in own.items() if not name.startswith(CLASSES)}
    wrong = [name for name, tensor in needed.items() if name not in fitted or fitted[name].shape != tensor.shape]
    if wrong:
        name = wrong[0]
        found = "absent"
        if name in fitted:
            found = f"of shape {tuple(fitted[name].shape)} instead of {tuple(own[name].shape)}"
        raise UserError(
            f"expected every tensor of the configured mask head in {origin}, found {len(wrong)} of "
            f"{len(needed)} absent or of another shape, first {name} ({found}); set MODEL.MASK2FORMER to what the "
            "weights were trained with."
        )


def _without_other_classes(fitted: dict[str, Tensor], own: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """Leave out a class prediction for another number of classes."""
    weight = fitted.get(CLASSES + "weight")
    expected = len(own[CLASSES + "weight"])
    if weight is None or len(weight) == expected:
        return fitted
    logging.getLogger("gbw_panoptic").warning(
        "The class prediction starts from random weights: %s has it for %d classes, the model for %d.",
        origin, len(weight) - 1, expected - 1,
    )  # fmt: skip
    return {name: tensor for name, tensor in fitted.items() if not name.startswith(CLASSES)}
