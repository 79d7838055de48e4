"""JSON and YAML as documents of plain values: bounded, unambiguous and of the form that their reader names.

Refused, whatever the file: another encoding than UTF-8, keys that occur twice, NaN and infinity, integers beyond 64
bits, half of a surrogate pair, nesting without end, aliases that expand to more than the file could hold.
"""

import json
import math
import os
import re
import stat
from collections.abc import Callable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml

from .errors import UserError
from .forms import misfit

_MAX_DEPTH = 100
#: Values of a YAML document with its aliases written out: configurations have some hundreds.
_MAX_NODES = 200_000
_MAX_YAML_BYTES = 1_000_000
_LONG_NUMBER = re.compile(rb"\d{18}|[eE]\+?\d{3}")
_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]", re.ASCII)
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in _STEP)


def read_json(path: str | os.PathLike, form: Any = object, *, remedy: str = "prepare the data again") -> Any:
    """Parse a JSON file.

    Args:
        form: what it must look like; see :func:`.forms.misfit`.
        remedy: what the user is to do where it is damaged or another file.

    Raises:
        UserError: it is missing, damaged, or looks otherwise.
    """
    try:
        value = parse_json(read_bytes(path))
    except ValueError as error:
        raise UserError(f"expected JSON, found {error} in {path}; {remedy}") from None
    wrong = misfit(value, form)
    if wrong:
        raise UserError(f"expected {wrong[0]}, found {wrong[1]} in {path}; {remedy}")
    return value


def read_yaml(path: str | os.PathLike) -> Any:
    """Parse a YAML file of plain values; dates stay texts, tags that would make objects are refused.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        return parse_yaml(read_bytes(path))
    except ValueError as error:
        raise UserError(f"expected YAML of plain values, found: {error}, in {path}; correct the file") from None


def parse_json(data: bytes, *, finite: bool = True) -> Any:
    """
    Args:
        finite: whether NaN and infinity, which are no JSON but which Python writes, are refused.

    Raises:
        ValueError: ``data`` are no JSON of plain values; the message is a noun phrase.
    """
    # the loops over numbers and texts are taken only where one of them may be at fault
    parsers: dict[str, Callable] = {"parse_constant": _constant} if finite else {}
    if _LONG_NUMBER.search(data):
        parsers |= {"parse_int": _integer, **({"parse_float": _finite} if finite else {})}
    try:
        value = json.loads(data, object_pairs_hook=_distinct, **parsers)
    except UnicodeDecodeError as error:
        raise ValueError(f"bytes of another encoding (from byte {error.start}), not UTF-8,") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"a damaged file ({error})") from None
    except RecursionError:
        raise ValueError("lists in lists without end") from None
    if _open_brackets(data) > _MAX_DEPTH and _depth(value) > _MAX_DEPTH:
        raise ValueError(f"lists in lists, more than {_MAX_DEPTH} deep")
    return _checked_texts(value) if _HALF_PAIR.search(data) else value


def parse_yaml(data: bytes) -> Any:
    """Raises as :func:`parse_json`."""
    if len(data) > _MAX_YAML_BYTES:
        raise ValueError(f"{len(data)} bytes, more than any description needs")
    if _open_brackets(data) > _MAX_DEPTH:  # PyYAML's time grows with their square
        raise ValueError(f"lists in lists, more than {_MAX_DEPTH} deep")
    try:
        loader = _PlainLoader(data)
        node = loader.get_single_node()
        if node is None:
            return None
        _expanded_size(node, {}, 0)
        value = loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        coded = error.encoding != "unicode"
        found = f"bytes of another encoding (from byte {error.position}), not UTF-8" if coded else str(error)
        raise ValueError(" ".join(found.split())) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(" ".join(str(error).split())) from None
    except (RecursionError, OverflowError):
        raise ValueError("lists in lists without end") from None
    except (AttributeError, LookupError, TypeError):  # PyYAML's, where a tag and its value do not go together
        raise ValueError("values that are not what their tags say") from None
    return _checked_texts(value)


def read_bytes(path: str | os.PathLike) -> bytes:
    """A regular file's content, which is not empty; UserError otherwise."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # reading a pipe would wait for ever
            found = "a folder" if os.path.isdir(path) else "something else"
            raise UserError(f"expected a readable file at {path}, found {found}; correct the path")
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        found = "nothing" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", None) or error
        raise UserError(f"expected a readable file at {path}, found {found}; unpack or generate it again") from None
    if not data:
        raise UserError(f"expected data, found an empty file at {path}; unpack or generate it again")
    return data


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} twice")
    return mapping


def _constant(name: str) -> float:
    raise ValueError(f"the number {name}")


def _integer(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
        raise ValueError(f"the number {digits[:20]}... of {len(digits)} digits")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:20]}")
    return number


def _checked_texts(value: Any) -> Any:
    """``value``; ValueError where a text, among its keys, too, holds what no file can: half of a surrogate pair."""
    stack, seen = [value], set()
    while stack:
        one = stack.pop()
        if isinstance(one, str):
            if not _is_encodable(one):
                raise ValueError(f"the text {ascii(one)[:80]}, half of a surrogate pair,")
        elif isinstance(one, (list, Mapping)) and id(one) not in seen:
            seen.add(id(one))
            stack += [*one.keys(), *one.values()] if isinstance(one, Mapping) else one
    return value


def _open_brackets(data: bytes) -> int:
    """Brackets that are open at once, those in texts among them."""
    return max(accumulate(map(_STEP.__getitem__, data.translate(None, _NO_BRACKETS))), default=0)


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            inner
            for one in level
            if isinstance(one, (list, dict))
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return depth - 1


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _expanded_size(node: yaml.Node, sizes: dict[int, int], depth: int) -> int:
    """Values of a YAML node with aliases written out, bounded; ``sizes``: by node, 0 while it is being counted."""
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise ValueError("an alias of what it is a part of")
        return sizes[id(node)]
    if depth > _MAX_DEPTH:
        raise ValueError(f"lists in lists, more than {_MAX_DEPTH} deep")
    sizes[id(node)] = 0
    children = [] if isinstance(node, yaml.ScalarNode) else node.value
    if isinstance(node, yaml.MappingNode):
        children = [part for pair in children for part in pair]
    size = 1
    for child in children:
        size += _expanded_size(child, sizes, depth + 1)
        if size > _MAX_NODES:
            raise ValueError(f"aliases (or values) that come to more than {_MAX_NODES} values")
    sizes[id(node)] = size
    return size


class _PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which takes the last of two equal keys without a word, and fails on the 45th of a month."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:timestamp"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        values = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} twice", node.start_mark)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = self.construct_scalar(node)
        number = super().construct_yaml_int(node) if len(text) <= 80 else None
        if number is None or not -(2**63) <= number < 2**63:
            raise yaml.constructor.ConstructorError(None, None, f"the number {text[:20]}...", node.start_mark)
        return number


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_yaml_int)
