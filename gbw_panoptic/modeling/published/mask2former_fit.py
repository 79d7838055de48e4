"""Published weights of a whole Mask2Former, fitted to ours whole or not at all but for the class prediction."""

import logging
from typing import Mapping

from torch import Tensor, nn

from ...errors import UserError
from .backbone_fit import fit_to_model
from .names import split_head

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
