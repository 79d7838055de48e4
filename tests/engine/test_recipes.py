"""CONTRIBUTING.md followed to the letter: its blocks are the files, and they have as many lines as it says."""

import json
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY
from tiny_runs import TINY

from gbw_panoptic import cli
from gbw_panoptic.config.trainers import TRAINERS
from gbw_panoptic.data import register_all
from gbw_panoptic.data.label_maps import read_label_map
from gbw_panoptic.data.preparation import prepare
from gbw_panoptic.engine import build_trainer
from gbw_panoptic.engine.setup import adapt_to_machine, load_config, register_data_sets
from gbw_panoptic.errors import UserError
from gbw_panoptic.losses import LOSS_REGISTRY
from gbw_panoptic.validation import validate
from gbw_panoptic.weighting import WEIGHTING_REGISTRY

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
#: Heading -> file -> text.
RECIPES = {
    section.splitlines()[0]: {
        name: text for _, name, text in re.findall(r"```(python|yaml) (\S+)\n(.*?)```", section, re.S)
    }
    for section in PAGE.split("\n## ")[1:]
}
REGISTRIES = (LOSS_REGISTRY, WEIGHTING_REGISTRY, SEM_SEG_HEADS_REGISTRY, BACKBONE_REGISTRY, META_ARCH_REGISTRY)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder beside configs/; what is registered and imported from it is forgotten."""
    known, modules = dict(TRAINERS), set(sys.modules)
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_obj_map", dict(registry._obj_map))
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    folder = tmp_path / "mine"
    folder.mkdir()
    for files in RECIPES.values():
        for name, text in files.items():
            (folder / name).write_text(text)
    yield folder
    TRAINERS.clear()
    TRAINERS.update(known)
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) and Path(sys.modules[name].__file__).parent == folder:
            del sys.modules[name]


@pytest.mark.parametrize("heading", RECIPES)
def test_a_recipe_takes_as_many_lines_as_it_says(heading):
    found = {"Python": 0, "YAML": 0}
    for name, text in RECIPES[heading].items():
        found["Python" if name.endswith(".py") else "YAML"] += sum(bool(line.strip()) for line in text.splitlines())
    said = {"Python": r"(\d+) lines of Python", "YAML": r"(\d+)(?: lines)? of YAML"}
    for language, words in said.items():
        number = re.search(words, heading)
        assert found[language] == (int(number[1]) if number else 0), language


def config_of(mine, name, *opts):
    words = [
        *TINY,
        "SOLVER.MAX_ITER",
        2,
        "TEST.EVAL_PERIOD",
        0,
        "MODEL.DEVICE",
        "cpu",
        "OUTPUT_DIR",
        mine / "run",
        *opts,
    ]
    cfg = load_config(str(mine / f"{name}.yaml"), [str(word) for word in words])
    adapt_to_machine(cfg)
    validate(cfg)
    (mine / "run").mkdir(exist_ok=True)
    return cfg


def followed(mine, name, *opts):
    """The trainer after a step, as `--import mine/<name>.py --config-file mine/<name>.yaml` makes it."""
    with pytest.raises(UserError, match="expected one of .*or register it first"):
        config_of(mine, name, *opts)
    cli.import_parts([str(mine / f"{name}.py")])
    trainer = build_trainer(config_of(mine, name, *opts))
    trainer.train(0, 1)
    return trainer


def test_a_pixel_loss(streets, mine):
    trainer = followed(mine, "poly", "WEIGHTING.SEMANTIC", "gbw")
    shaping = trainer.model.sem_seg_head.shaping
    nll = torch.rand(3, 4, 5, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(shaping.phi(nll).sum(), nll)
    torch.testing.assert_close(shaping.slope(nll), slope)
    assert type(shaping).__name__ == "Poly" and trainer.storage.latest()["source/loss_sem_seg"][0] > 0


def test_a_class_weighting(streets, mine):
    weighting = followed(mine, "twice").model.weightings["sem_seg"]
    count = torch.tensor([990.0, 9.0, 1.0])
    assert type(weighting).__name__ == "RareTwice" and weighting.class_weights(count, None, "source").tolist() == [
        1,
        2,
        2,
    ]


def test_a_taxonomy(mine, monkeypatch):
    """Images as the recipe describes them; its two files prepare, register and configure them."""
    meadow = mine / "meadow"
    for name in ("images", "panoptic", "drone"):
        (meadow / name).mkdir(parents=True)
    names = ("earth", "lawn", "meadow", "ewe", "livestock", "tractor")
    ids = np.repeat(np.arange(1, 7), 4)[None].repeat(24, 0)
    cv2.imwrite(str(meadow / "panoptic/a.png"), np.dstack([0 * ids, 0 * ids, ids]).astype(np.uint8))
    for folder in ("images", "drone"):
        cv2.imwrite(str(meadow / folder / "a.png"), np.zeros((24, 24, 3), np.uint8))
    segments = [{"id": i, "category_id": i, "iscrowd": 0} for i in range(1, 7)]
    categories = [{"id": i, "name": name, "isthing": int(i > 3)} for i, name in enumerate(names, start=1)]
    index = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": segments}],
    }
    (meadow / "panoptic.json").write_text(json.dumps({**index, "categories": categories}))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(mine))
    train, drone = prepare("meadow", mine, workers=1, custom=mine / "meadow.yaml", taxonomy=mine / "farm.yaml")
    assert not train.faults and train.void_categories == ("tractor",) and drone.prepared == 1
    data = (
        "DATASETS.CUSTOM",
        mine / "meadow.yaml",
        "DATASETS.TAXONOMY",
        mine / "farm.yaml",
        "DATASETS.TRAIN",
        "('meadow_panoptic_train',)",
    )
    target = (
        "DATASETS.TARGET",
        "('meadow_images_drone',)",
        "DATASETS.TEST",
        "('meadow_panoptic_train',)",
        "MODEL.DEVICE",
        "cpu",
    )
    words = [str(word) for word in (*TINY, *data, *target, "OUTPUT_DIR", mine / "run")]
    cfg = load_config(str(ROOT / "configs/quick/self_training_gbw.yaml"), words)
    register_data_sets(cfg)
    validate(cfg)
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 4 and cfg.TEST.PROTOCOLS == ("all",)
    (record,) = DatasetCatalog.get("meadow_panoptic_train")
    label = read_label_map(record, (24, 24), MetadataCatalog.get("meadow_panoptic_train").taxonomy)
    assert label.semantic[0, ::4].tolist() == [0, 1, 1, 2, 4, 255]
    monkeypatch.undo()
    register_all()


def test_a_head(streets, mine):
    head = followed(mine, "plain").model.sem_seg_head
    assert type(head).__name__ == "PlainSemSegHead" and all(p.grad is not None for p in head.parameters())


def test_a_backbone(streets, mine):
    backbone = followed(mine, "strided").model.backbone
    maps = backbone(torch.zeros(1, 3, 37, 70))
    assert {name: tuple(x.shape[2:]) for name, x in maps.items()} == {
        f"res{i + 2}": (-(-37 // s), -(-70 // s)) for i, s in enumerate((4, 8, 16, 32))
    }


def test_a_meta_architecture(streets, mine):
    (mine / "doubled.py").write_text(
        "from detectron2.modeling import META_ARCH_REGISTRY\n"
        "from gbw_panoptic.modeling import DomainAdaptivePanopticDeepLab\n\n"
        "@META_ARCH_REGISTRY.register()\n"
        "class Doubled(DomainAdaptivePanopticDeepLab):\n"
        "    def losses(self, *args, **options):\n"
        "        return {name: 2 * loss for name, loss in super().losses(*args, **options).items()}\n"
    )
    (mine / "doubled.yaml").write_text(
        "_BASE_: ../configs/quick/source_only.yaml\nMODEL: {META_ARCHITECTURE: Doubled}\n"
    )
    found = followed(mine, "doubled").storage.latest()
    plain = build_trainer(config_of(mine, "doubled", "MODEL.META_ARCHITECTURE", "DomainAdaptivePanopticDeepLab"))
    plain.train(0, 1)
    for name in ("source/loss_sem_seg", "source/loss_center", "source/loss_offset"):
        assert found[name][0] == 2 * plain.storage.latest()[name][0] > 0, name


def test_a_strategy(streets, mine):
    trainer = followed(mine, "mirror")
    assert type(trainer.strategy).__name__ == "Mirror" and trainer.storage.latest()["target/loss_mirror"][0] > 0
    with pytest.raises(UserError, match="DATASETS.TARGET: expected the unlabelled target of MirrorTrainer, found none"):
        config_of(mine, "mirror", "DATASETS.TARGET", "()")
    with pytest.raises(UserError, match="TEST.MODEL: expected student with MirrorTrainer, which has no teacher"):
        config_of(mine, "mirror", "TEST.MODEL", "teacher")


def test_a_data_set(mine):
    root = mine / "datasets"
    for folder in ("images", "ids", "drive"):
        (root / "town" / folder).mkdir(parents=True)
    labels = np.zeros((40, 60), np.uint8)
    labels[:20], labels[20:], labels[25:30, 10:30] = 2, 1, 3
    for path in ("images/a.png", "images/b.png", "drive/c.png"):
        cv2.imwrite(str(root / "town" / path), np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(root / "town" / "ids" / name), labels)
    (root / "custom.yaml").write_text((mine / "custom.yaml").read_text())
    for report in prepare("town", root, workers=1):
        assert not report.faults
    register_all(str(root))
    assert len(DatasetCatalog.get("town_sem_train")) == 2 and len(DatasetCatalog.get("town_images_drive")) == 1
    metadata = MetadataCatalog.get("town_sem_train")
    assert [metadata.taxonomy.names[c] for c in metadata.labelled_classes] == ["road", "building", "car"]


def test_an_optimizer_and_a_loader(streets, mine, make_cfg):
    from gbw_panoptic.data.loader import build_train_loader

    cli.import_parts([str(mine / "radam.py")])
    asked = []

    def make_loader(cfg, **parts):
        asked.append(parts)
        return build_train_loader(cfg, **parts)

    cfg = make_cfg("quick/source_only.yaml", *TINY)
    trainer = build_trainer(cfg, make_optimizer=sys.modules["radam"].radam, make_loader=make_loader)
    trainer.train(0, 1)
    assert isinstance(trainer.optimizer, torch.optim.RAdam) and asked == [{}]


@pytest.mark.parametrize("path, words", [("none.py", "found nothing"), ("torch.py", "another module of that name")])
def test_files_that_cannot_be_imported_are_refused(mine, path, words):
    (mine / "torch.py").write_text("")
    with pytest.raises(UserError, match=f"--import: expected .*{words}"):
        cli.import_parts([str(mine / path)])
