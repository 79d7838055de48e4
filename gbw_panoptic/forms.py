"""Forms of documents, and what in a value does not fit one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Each:
    """Form of a mapping of texts, whatever they are, each to ``form``."""

    form: Any


@dataclass(frozen=True)
class Maybe:
    """Form of a value that may be null."""

    form: Any


def misfit(value: Any, form: Any, place: str = "") -> tuple[str, str] | None:
    """Whether ``value`` looks like ``form``: None, or what was expected where, and what was found.

    Args:
        form: ``int``, ``float`` (integers, too), ``str``, ``bool``; ``object`` for anything; ``[form]`` a list of it;
            ``{"key": form, "other?": form}`` a mapping with these keys, ``?`` where one may be absent, and any others;
            :class:`Each`; :class:`Maybe`.
    """
    if isinstance(form, Maybe):
        return None if value is None else misfit(value, form.form, place)
    if isinstance(form, list):
        if not isinstance(value, list):
            return _wrong("a list", value, place)
        return next(filter(None, (misfit(one, form[0], f"{place}[{i}]") for i, one in enumerate(value))), None)
    if isinstance(form, Each):
        if not isinstance(value, Mapping):
            return _wrong("a mapping", value, place)
        return next(filter(None, (misfit(one, form.form, f"{place}.{key}") for key, one in value.items())), None)
    if isinstance(form, dict):
        return _misfit_keys(value, form, place)
    types = {int: (int,), float: (int, float), str: (str,), bool: (bool,), object: None}[form]
    names = {int: "an integer", float: "a number", str: "a text", bool: "true or false"}
    return None if types is None or type(value) in types else _wrong(names[form], value, place)


def _misfit_keys(value: Any, form: Mapping[str, Any], place: str) -> tuple[str, str] | None:
    if not isinstance(value, Mapping):
        return _wrong("a mapping", value, place)
    for name, inner in form.items():
        key = name.removesuffix("?")
        if key not in value:
            if name == key:
                return f"the key {key}{_at(place)}", "none"
            continue
        wrong = misfit(value[key], inner, f"{place}.{key}")
        if wrong:
            return wrong
    return None


def _wrong(expected: str, value: Any, place: str) -> tuple[str, str]:
    shown = repr(value)
    return f"{expected}{_at(place)}", shown if len(shown) <= 80 else f"{shown[:80]}..."


def _at(place: str) -> str:
    return f" at {place.removeprefix('.')}" if place else ""
