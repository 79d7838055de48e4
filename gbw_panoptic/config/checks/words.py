"""How a check words what it refuses."""

from typing import Any

from ..kinds import shown


def value_of(cfg, key: str) -> Any:
    """Of ``key`` with its sections, e.g. "GBW.LAMBDA"."""
    value = cfg
    for name in key.split("."):
        value = value[name]
    return value


def refusal(cfg, key: str, expected: str, remedy: str) -> str:
    """The sentence about the value of ``key``: what was expected, what was found, what to do."""
    return f"{key}: expected {expected}, found {shown(value_of(cfg, key))}; {remedy}."
