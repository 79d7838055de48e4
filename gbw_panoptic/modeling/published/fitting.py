"""The one rule for weights, at every door: whole, or a backbone alone where training starts; else one sentence.

A *fit* is a function from a file's state dict and a model to the state under the model's names, or a
:class:`UserError`.
"""

from typing import Callable, Collection, Iterator, Mapping

import torch
from torch import Tensor, nn

from ...errors import UserError
from .layouts import CLASSES, HEAD, fit_published

State = Mapping[str, Tensor]
#: (state, model, origin for messages) -> state that is loaded.
Fit = Callable[[State, nn.Module, str], State]

#: Buffers of training that prediction does not need, and that another weighting does not have.
TRAINING_ONLY = ("weightings.", "sem_seg_head.shaping.")
_BACKBONE = "backbone."
#: What wrappers put before every name: data parallelism, torch.compile.
_WRAPPERS = ("module.", "_orig_mod.")


def starting(state: State, model: nn.Module, origin: str) -> State:
    """Where training starts: a whole model, or its backbone alone (published layouts, too: docs/backbones.md).

    A whole published Mask2Former counts without its class prediction, if that is of another number of classes.

    Raises:
        UserError: it is neither, or not finite.
    """
    given = unwrapped_names(state)
    fitted = fit_published(given, model, origin)
    own = model.state_dict()
    parts = {name.partition(".")[0] for name in fitted} & {name.partition(".")[0] for name in own}
    needed = own
    if parts == {"backbone"}:
        needed = {name: tensor for name, tensor in own.items() if name.startswith(_BACKBONE)}
        needed = {name: tensor for name, tensor in needed.items() if name in fitted or not _norm_of_a_map(name, model)}
    elif not any(name.startswith(HEAD) for name in given) and not any(name.startswith(CLASSES) for name in fitted):
        needed = {name: tensor for name, tensor in own.items() if not name.startswith(CLASSES)}
    found = describe_misfit(fitted, needed)
    if found:
        raise UserError(
            f"expected a whole model of this configuration or its backbone alone in {origin}, found {found}; give "
            "the MODEL configuration that it was trained with, or weights of the backbone alone."
        )
    return finite(fitted, origin)


def whole(state: State, model: nn.Module, origin: str) -> State:
    """Where a model is evaluated or predicts: every tensor of it, but for the buffers of training.

    Raises:
        UserError: it is not whole, or not finite.
    """
    fitted = unwrapped_names(state)
    if any(name.startswith(HEAD) for name in model.state_dict()) and not any(name.startswith(HEAD) for name in fitted):
        fitted = fit_published(fitted, model, origin)
    found = describe_misfit(fitted, model.state_dict())
    if found:
        raise UserError(
            f"expected every tensor of the configured model in {origin}, found {found}; give the configuration with "
            "which the checkpoint was trained."
        )
    return finite(fitted, origin)


def exact(state: State, model: nn.Module, origin: str) -> State:
    """Where a run goes on: as it is; whether it fits is seen in loading.

    Raises:
        UserError: it is not finite.
    """
    return finite(state, origin)


def load_whole(model: nn.Module, state: State, origin: str) -> None:
    """Load a state that is :func:`whole` into ``model``."""
    own = model.state_dict()
    state = whole(state, model, origin)
    same = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
    model.load_state_dict(same, strict=False)


def unwrapped_names(state: State) -> State:
    """Without what wrappers put before every name."""
    for prefix in _WRAPPERS * 2:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def describe_misfit(state: State, needed: State) -> str:
    """Which of the needed tensors a state has not, or which it has in excess; empty if it fits.

    Counters of batch norm and buffers of training may be absent. Whole parts that the model has not (another head) may
    be there; more layers of a part that it has, as a deeper backbone's, may not.
    """
    wanted = {name: tensor for name, tensor in needed.items() if not _dispensable(name)}
    wrong = [name for name, tensor in wanted.items() if not _same_kind(state.get(name), tensor)]
    if wrong:
        name = next((name for name in wrong if name in state), wrong[0])
        what = _shapes(state[name], wanted[name]) if name in state else "absent"
        return f"{len(wrong)} of {len(wanted)} absent or of another shape, first {name} ({what})"
    extra = next(_in_excess(state, needed), None)
    return f"{extra}, which the model has not, and with it another network" if extra else ""


def _in_excess(state: State, needed: Collection[str]) -> Iterator[str]:
    parts = {name.partition(".")[0] for name in needed}
    return (n for n in state if n not in needed and n.partition(".")[0] in parts and not _dispensable(n))


def _dispensable(name: str) -> bool:
    return name.startswith(TRAINING_ONLY) or name.endswith("num_batches_tracked")


def _norm_of_a_map(name: str, model: nn.Module) -> bool:
    """Weights of classifiers have no norms of feature maps."""
    return name.removeprefix(_BACKBONE).startswith(tuple(getattr(model.backbone, "feature_norms", ())))


def _same_kind(found: Tensor | None, own: Tensor) -> bool:
    return found is not None and found.shape == own.shape and found.is_floating_point() == own.is_floating_point()


def _shapes(found: Tensor, own: Tensor) -> str:
    if found.shape == own.shape:
        return f"of {found.dtype} instead of {own.dtype}"
    return f"of shape {tuple(found.shape)} instead of {tuple(own.shape)}"


def finite(state: State, origin: str) -> State:
    """The state as it is.

    Raises:
        UserError: it holds NaN or infinity.
    """
    bad = not_finite(state)
    if bad:
        raise UserError(
            f"Expected finite weights in {origin}, found values that are not (NaN or infinite) in {len(bad)} of "
            f"{len(state)} tensors, {bad[0]} among them; take a checkpoint from before the training diverged."
        )
    return state


def not_finite(state: State) -> list[str]:
    """Names of the tensors that hold NaN or infinity."""
    floating = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    return [name for name, tensor in floating.items() if not torch.isfinite(tensor).all()]
