"""Files and command lines merged into a configuration, value by value, each checked by its row of the table."""

import copy
import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode, get_cfg
from fvcore.common.config import BASE_KEY

from .. import files
from ..errors import UserError
from .kinds import shown
from .table import KEYS, add_gbw_panoptic_config

_VERSION = 2  # of Detectron2's configurations
_LINE = "the command line"


def key_problems(cfg: CfgNode) -> Iterator[str]:
    """One sentence for each value of ``cfg`` that does not fit its row of the table."""
    for key in KEYS.values():
        problem = key.problem(_get(cfg, key.name.split(".")))
        if problem:
            yield problem


def unread_keys(cfg: CfgNode) -> list[str]:
    """Keys that nothing of this project reads, Detectron2's, where they have another value than by default."""
    host = get_cfg()
    add_gbw_panoptic_config(host)
    names = [name for name in _names(host) if name not in KEYS and not isinstance(_get(host, name.split(".")), CfgNode)]
    return [name for name in names if _get(cfg, name.split(".")) != _get(host, name.split("."))]


def merge_file(cfg: CfgNode, path: str) -> None:
    """Take over a YAML file of plain values and the files that it names as ``_BASE_``, in place.

    Raises:
        UserError: a file is missing, malformed or a circle, a key unknown, a value of another type or out of its range.
    """
    for name, value in _leaves(_tree(path)):
        _set(cfg, name, value, path)


def merge_list(cfg: CfgNode, words: Sequence[str]) -> None:
    """Take over ``KEY VALUE`` pairs in place; raises as :func:`merge_file`."""
    for name, word in zip(words[::2], words[1::2], strict=True):
        _set(cfg, str(name), word, _LINE)


def merge_settings(cfg: CfgNode, settings: Mapping[str, Any], where: str) -> None:
    """Take over plain values by dotted key, as checkpoints hold them, in place; keys that are no more do not count.

    Raises:
        UserError: a value is out of its range.
    """
    for name, value in settings.items():
        if name not in KEYS:
            continue
        problem = KEYS[name].problem(value, where)
        if problem:
            raise UserError(problem)
        node, last = _parent(cfg, name, where)
        node[last] = type(node[last])(value) if isinstance(node[last], (list, tuple, float)) else value


def _set(cfg: CfgNode, name: str, raw: Any, where: str) -> None:
    node, last = _parent(cfg, name, where)
    old, value = node[last], _decoded(raw, where, name)
    if isinstance(old, CfgNode):
        if value is None:  # a section whose lines are all commented out
            return
        raise UserError(f"{name}: expected a section of keys, found {shown(value)} in {where}; name one of its keys.")
    key = KEYS.get(name)
    if key is None:
        return _set_unread(cfg, name, value, where)
    if type(value) in (int, float) and isinstance(old, str) and isinstance(raw, str):
        value = raw  # a folder may be called 2024
    problem = key.problem(value, where)
    if problem:
        raise UserError(problem)
    if isinstance(old, (list, tuple)):
        value = type(old)(value)
    node[last] = float(value) if isinstance(old, float) else value


def _set_unread(cfg: CfgNode, name: str, value: Any, where: str) -> None:
    """A key of the host that nothing here reads: the host's own check of its type."""
    if name == "VERSION" and value != _VERSION:
        raise UserError(f"VERSION: expected {_VERSION}, found {shown(value)} in {where}; drop the line.")
    try:
        cfg.merge_from_list([name, value])
    except (AssertionError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise _misplaced(where, error) from error


def _parent(cfg: CfgNode, name: str, where: str) -> tuple[CfgNode, str]:
    """The section that holds ``name``, and the last part of it."""
    *sections, last = name.split(".")
    node = cfg
    for section in sections:
        node = node.get(section) if isinstance(node, CfgNode) else None
    if not isinstance(node, CfgNode) or last not in node:
        close = difflib.get_close_matches(name, _names(cfg), n=1, cutoff=0.5)
        remedy = f"did you mean {close[0]}?" if close else "see docs/configuration.md."
        raise UserError(f"Expected known configuration keys in {where}, found {shown(name)}; {remedy}")
    return node, last


def _decoded(raw: Any, where: str, name: str) -> Any:
    """``raw`` as yacs reads it: text that is a Python literal becomes its value."""
    try:
        return CfgNode._decode_cfg_value(raw)
    except (MemoryError, RecursionError, TypeError) as error:
        raise UserError(f"{name}: expected a value, found {shown(raw)} in {where} ({error}); correct it.") from error


def _leaves(tree: Mapping, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        elif not isinstance(value, Mapping):
            yield f"{prefix}{name}", value


def _names(node: CfgNode, prefix: str = "") -> list[str]:
    names = []
    for name, value in node.items():
        names.append(prefix + name)
        if isinstance(value, CfgNode):
            names += _names(value, f"{prefix}{name}.")
    return names


def _get(cfg: CfgNode, names: Sequence[str]) -> Any:
    node = cfg
    for name in names:
        node = node[name]
    return node


def _misplaced(where: str, error: BaseException) -> UserError:
    found = " ".join(str(error.args[0] if error.args else error).split())
    return UserError(f"Expected values of each key's own type in {where}, found: {found[:200]}; correct the value.")


def _tree(path: str, derived: tuple[str, ...] = ()) -> dict[str, Any]:
    """Sections and values of a file and, below them, of its ``_BASE_`` files, later ones first: all of them local YAML
    of plain values, so that nothing is executed and nothing is downloaded."""
    if os.path.realpath(path) in map(os.path.realpath, derived):
        circle = ", ".join(derived)
        raise UserError(f"expected _BASE_ files that end, found a circle at {path}; correct one of {circle}")
    content = files.read_yaml(path)
    if not isinstance(content, dict):
        found = type(content).__name__
        raise UserError(f"expected sections and keys in {path}, found {found}; give a configuration file")
    bases, tree = content.pop(BASE_KEY, []), {}
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str) or "://" in base:
            raise UserError(f"expected a local file as {BASE_KEY} of {path}, found {base!r}; name a file beside it")
        place = os.path.join(os.path.dirname(path), os.path.expanduser(base))
        _lay_over(tree, _tree(place, (*derived, path)), place)
    _lay_over(tree, content, path)
    return tree


def _lay_over(tree: dict, values: Mapping, where: str) -> None:
    """Merge ``values`` into ``tree``, in place, section by section."""
    for name, value in values.items():
        if isinstance(value, Mapping) and isinstance(tree.get(name), dict):
            _lay_over(tree[name], value, where)
        elif isinstance(value, Mapping) and name in tree and tree[name] is not None:
            raise UserError(
                f"{name}: expected a value as in the _BASE_, found a section in {where}; correct one of them"
            )
        else:
            tree[name] = copy.deepcopy(value)
