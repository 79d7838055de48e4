"""From command-line arguments to a checked configuration."""

import argparse
import logging
import os

import torch

from detectron2.config import CfgNode, get_cfg
from detectron2.utils import comm

from ..config import add_gbw_panoptic_config, merge_file, merge_list
from ..config_files import check_config_file
from ..data import register_all
from ..errors import UserError


def load_config(config_file: str, opts: list[str]) -> CfgNode:
    """Read a configuration file and the ``KEY VALUE`` overrides; YAML is loaded safely.

    Raises:
        UserError: missing or malformed file, unknown key, wrong type, value out of its range, swallowed flag.
    """
    cfg = get_cfg()
    add_gbw_panoptic_config(cfg)
    _check_options(opts)
    if config_file:
        check_config_file(config_file)
        merge_file(cfg, config_file)
    merge_list(cfg, opts)
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


