"""The model card of a published model: what it is, what it was trained on, how it scores, and under which terms."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import get_cfg

from .. import files
from ..config import add_gbw_panoptic_config, merge_file
from ..engine.settings import flattened
from ..errors import UserError
from ..forms import Each, misfit
from .weights import WEIGHTS, ModelFile

#: Beginning of a data set's name -> its publisher's name and terms, in a few words; datasets/README.md has more.
TERMS = {
    "synthia": ("SYNTHIA-RAND-CITYSCAPES", "CC BY-NC-SA 3.0, for research only"),
    "gta5": ("GTA5 (Playing for Data)", "research and education only"),
    "cityscapes": ("Cityscapes", "its own licence: non-commercial use, no redistribution"),
    "foggy": ("Foggy Cityscapes", "the licence of Cityscapes"),
    "vistas": ("Mapillary Vistas", "CC BY-NC-SA, research use"),
}
_SCORES = {"model": str, "dataset": str, "scores": Each(Each(object))}
_METRICS = {"panoptic": ("PQ", "SQ", "RQ", "PQ_things", "PQ_stuff"), "semantic": ("mIoU",)}
_LEARNT = {
    "trainer": "TRAINER.NAME", "sources": "DATASETS.TRAIN", "targets": "DATASETS.TARGET",
    "class weights": "WEIGHTING.SEMANTIC",
    "iterations": "SOLVER.MAX_ITER", "images in a step": "SOLVER.IMS_PER_BATCH", "learning rate": "SOLVER.BASE_LR",
    "seed": "SEED",
}  # fmt: skip


def training_facts(file: ModelFile, model: str) -> dict[str, Any]:
    """What a run says of itself: ``training`` (fact -> value) and ``scores`` (of each protocol of each test set)."""
    settings = _settings(file)
    training = {name: _plain(settings[key]) for name, key in _LEARNT.items() if settings.get(key) not in (None, (), "")}
    found = [_evaluation(path, model) for path in sorted(Path(file.path).parent.glob("inference/**/*.json"))]
    return {"training": training, "scores": [score for scores in found for score in scores]}


def model_card(config: Mapping[str, Any], *, parameters: int, bytes: int, licence: str = "other") -> str:
    """Markdown with the metadata of the Hugging Face Hub at its top.

    Args:
        config: the content of config.json.
        parameters, bytes: how many numbers the weights are, and the size of their file.
        licence: an SPDX identifier; ``other``: the terms that the card lists.
    """
    about, names = config["about"], config["description"]["taxonomy"]["names"]
    head = yaml.safe_dump(_metadata(about, licence), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{head}---\n# Panoptic segmentation with {config['settings']['MODEL.META_ARCHITECTURE']}",
        f"The {config['model']} of a training with {config['library']}. It predicts {len(names)} classes: "
        f"{', '.join(names)}.",
        '## Use\n\n    from gbw_panoptic import load\n    model = load("this folder")\n    result = '
        'model.predict("image.jpg")\n    result.save("image_overlay.png")',
        "## Training\n\n"
        + "\n".join(f"- {name}: {_shown(value)}" for name, value in about.get("training", {}).items()),
        "## Scores\n\n" + (_score_table(about.get("scores", [])) or "The run was not evaluated."),
        "## Terms\n\n" + "\n".join(_terms(about)),
        f"## File\n\n`{WEIGHTS}` holds {parameters:,} numbers ({bytes / 2**20:.1f} MB). Its SHA-256 is "
        f"`{config['sha256']}`.",
        "## Limits\n\nThe scores hold for images like those of the test set. The model knows no other classes and "
        "takes what it has never seen for one of these.",
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(about: Mapping[str, Any], licence: str) -> dict[str, Any]:
    terms = {"license": licence}
    if licence == "other":
        terms |= {"license_name": "terms-of-the-training-data", "license_link": "README.md"}
    results = [
        {
            "task": {"type": "image-segmentation", "name": f"{score['task']} segmentation"},
            "dataset": {"type": score["dataset"], "name": score["dataset"], "config": f"protocol {score['protocol']}"},
            "metrics": [{"type": name, "value": value} for name, value in score["metrics"].items()],
        }
        for score in about.get("scores", [])
    ]
    tags = ["panoptic-segmentation", "domain-adaptation", "detectron2"]
    index = {"model-index": [{"name": "gbw-panoptic", "results": results}]} if results else {}
    return {**terms, "library_name": "gbw-panoptic", "pipeline_tag": "image-segmentation", "tags": tags, **index}


def _terms(about: Mapping[str, Any]) -> Iterator[str]:
    training = about.get("training", {})
    sets = [*training.get("sources", []), *training.get("targets", [])]
    known = dict.fromkeys(TERMS[start] for name in sets for start in TERMS if name.startswith(start))
    yield "The code is under Apache-2.0. The weights carry the terms of what they were trained on:\n"
    yield from (f"- {title}: {terms}." for title, terms in known)
    others = [name for name in sets if not name.startswith(tuple(TERMS))]
    yield from (f"- {name}: ask its owner." for name in others)
    if not sets:
        yield "- The file does not say what that was."
    yield "- Pretrained backbones carry the terms of their publisher."


def _score_table(scores: list[Mapping[str, Any]]) -> str:
    rows = [
        f"| {score['dataset']} | {score['protocol']} | "
        + ", ".join(f"{name} {value:.1f}" for name, value in score["metrics"].items()) + " |"
        for score in scores
    ]  # fmt: skip
    return "\n".join(["| data set | protocol | scores |", "|---|---|---|", *rows]) if rows else ""


def _evaluation(path: Path, model: str) -> list[dict[str, Any]]:
    """Scores of a result file, if it is one of this model."""
    try:
        value = files.read_json(path)
    except UserError:
        return []
    if misfit(value, _SCORES) or value["model"] != model:
        return []
    return [
        {"dataset": value["dataset"], "task": task, "protocol": protocol, "metrics": _numbers(scores, _METRICS[task])}
        for task, protocols in value["scores"].items()
        if task in _METRICS
        for protocol, scores in protocols.items()
    ]


def _numbers(scores: Any, names: tuple[str, ...]) -> dict[str, float]:
    return {
        name: round(scores[name], 2)
        for name in names
        if isinstance(scores, Mapping) and isinstance(scores.get(name), (int, float))
    }


def _settings(file: ModelFile) -> dict[str, Any]:
    """Settings of the training, from the weights or from the configuration file."""
    if "settings" in file.contents:
        return dict(file.contents["settings"])
    cfg = get_cfg()
    add_gbw_panoptic_config(cfg)
    merge_file(cfg, file.config_file)
    return flattened(cfg)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
