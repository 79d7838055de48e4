"""The shipped configurations are composed: a decision stands in one file, and what can be run a list of them."""

import functools
import os
from pathlib import Path

import pytest
import yaml

from gbw_panoptic.config_files import PARTS, listing
from gbw_panoptic.engine.setup import load_config

CONFIGS = Path(__file__).parents[2] / "configs"
RUN = (path for path in CONFIGS.glob("*/[!B]*.yaml") if path.parent.name not in PARTS)
LEAVES = sorted(path.relative_to(CONFIGS).as_posix() for path in RUN)
PARTED = sorted(path.relative_to(CONFIGS).as_posix() for part in PARTS for path in (CONFIGS / part).iterdir())
#: Leaf -> another one of the same effect, where two names are wanted.
ALIASES: dict[str, str] = {}


@functools.cache
def content(name: str) -> dict:
    return yaml.safe_load((CONFIGS / name).read_text())


def bases(name: str) -> list[str]:
    """Below configs/, in their order."""
    listed = content(name).get("_BASE_", [])
    listed = [listed] if isinstance(listed, str) else listed
    return [os.path.normpath(os.path.join(os.path.dirname(name), base)) for base in listed]


@functools.cache
def closure(name: str) -> set[str]:
    return {name}.union(*map(closure, bases(name)))


def keys(node: dict, prefix: str = "") -> set[str]:
    """Of the file itself."""
    found = set()
    for name, value in node.items():
        found |= keys(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}"}
    return found - {"_BASE_"}


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_leaf_is_a_title_and_a_list_of_bases(leaf):
    assert list(content(leaf)) == ["_BASE_"]
    first, *others = (CONFIGS / leaf).read_text().splitlines()
    assert first.startswith("# ") and not any("#" in line for line in others)


def test_what_is_listed_is_what_can_be_run():
    assert sorted(os.path.relpath(path, CONFIGS) for path, _ in listing()) == LEAVES
    assert all(title for _, title in listing())


def test_every_part_is_used():
    used = set().union(*map(closure, LEAVES))
    assert not set(PARTED) - used


def test_no_two_leaves_are_equal_in_effect():
    seen: dict[str, str] = {}
    for leaf in LEAVES:
        dump = load_config(str(CONFIGS / leaf), []).dump()
        assert ALIASES.get(leaf) == seen.setdefault(dump, leaf) or seen[dump] == leaf, f"{leaf} equals {seen[dump]}"


def test_a_decision_stands_in_one_kind_of_file():
    """Data sets in domains/, the trainer in strategies/, class weights in weighting/."""
    divisor = {"WEIGHTING.LOSS_DENOMINATOR"}  # of a model's published losses
    for path in CONFIGS.rglob("*.yaml"):
        kind, own = path.parent.name, keys(yaml.safe_load(path.read_text()))
        sections = {key.split(".")[0] for key in own - divisor}
        assert kind == "domains" or "DATASETS" not in sections, path
        assert kind == "strategies" or "TRAINER" not in sections, path
        assert kind == "weighting" or not sections & {"WEIGHTING", "GBW"}, path
        assert kind != "weighting" or sections <= {"WEIGHTING", "GBW"}, path


@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES if leaf.endswith("_gbw.yaml") and "_to_" in leaf])
def test_gbw_is_the_leaf_without_it_and_one_decision_for_each_strategy(leaf):
    first, *weights = bases(leaf)
    if "_mic_" in leaf:  # three decisions behind self-training's
        return
    assert first == leaf.replace("_gbw", "")
    strategy = next(s for s in ("self_training", "source_only", "adversarial", "entropy") if s in leaf)
    semantic = "MODEL.TASK" in set().union(*(keys(content(name)) for name in closure(leaf)))
    heads = "segments" if "mask2former" in leaf else "semantic" if semantic else "heads"
    others = [f"weighting/gbw_{strategy}.yaml"] if strategy in ("adversarial", "entropy") else []
    assert weights == [f"weighting/gbw_{heads}.yaml", *others]
