"""The shipped configurations are composed: a decision stands in one file, and what can be run a list of them."""

import ast
import functools
import os
from pathlib import Path
from typing import Any

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


def keys(node: dict) -> set[str]:
    """Of the file itself."""
    return set(plain(node)) - {"_BASE_"}


@functools.cache
def merged(name: str) -> dict[str, Any]:
    """Key -> value of a file and its bases."""
    found: dict[str, Any] = {}
    for base in bases(name):
        found |= merged(base)
    return found | {key: value for key, value in plain(content(name)).items() if key != "_BASE_"}


def plain(node: dict, prefix: str = "") -> dict[str, Any]:
    """Key -> value, in which lists are lists and 1 is 1.0."""
    found: dict[str, Any] = {}
    for name, value in node.items():
        if isinstance(value, dict):
            found |= plain(value, f"{prefix}{name}.")
            continue
        try:
            value = ast.literal_eval(value) if isinstance(value, str) else value
        except (SyntaxError, ValueError):
            pass
        value = list(value) if isinstance(value, tuple) else value
        found[prefix + name] = float(value) if type(value) is int else value
    return found


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
    defaults, seen = plain(load_config("", [])), {}
    for leaf in LEAVES:
        effect = repr(sorted((defaults | merged(leaf)).items()))
        first = seen.setdefault(effect, leaf)
        assert first in (leaf, ALIASES.get(leaf)), f"{leaf} equals {first}"


@pytest.mark.parametrize(
    "leaf", ["synthia_to_cityscapes/semantic_mit_b5_self_training_gbw.yaml", "quick/active_cbda.yaml"]
)
def test_later_bases_stand_above_earlier_ones(leaf):
    defaults = plain(load_config("", []))
    assert plain(load_config(str(CONFIGS / leaf), [])) == defaults | merged(leaf)


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
    semantic |= leaf.startswith("rendered")  # weights on centres and offsets cost cars (docs/streets.md)
    heads = "segments" if "mask2former" in leaf or "eomt" in leaf else "semantic" if semantic else "heads"
    others = [f"weighting/gbw_{strategy}.yaml"] if strategy in ("adversarial", "entropy") else []
    if leaf.startswith("rendered") and heads == "semantic" and strategy == "self_training":
        others = ["weighting/gbw_source.yaml"]  # wrong labels of the road would gain weight (docs/results.md)
    assert weights == [f"weighting/gbw_{heads}.yaml", *others]


def test_the_example_of_the_document_is_a_configuration(tmp_path):
    text = (CONFIGS.parent / "docs" / "getting_started.md").read_text()
    example = text[text.index("## Write a configuration") :].split("```")[1].removeprefix("yaml")
    path = tmp_path / "mine.yaml"
    path.write_text(example.replace("../", f"{CONFIGS}/"))
    cfg = load_config(str(path), [])
    assert cfg.DATASETS.TRAIN == ("gta5_sem_train",) and cfg.DATASETS.TARGET == ("vistas_uda_images_train",)
    assert (cfg.MODEL.TASK, cfg.WEIGHTING.SEMANTIC, cfg.WEIGHTING.CENTER) == ("semantic", "gbw", "none")
