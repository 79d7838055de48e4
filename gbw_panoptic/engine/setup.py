"""From command-line arguments to a checked configuration."""

import argparse
import logging
import os
from operator import attrgetter

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng

from .. import files
from ..config import add_gbw_panoptic_config, merge_file, merge_list
from ..config_files import check_config_file
from ..data import register_all
from ..errors import UserError
from ..taxonomy import CITYSCAPES, Taxonomy, read_taxonomy
from .execution import automatic_execution
from .hooks import METRICS
from .logs import RunLog
from .output_dir import Purpose, clear, has_checkpoint


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
    for name, value in automatic_execution(cfg).items():
        log.info("%s auto -> %s, for %s and %s.", name, value, cfg.MODEL.DEVICE, cfg.MODEL.BACKBONE.NAME)
        section, _, last = name.rpartition(".")
        setattr(attrgetter(section)(cfg), last, value)
    if cfg.TRAINER.DETERMINISTIC:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)  # the warning names operations that cannot comply
        cfg.CUDNN_BENCHMARK = False


def prepare_config(args: argparse.Namespace) -> CfgNode:
    """Load, register the data sets, and fit to the machine."""
    cfg = load_config(args.config_file, args.opts)
    register_data_sets(cfg)
    adapt_to_machine(cfg)
    return cfg


def register_data_sets(cfg: CfgNode) -> None:
    """Register all data sets, and fit the configuration to its taxonomy, in place."""
    register_all(custom=cfg.DATASETS.CUSTOM, taxonomy=cfg.DATASETS.TAXONOMY)
    adapt_to_taxonomy(cfg, read_taxonomy(cfg.DATASETS.TAXONOMY))


def adapt_to_taxonomy(cfg: CfgNode, taxonomy: Taxonomy) -> None:
    """Fit a configuration to its classes, in place, one log line for each change.

    What still has Cityscapes' default, and what only Cityscapes has, follows; what else contradicts the taxonomy is
    left to the validation.
    """
    head = cfg.MODEL.SEM_SEG_HEAD
    changes = []
    if head.NUM_CLASSES == CITYSCAPES.num_classes != taxonomy.num_classes:
        changes.append(("MODEL.SEM_SEG_HEAD.NUM_CLASSES", head, "NUM_CLASSES", taxonomy.num_classes))
    if head.IGNORE_VALUE != taxonomy.ignore_label:
        changes.append(("MODEL.SEM_SEG_HEAD.IGNORE_VALUE", head, "IGNORE_VALUE", taxonomy.ignore_label))
    foreign = set(cfg.TEST.PROTOCOLS) - taxonomy.protocols.keys()
    if foreign == set(cfg.TEST.PROTOCOLS) <= CITYSCAPES.protocols.keys():
        changes.append(("TEST.PROTOCOLS", cfg.TEST, "PROTOCOLS", (next(iter(taxonomy.protocols)),)))
    for name, node, last, value in changes:
        logging.getLogger("gbw_panoptic").info(
            "%s %s -> %s, of the taxonomy %s.", name, node[last], value, taxonomy.name
        )
        node[last] = value


def seed_run(cfg: CfgNode, *, eval_only: bool) -> None:
    """Seed everything random, each rank differently, as Detectron2's ``default_setup`` does."""
    seed_all_rng(cfg.SEED + comm.get_rank())
    if not eval_only:  # its search costs more than a small evaluation takes
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK


def record_run(cfg: CfgNode, args: argparse.Namespace, purpose: Purpose, log: RunLog) -> None:
    """Begin to write to OUTPUT_DIR, now that the command is accepted: log.txt, environment.txt, and config.yaml, which
    says what its checkpoints are of: an evaluation of them leaves it as it is and writes evaluation.yaml.
    """
    folder, logger = cfg.OUTPUT_DIR, logging.getLogger("detectron2")
    if comm.is_main_process():
        clear(folder, purpose)
    comm.synchronize()
    log.open(folder)
    logger.info("Rank of current process: %s. World size: %s", comm.get_rank(), comm.get_world_size())
    logger.info("Command line arguments: %s", args)
    if not comm.is_main_process():
        return
    path = os.path.join(folder, "evaluation.yaml" if args.eval_only and has_checkpoint(folder) else "config.yaml")
    files.atomic_write(path, cfg.dump().encode())
    files.atomic_write(os.path.join(folder, "environment.txt"), _environment().encode())
    if not args.eval_only:
        open(os.path.join(folder, METRICS), "a").close()  # from here on the run can be resumed
    logger.info("Full config saved to %s, environment to %s", path, os.path.join(folder, "environment.txt"))


def _environment() -> str:
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # a CUDA compiler without a GPU is no fault
    missing = "not built correctly: No module named 'detectron2._C'"
    return collect_env_info().replace(missing, "not built; this project needs none of its operators") + "\n"


def _check_options(opts: list[str]) -> None:
    for option in opts:
        if option.startswith("--"):
            raise UserError(
                f"Expected KEY VALUE pairs at the end of the command, found the flag {option} among them; put every "
                "--flag before the first KEY."
            )
    if len(opts) % 2:
        raise UserError(
            f"Expected KEY VALUE pairs, found {len(opts)} words ({' '.join(opts)}); give every key exactly one value."
        )
