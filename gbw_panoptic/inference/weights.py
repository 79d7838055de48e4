"""Which files a model comes from, and tensors that fit it or are refused."""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode, get_cfg
from detectron2.data import MetadataCatalog
from torch import Tensor, nn, tensor

from .. import files
from ..config import add_gbw_panoptic_config, merge_list, merge_settings
from ..data import register_all
from ..engine.checkpoint import load_weights
from ..engine.description import Description
from ..engine.reading import LAST, last_checkpoint, read_checkpoint
from ..engine.settings import checked
from ..engine.setup import adapt_to_taxonomy, load_config
from ..errors import UserError, about
from ..weighting import BRANCHES

#: Files of a folder that tools/export.py writes.
CONFIG, WEIGHTS = "config.json", "model.safetensors"
_FORM = {
    "settings": files.Each(object),
    "description": files.Each(object),
    "model": str,
    "about?": files.Each(object),
    "class_weights?": [float],
}
#: Beginnings of the settings on which a prediction depends.
_OF_MODELS = ("MODEL.", "INPUT.", "TEST.MODEL", "TEST.TAU", "DATASETS.TRAIN", "DATASETS.CUSTOM", "DATASETS.TAXONOMY")
_KEYS = {"student": "model", "teacher": "teacher"}


@dataclass(frozen=True)
class ModelFile:
    """A trained model as it lies on a disk.

    Attributes:
        path: of the weights.
        config_file: of the training; "" where the weights bring their settings along.
    """

    path: str
    config_file: str = ""

    @classmethod
    def find(cls, path: str | Path) -> "ModelFile":
        """Of a run's OUTPUT_DIR, of a folder that tools/export.py wrote, or of a file.

        Raises:
            UserError: there is none.
        """
        path = Path(path)
        if Path(path, WEIGHTS).is_file():
            return cls(str(path / WEIGHTS))
        if path.is_dir():
            config, weights = find_run(str(path))
            return cls(weights, config)
        if not path.is_file():
            raise UserError(
                f"expected a run's OUTPUT_DIR, a folder of tools/export.py or a .pth file, found nothing at {path}; "
                "correct the path, or call from_pretrained for a name on the Hugging Face Hub"
            )
        file, beside = cls(str(path)), path.parent / "config.yaml"
        return cls(str(path), str(beside)) if "settings" not in file.contents and beside.is_file() else file

    @cached_property
    def contents(self) -> Mapping[str, Any]:
        """Of a checkpoint: ``model`` and perhaps ``teacher``, ``settings`` and ``description``; read once.

        Raises:
            UserError: the file is absent or damaged.
        """
        contents = read_checkpoint(self.path)
        beside = Path(self.path).with_name(CONFIG)
        if not self.path.endswith(".safetensors") or not beside.is_file():
            return contents
        described = files.read_json(beside, _FORM, remedy="export the model again")
        if described.get("sha256") not in (None, files.sha256(self.path)):
            raise UserError(
                f"expected the weights that {beside} describes, found other bytes in {self.path}; copy the folder again"
            )
        return {
            _KEYS.get(described["model"], "model"): contents["model"],
            **{k: v for k, v in described.items() if k != "model"},
        }

    @property
    def description(self) -> Description | None:
        """Classes of the model; None in files of older versions."""
        value = self.contents.get("description")
        return None if value is None else Description.from_plain(value, self.path)

    def class_weights(self, name: str) -> Tensor | None:
        """[C] mean class weights of the source in the semantic loss, which TEST.TAU takes back; None where there were
        none, or WEIGHTING.PRIOR names frequencies, which lie with the data sets.

        Args:
            name: ``student`` or ``teacher``.
        """
        if "class_weights" in self.contents:
            return tensor(self.contents["class_weights"])
        settings, state = self.contents.get("settings", {}), self.contents[_KEYS[name]]
        if settings.get("WEIGHTING.PRIOR") == "frequencies" or "source" not in settings.get(
            "WEIGHTING.BRANCHES", BRANCHES
        ):
            return None
        means = state.get("weightings.sem_seg.mean_weights")
        return state.get("weightings.sem_seg.weights") if means is None else means[BRANCHES.index("source")]

    def choose(self, name: str | None, default: str) -> str:
        """Whether the student or the teacher predicts.

        Args:
            name: of the two, the wanted one; None: ``default`` if the file holds it, else the one that it holds.

        Raises:
            UserError: the file lacks the wanted one.
        """
        held = [model for model, key in _KEYS.items() if key in self.contents]
        if name is None and default not in held:
            logging.getLogger("gbw_panoptic").warning("%s holds no %s: the %s predicts.", self.path, default, held[0])
        name = name or (default if default in held else held[0])
        if name not in held:
            wanted = " or ".join(held)
            raise UserError(f"model {name}: expected {wanted}, as {self.path} holds, found {name}; take {held[0]}.")
        return name


def build_model_config(file: ModelFile, opts: Sequence[str] = ()) -> CfgNode:
    """The configuration with which a model predicts: that of its training, or what its weights bring along of it.

    DATASETS.TRAIN becomes the name of the model's own classes, so that no data set needs to be there.

    Args:
        opts: ``KEY VALUE`` pairs.

    Raises:
        UserError: the file has no settings, or no description of its classes and the data sets of its training are not
            there.
    """
    if file.config_file:
        cfg = load_config(file.config_file, list(opts))
    else:
        cfg = _of_settings(file)
        merge_list(cfg, opts)
    cfg.MODEL.WEIGHTS = ""  # of the beginning of training
    description = file.description
    taxonomy = _of_catalog(cfg.DATASETS) if description is None else description.taxonomy
    adapt_to_taxonomy(cfg, taxonomy)
    cfg.DATASETS.TRAIN = (_registered(taxonomy),)
    return cfg


def _of_settings(file: ModelFile) -> CfgNode:
    if "settings" not in file.contents:
        raise UserError(
            f"expected the settings of the training in {file.path}, found none, as in files of older versions; give "
            "the configuration (--config-file), or the folder of the run."
        )
    cfg = get_cfg()
    add_gbw_panoptic_config(cfg)
    settings = checked(file.contents["settings"])
    merge_settings(cfg, {key: value for key, value in settings.items() if key.startswith(_OF_MODELS)}, file.path)
    return cfg


def _of_catalog(data_sets: CfgNode) -> Any:
    """The classes of the first registered source of DATASETS."""
    register_all(custom=data_sets.CUSTOM, taxonomy=data_sets.TAXONOMY)
    sources = data_sets.TRAIN
    known = sources and sources[0] in MetadataCatalog.list()
    taxonomy = MetadataCatalog.get(sources[0]).get("taxonomy") if known else None
    if taxonomy is None:
        raise UserError(
            f"DATASETS.TRAIN: expected a registered data set, whose classes the model has, found {list(sources)}; "
            "describe it in datasets/custom.yaml: checkpoints of older versions do not hold their classes."
        )
    return taxonomy


def _registered(taxonomy: Any) -> str:
    """The name in Detectron2's catalog of the classes of a model."""
    name = f"classes of a model: {taxonomy.name} {hashlib.sha256(repr(taxonomy).encode()).hexdigest()[:12]}"
    if name not in MetadataCatalog.list():
        MetadataCatalog.get(name).set(
            taxonomy=taxonomy, ignore_label=taxonomy.ignore_label, label_divisor=taxonomy.label_divisor
        )
    return name


def find_run(folder: str) -> tuple[str, str]:
    """Configuration and last checkpoint of a run's OUTPUT_DIR, or of the ``run`` folder in it (tools/demo.py).

    Raises:
        UserError: one of the two files is absent.
    """
    for run in (Path(folder), Path(folder, "run")):
        config = run / "config.yaml"
        if not config.is_file():
            continue
        weights = run / "model_final.pth"
        with about("--run"):
            if os.path.lexists(run / LAST) or not weights.is_file():
                weights = Path(last_checkpoint(run) or weights)
        if not weights.is_file():
            raise UserError(f"--run: expected a checkpoint at {weights}, found none; train until the first is saved.")
        return str(config), str(weights)
    raise UserError(
        f"--run: expected the OUTPUT_DIR of a run, with config.yaml and a checkpoint, found none at {folder}; correct "
        "the path, or give --config-file and --weights."
    )


def load_for_prediction(
    model: nn.Module,
    file: ModelFile | str,
    name: str | None,
    *,
    default: str,
    settings: Mapping[str, object] | None = None,
) -> str:
    """Load the student or the teacher of a checkpoint into ``model``, every tensor of it.

    Args:
        name: ``student`` or ``teacher``; None: ``default`` if the checkpoint holds it, else the student.
        settings: with which the model predicts, to be compared with those of the checkpoint.

    Returns:
        which of the two it was.

    Raises:
        UserError: the checkpoint lacks this model, or does not fit: with some weights random, predictions mean nothing.
    """
    file = ModelFile(file) if isinstance(file, str) else file
    name = file.choose(name, default)
    load_weights(model, file.contents, file.path, part=_KEYS[name], settings=settings)
    return name
