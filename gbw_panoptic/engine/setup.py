"""From command-line arguments to a checked configuration."""

import argparse
import difflib
import logging
import os
import re

import torch
import yaml

from detectron2.config import CfgNode, get_cfg
from detectron2.utils import comm
from fvcore.common.config import BASE_KEY

from .. import files
from ..config import add_gbw_panoptic_config
from ..config_files import check_config_file
from ..data import register_all
from ..errors import UserError


def load_config(config_file: str, opts: list[str]) -> CfgNode:
    """Read a configuration file and the ``KEY VALUE`` overrides; YAML is loaded safely.

    Raises:
        UserError: missing or malformed file, unknown key, wrong type, swallowed flag.
    """
    cfg = get_cfg()
    add_gbw_panoptic_config(cfg)
    _check_options(opts)
    if config_file:
        check_config_file(config_file)
        _check_file(config_file)
        _explain(config_file, cfg, lambda: cfg.merge_from_file(config_file, allow_unsafe=False))
    _explain("the command line", cfg, lambda: cfg.merge_from_list(opts))
    return cfg


def adapt_to_machine(cfg: CfgNode) -> None:
    """Fit a configuration to this machine, in place, one log line for each change."""
    log = logging.getLogger("gbw_panoptic")
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        log.warning("No CUDA device: MODEL.DEVICE %s -> cpu.", cfg.MODEL.DEVICE)
        cfg.MODEL.DEVICE = "cpu"
    if comm.get_world_size() == 1 or cfg.MODEL.DEVICE == "cpu":
        for node in (cfg.MODEL.RESNETS, cfg.MODEL.SEM_SEG_HEAD, cfg.MODEL.INS_EMBED_HEAD):
            if node.NORM == "SyncBN":
                log.warning("One process or no GPU: NORM SyncBN -> BN.")
                node.NORM = "BN"
    if cfg.TRAINER.DETERMINISTIC:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)  # the warning names operations that cannot comply
        cfg.CUDNN_BENCHMARK = False


def prepare_config(args: argparse.Namespace) -> CfgNode:
    """Load, register the data sets, and fit to the machine."""
    cfg = load_config(args.config_file, args.opts)
    register_all(custom=cfg.DATASETS.CUSTOM)
    adapt_to_machine(cfg)
    return cfg


def _check_options(opts: list[str]) -> None:
    for option in opts:
        if option.startswith("--"):
            raise UserError(
                f"Expected KEY VALUE pairs at the end of the command, found the flag {option} among them; put every --flag "
                "before the first KEY."
            )
    if len(opts) % 2:
        raise UserError(
            f"Expected KEY VALUE pairs, found {len(opts)} words ({' '.join(opts)}); give every key exactly one value."
        )


def _check_file(path: str, derived: tuple[str, ...] = ()) -> None:
    """The file and its ``_BASE_`` files are local YAML of plain values: nothing is executed, nothing is downloaded."""
    if path in derived:
        raise UserError(f"expected _BASE_ files that end, found a circle at {path}; correct one of {', '.join(derived)}")
    content = files.read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"expected sections and keys in {path}, found {type(content).__name__}; give a configuration file")
    bases = content.get(BASE_KEY, [])
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str) or "://" in base:
            raise UserError(f"expected a local file as {BASE_KEY} of {path}, found {base!r}; name a file beside it")
        _check_file(os.path.join(os.path.dirname(path), os.path.expanduser(base)), (*derived, path))


def _explain(where: str, cfg: CfgNode, merge) -> None:
    try:
        merge()
    except (KeyError, AssertionError) as error:  # yacs asserts on unknown keys of a list
        text = str(error.args[0]) if error.args else str(error)
        unknown = re.match(r"Non-existent (?:config )?key: (\S+)", text)
        if not unknown:
            raise UserError(f"Expected sections and values in their places in {where}, found: {text}; correct it.") from error
        close = difflib.get_close_matches(unknown[1], list(_keys(cfg)), n=1, cutoff=0.5)
        remedy = f"did you mean {close[0]}?" if close else "see gbw_panoptic/config.py for ours and Detectron2's defaults."
        raise UserError(f"Expected known configuration keys in {where}, found '{unknown[1]}'; {remedy}") from error
    except (ValueError, TypeError, AttributeError, IndexError, RecursionError, yaml.YAMLError) as error:
        first = " ".join(str(error).split())
        raise UserError(f"Expected values of each key's own type in {where}, found: {first}; correct the value.") from error


def _keys(node: CfgNode, prefix: str = "") -> list[str]:
    keys = []
    for key, value in node.items():
        keys.append(prefix + key)
        if isinstance(value, CfgNode):
            keys += _keys(value, f"{prefix}{key}.")
    return keys

