"""Whether the states of a checkpoint are what a run can go on from: a damaged or foreign one is found before it is
used."""

from typing import Iterator, Mapping, Sequence

import torch
from torch import Tensor

#: Settings by which optimizers differ; versions of torch differ in others.
_KINDS = {"betas", "momentum"}
#: What Adam and AdamW remember of every parameter that has had an update.
_MOMENTS = {"step", "exp_avg", "exp_avg_sq"}
#: Settings of a group that are those of the resume; others are as in the checkpoint.
_APPLIED = ("lr", "initial_lr", "weight_decay", "momentum", "nesterov")
#: What Python raises where a state is of another form.
_MALFORMED = (TypeError, ValueError, LookupError, AttributeError, RuntimeError)


def adopted(state: Mapping, optimizer: torch.optim.Optimizer, names: Sequence[str]) -> Mapping:
    """The trainer's part of a checkpoint for ``optimizer``: in its groups, with the settings that a resume applies.

    What is remembered of a parameter is found by its name, since other settings may group parameters otherwise. Without
    names, in files of older versions, the order counts. A state of another form stays as it is: :func:`describe_fault`
    is for that.

    Args:
        names: of the optimizer's parameters, in its order.
    """
    try:
        return {**state, "optimizer": _adopted(state["optimizer"], state.get("parameters"), optimizer, names)}
    except _MALFORMED:
        return state


def _adopted(saved: Mapping, made: object, optimizer: torch.optim.Optimizer, names: Sequence[str]) -> Mapping:
    groups, entries = saved["param_groups"], saved["state"]
    own = optimizer.state_dict()["param_groups"]
    if made is not None:
        if not isinstance(made, list) or sorted(map(str, made)) != sorted(names):
            return {"param_groups": [], "state": {}}  # of other parameters
        place = {name: index for index, name in enumerate(made)}
        entries = {index: entries[place[name]] for index, name in enumerate(names) if place[name] in entries}
        groups = [{**groups[0], "params": group["params"]} for group in own]
    applied = [{key: group[key] for key in _APPLIED if key in group} for group in own]
    return {**saved, "state": entries, "param_groups": [{**g, **a} for g, a in zip(groups, applied, strict=True)]}


def describe_fault(state: object, optimizer: torch.optim.Optimizer) -> str:
    """What is wrong with the trainer's part of a checkpoint, for a sentence; empty if nothing is.

    Args:
        state: as :meth:`DomainAdaptationTrainer.state_dict` gives it.
        optimizer: into which it will be loaded; torch itself looks at the number of parameters alone.
    """
    try:
        return next(_faults(state, optimizer), "")
    except _MALFORMED as error:
        return f"a state of another form ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"


def _faults(state: Mapping, optimizer: torch.optim.Optimizer) -> Iterator[str]:
    counters = {"iteration": state["iteration"], "consumed": state["loader"]["consumed"], "seed": state["rng"]["seed"]}
    for name, value in counters.items():
        if type(value) is not int or value < 0:
            yield f"{name} of {type(value).__name__} or below 0, which is no count"
    saved = state["optimizer"]
    own, found = optimizer.state_dict()["param_groups"], saved["param_groups"]
    if [len(group["params"]) for group in own] != [len(group["params"]) for group in found]:
        yield "an optimizer of other parameters"
    if [_KINDS & group.keys() for group in own] != [_KINDS & group.keys() for group in found]:
        yield "the state of another optimizer"
    needed = _MOMENTS if "betas" in own[0] else set()
    yield from _entries(saved["state"], [p for group in optimizer.param_groups for p in group["params"]], needed)


def _entries(entries: Mapping, parameters: Sequence[Tensor], needed: set[str]) -> Iterator[str]:
    """Faults of what the optimizer remembers of each parameter: moments have its shape, counters have one value."""
    for index, entry in entries.items():
        shape = parameters[index].shape
        if not isinstance(entry, Mapping):
            yield f"{type(entry).__name__} for what it remembers of a parameter"
        if entry and not needed <= entry.keys():
            yield f"no {sorted(needed - entry.keys())[0]} of a parameter"
        if any(entry[name] is None for name in needed & entry.keys()):
            yield "nothing where a moment of a parameter should be"
        for name, value in entry.items():
            if isinstance(value, Tensor) and value.shape not in (shape, torch.Size([]), torch.Size([1])):
                yield f"{name} of shape {tuple(value.shape)} for a parameter of shape {tuple(shape)}"
            if not isinstance(value, (Tensor, int, float, type(None))):
                yield f"{name} of type {type(value).__name__}"
