"""The table: every configuration key that is read, in the order of docs/configuration.md."""

from types import MappingProxyType

from . import active_keys, adaptation_keys, data_keys, model_keys, solver_keys, weighting_keys
from .key import Key

#: Title of a part -> its rows.
PARTS: dict[str, tuple[Key, ...]] = {
    "Run": solver_keys.RUN,
    "Network": model_keys.MODEL,
    "Backbones": model_keys.BACKBONES,
    "Panoptic-DeepLab": model_keys.PANOPTIC_DEEPLAB,
    "Semantic head": model_keys.SEMANTIC_HEAD,
    "Instance head": model_keys.INSTANCE_HEAD,
    "Auxiliary head": model_keys.AUXILIARY_HEAD,
    "Mask2Former": model_keys.MASK2FORMER,
    "Data sets": data_keys.DATASETS,
    "Images": data_keys.INPUT,
    "Loader": data_keys.DATALOADER,
    "Optimisation": solver_keys.SOLVER,
    "Class weights": weighting_keys.WEIGHTING,
    "Gradient-based class weighting": weighting_keys.GBW,
    "Trainer": adaptation_keys.TRAINER,
    "Self-training": adaptation_keys.SELF_TRAINING,
    "Self-training of segments": adaptation_keys.SEGMENTS,
    "Alignment": adaptation_keys.ADVERSARIAL,
    "Entropy minimisation": adaptation_keys.ENTROPY,
    "Active learning": active_keys.ACTIVE,
    "Evaluation": data_keys.TEST,
}
#: Name -> row.
KEYS = MappingProxyType({key.name: key for rows in PARTS.values() for key in rows})
