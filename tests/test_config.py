"""Configurations: every shipped one builds and trains, every contradiction is one sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from detectron2.data import MetadataCatalog

from gbw_panoptic.config import unread_keys
from gbw_panoptic.config_files import listing
from gbw_panoptic.data.register import register_all
from gbw_panoptic.engine import build_trainer
from gbw_panoptic.engine.saving import CheckpointSaver
from gbw_panoptic.engine.setup import load_config
from gbw_panoptic.errors import UserError, explained
from gbw_panoptic.modeling.backbones import swin
from gbw_panoptic.validation import validate

ROOT = Path(__file__).parents[1]
LEAVES = sorted(os.path.relpath(path, ROOT / "configs") for path, _ in listing())
#: Swaps any configuration to Streets at test scale: sizes, one image a batch, no weights, no evaluation, small
#: backbones.
SMALL = (
    "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "SOLVER.IMS_PER_BATCH", 1, "SOLVER.MAX_ITER", 2, "TEST.EVAL_PERIOD", 0,
    "SOLVER.ACCUMULATION_STEPS", 1, "INPUT.CROP.SIZE", "(64, 128)", "INPUT.MIN_SIZE_TRAIN", "(128,)",
    "INPUT.TARGET.MIN_SIZE_TRAIN", "(128,)",
    "DATASETS.TEST", "()", "DATALOADER.NUM_WORKERS", 0, "INPUT.TARGET.IGNORE_TOP", 2,
    "INPUT.TARGET.IGNORE_BOTTOM", 13, "ACTIVE.ITERATIONS", "(1,)",
    "MODEL.MIT.VARIANT", "b0", "MODEL.SWIN.VARIANT", "t", "MODEL.VIT.VARIANT", "dinov2_tiny",
    "MODEL.MASK2FORMER.NUM_POINTS", 256,
    "MODEL.MASK2FORMER.ENCODER_LAYERS", 1, "MODEL.MASK2FORMER.DECODER_LAYERS", 2, "MODEL.MASK2FORMER.HIDDEN_DIM", 64,
    "MODEL.MASK2FORMER.ENCODER_FEEDFORWARD_DIM", 64, "MODEL.MASK2FORMER.DECODER_FEEDFORWARD_DIM", 64,
    "MODEL.MASK2FORMER.NUM_QUERIES", 20, "ACTIVE.NUM_OVERLAYS", 1,
    "MODEL.SEM_SEG_HEAD.ASPP_CHANNELS", 8, "MODEL.SEM_SEG_HEAD.CONVS_DIM", 8, "MODEL.SEM_SEG_HEAD.HEAD_CHANNELS", 8,
    "MODEL.INS_EMBED_HEAD.ASPP_CHANNELS", 8, "MODEL.INS_EMBED_HEAD.CONVS_DIM", 8, "MODEL.INS_EMBED_HEAD.HEAD_CHANNELS",
    8,
)  # fmt: skip
#: A narrow ResNet-50; Detectron2 has the shallower ones in one width only.
NARROW = (
    "MODEL.RESNETS.STEM_OUT_CHANNELS",
    8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS",
    16,
    "MODEL.RESNETS.WIDTH_PER_GROUP",
    4,
)
#: Group norms have 32 groups.
GROUPED = [word for head in ("SEM_SEG_HEAD", "INS_EMBED_HEAD") for key in ("ASPP_CHANNELS", "CONVS_DIM", "HEAD_CHANNELS")
           for word in (f"MODEL.{head}.{key}", 32)]  # fmt: skip
#: Folders whose configurations differ from others' in sizes and names only (those of quick/ train in many other tests).
ALIKE = (
    "gta5_to_",
    "cityscapes_to_",
    "urbansyn_to_",
    "synthia_to_vistas",
    "synthia_to_camvid",
    "rendered_to_",
    "study",
    "quick",
)


@pytest.mark.parametrize(
    "config", [pytest.param(c, marks=pytest.mark.slow if c.startswith(ALIKE) or "dinov2" in c else ()) for c in LEAVES]
)
def test_every_config_trains_two_iterations(make_cfg, tmp_path, monkeypatch, config):
    monkeypatch.setitem(swin.VARIANTS, "t", (24, (1, 1, 1, 1), (1, 2, 4, 8)))
    target = ("DATASETS.TARGET", "('cityscapes_uda_images_train',)")
    given = make_cfg(config)
    source = (
        ("DATASETS.TRAIN", "('synthia_panoptic_train',)") if config.startswith(("urbansyn", "rendered")) else ()
    )  # Streets stands in for others
    source += ("ACTIVE.ANNOTATOR", "cityscapes_uda_panoptic_train") if given.ACTIVE.ANNOTATOR else ()
    sizes = (
        *(NARROW if given.MODEL.RESNETS.DEPTH == 50 else ()),
        *(GROUPED if given.MODEL.SEM_SEG_HEAD.NORM == "GN" else ()),
    )
    cfg = make_cfg(config, *SMALL, *source, *sizes, *(target if given.DATASETS.TARGET else ()))
    validate(cfg)
    trainer = build_trainer(cfg)
    trainer._hooks = [
        hook for hook in trainer._hooks if not isinstance(hook, CheckpointSaver)
    ]  # they have tests of their own
    trainer.train(0, 2)
    assert trainer.iter == 2 and (tmp_path / "run" / "metrics.json").stat().st_size > 0


@pytest.mark.parametrize("config", LEAVES)
def test_every_config_is_valid_and_validation_changes_nothing(make_cfg, monkeypatch, config):
    cfg = make_cfg(config)
    before = cfg.dump()
    monkeypatch.chdir(ROOT)
    if config.startswith("rendered"):  # own data sets: a user copies this description to the root
        register_all(custom="datasets/rendered_to_cityscapes256.yaml", taxonomy=cfg.DATASETS.TAXONOMY)
    validate(cfg)
    assert cfg.dump() == before and not unread_keys(cfg)


@pytest.mark.parametrize(
    "config, opts, words",
    [
        ("source_only", ("MODEL.TASK", "instance"), "MODEL.TASK: expected one of panoptic, semantic, found 'instance'"),
        ("source_only", ("TRAINER.NAME", "GANTrainer"), "TRAINER.NAME: expected one of"),
        ("source_only", ("WEIGHTING.SEMANTIC", "gwb"), "WEIGHTING.SEMANTIC: expected one of none"),
        (
            "source_only",
            ("WEIGHTING.CENTER", "focal"),
            "WEIGHTING.CENTER: expected one of none.*pixel loss: set .*LOSS_TYPE focal",
        ),
        (
            "source_only",
            ("MODEL.SEM_SEG_HEAD.LOSS_TYPE", "gbw"),
            "expected one of cross_entropy.*class weighting: set WEIGHTING.SEMANTIC gbw",
        ),
        ("source_only", ("MODEL.SEM_SEG_HEAD.LOSS_TYPE", "ldam"), "LOSS_TYPE: expected one of cross_entropy"),
        ("source_only", ("MODEL.SEM_SEG_HEAD.SEESAW_Q", -1.0), "SEESAW_Q: expected a number of at least 0, found -1.0"),
        ("source_only", ("WEIGHTING.EFFECTIVE_NUMBER_SHARE", 0.0), "EFFECTIVE_NUMBER_SHARE: expected a share"),
        ("source_only", ("WEIGHTING.LOG_INVERSE_K", 0.5), "LOG_INVERSE_K: expected a number of at least 1"),
        ("source_only", ("WEIGHTING.SEMANTIC", "manual", "WEIGHTING.CLASS_WEIGHTS", "(1.0,)"), "expected 19.*found 1;"),
        (
            "source_only",
            ("WEIGHTING.SEMANTIC", "manual", "WEIGHTING.CLASS_WEIGHTS", [-1.0] * 19),
            "CLASS_WEIGHTS: expected a list of values, each a number of at least 0, found -1.0",
        ),
        ("source_only", ("WEIGHTING.SEMANTIC", "manual", "WEIGHTING.CLASS_WEIGHTS", [0.0] * 19), "one of them above 0"),
        (
            "source_only",
            ("WEIGHTING.BRANCHES", "('sorce',)"),
            "WEIGHTING.BRANCHES: expected a list of .*one of source, mixed, masked, target, found 'sorce'",
        ),
        (
            "source_only",
            ("WEIGHTING.SEMANTIC", "gbw", "WEIGHTING.BRANCHES", "()"),
            "and WEIGHTING.SEMANTIC gbw, found none",
        ),
        (
            "source_only",
            ("WEIGHTING.SEMANTIC", "gbw", "WEIGHTING.BRANCHES", "('mixed',)"),
            "expected some of source with .*found mixed",
        ),
        (
            "self_training",
            ("WEIGHTING.SEMANTIC", "gbw", "WEIGHTING.BRANCHES", "('target',)"),
            "some of source, mixed.*found target",
        ),
        ("source_only", ("WEIGHTING.CLASS_WEIGHTS", "(1.0, 2.0)"), "expected \\(\\) where no head's.*found 2 numbers"),
        ("source_only", ("GBW.LAMBDA", 0.0), "GBW.LAMBDA: expected a number above 0, found 0.0"),
        ("source_only", ("GBW.MOMENTUM", 1.0), "GBW.MOMENTUM"),
        ("source_only", ("SEED", -1), "SEED: expected an integer of at least 0, found -1"),
        (
            "source_only",
            ("MODEL.META_ARCHITECTURE", "PanopticFPN"),
            "META_ARCHITECTURE: expected one of Domain.*'PanopticFPN'",
        ),
        (
            "source_only",
            ("WEIGHTING.MASK", "gbw"),
            "WEIGHTING.MASK: expected none with .*DeepLab, which has no such loss",
        ),
        (
            "mask2former_source_only",
            ("WEIGHTING.SEMANTIC", "gbw"),
            "WEIGHTING.SEMANTIC: expected none.*CLASSIFICATION and MASK",
        ),
        (
            "mask2former_source_only",
            ("WEIGHTING.CLASSIFICATION", "manual", "WEIGHTING.CLASS_WEIGHTS", "(1.0, 2.0)"),
            "CLASS_WEIGHTS: expected 19 numbers.*found 2;",
        ),
        (
            "mask2former_source_only",
            ("MODEL.SEM_SEG_HEAD.LOSS_TYPE", "focal"),
            "LOSS_TYPE: expected cross_entropy with",
        ),
        (
            "mask2former_source_only",
            ("MODEL.AUXILIARY_HEAD.ENABLED", True),
            "AUXILIARY_HEAD.ENABLED: expected False with",
        ),
        ("mask2former_source_only", ("ADVERSARIAL.ALIGN_INSTANCES", True), "ALIGN_INSTANCES: expected False with"),
        ("mask2former_source_only", ("SELF_TRAINING.INSTANCE_LOSSES", True), "INSTANCE_LOSSES: expected False with"),
        ("mask2former_source_only", ("TRAINER.NAME", "ActiveTrainer"), "expected one that trains on whole segments"),
        (
            "mask2former_source_only",
            ("TRAINER.NAME", "EntropyMinimizationTrainer", "WEIGHTING.TARGET", "gbw", "GBW.GRADIENT", "last_layer"),
            "GBW.GRADIENT: expected logits or pixel.*found 'last_layer'",
        ),
        ("mask2former_source_only", ("MODEL.MASK2FORMER.HIDDEN_DIM", 100), "HIDDEN_DIM: expected a multiple of 32"),
        (
            "mask2former_source_only",
            ("MODEL.MASK2FORMER.NUM_QUERIES", 0),
            "NUM_QUERIES: expected an integer in 1..16384, found 0",
        ),
        ("mask2former_source_only", ("MODEL.MASK2FORMER.OBJECT_THRESHOLD", 2.0), "OBJECT_THRESHOLD: expected a share"),
        (
            "mask2former_source_only",
            ("MODEL.MASK2FORMER.OVERSAMPLE_RATIO", 0.5),
            "OVERSAMPLE_RATIO: expected a number in 1..1000",
        ),
        (
            "mask2former_source_only",
            ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "model"),
            "CLIP_TYPE: expected one of value, norm",
        ),
        (
            "source_only",
            ("DATASETS.TRAIN", "('synthia',)"),
            "such as synthia_panoptic_train, .*, found 'synthia'; correct the name",
        ),
        ("source_only", ("DATASETS.TRAIN", "()"), "DATASETS.TRAIN: expected at least one"),
        ("source_only", ("DATASETS.TRAIN", "('gta5_sem_train',)"), "semantic labels only"),
        ("source_only", ("DATASETS.TRAIN", "('cityscapes_uda_images_train',)"), "TRAIN: .*which is images alone"),
        ("source_only", ("DATASETS.TEST", "('cityscapes_uda_images_train',)"), "TEST: .*which is images alone"),
        ("source_only", ("DATASETS.CUSTOM", "(1,)"), "CUSTOM: expected the path of a YAML file, or '', found .1,."),
        ("source_only", ("MODEL.SEM_SEG_HEAD.NUM_CLASSES", 16), "NUM_CLASSES: expected 19.*found 16"),
        ("source_only", ("DATASETS.TARGET", "('cityscapes_uda_images_train',)"), "never looks at it"),
        ("source_only", ("MODEL.WEIGHTS", "nowhere.pth"), "found nothing at nowhere.pth"),
        ("source_only", ("TEST.MODEL", "teacher"), "has no teacher"),
        ("source_only", ("TEST.PROTOCOLS", "('17',)"), "one of 19, 16, 16-ignore, 13, found '17'"),
        (
            "source_only",
            ("SOLVER.OPTIMIZER", "SGD", "SOLVER.NESTEROV", True, "SOLVER.MOMENTUM", 0),
            "NESTEROV: expected False with",
        ),
        (
            "source_only",
            ("INPUT.MIN_SIZE_TRAIN", "(9, 8)", "INPUT.MIN_SIZE_TRAIN_SAMPLING", "range"),
            "the two ends of a range",
        ),
        ("source_only", ("INPUT.MAX_SIZE_TEST", 0), "MAX_SIZE_TEST: expected at least 1 pixel"),
        (
            "source_only",
            ("MODEL.RESNETS.RES2_OUT_CHANNELS", 256),
            "RES2_OUT_CHANNELS: expected 64 with DEPTH 18, found 256",
        ),
        ("source_only", ("MODEL.RESNETS.RES5_DILATION", 4), "RES5_DILATION: expected 1 with DEPTH 18, found 4"),
        ("source_only", ("MODEL.RESNETS.NUM_GROUPS", 3), "NUM_GROUPS: expected 1 with DEPTH 18"),
        (
            "source_only",
            ("MODEL.RESNETS.DEFORM_ON_PER_STAGE", [True] * 4),
            "DEFORM_ON_PER_STAGE: expected False in all",
        ),
        (
            "source_only",
            ("MODEL.RESNETS.NORM", "GN", "MODEL.RESNETS.STEM_OUT_CHANNELS", 30),
            "STEM_OUT_.* multiple of 32 with",
        ),
        (
            "source_only",
            ("MODEL.BACKBONE.NAME", "build_resnet_deeplab_backbone"),
            "RESNETS.DEPTH: expected 50, 101 or 152",
        ),
        (
            "source_only",
            (
                "MODEL.BACKBONE.NAME",
                "build_resnet_deeplab_backbone",
                "MODEL.RESNETS.DEPTH",
                50,
                "MODEL.RESNETS.RES4_DILATION",
                2,
            ),
            "RES5_DILATION: expected 4 with RES4_DILATION 2",
        ),
        ("source_only", ("MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone"), "BACKBONE.NAME: expected one of"),
        ("source_only", ("MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS", "(8,)"), "PROJECT_CHANNELS: expected 2 numbers"),
        ("source_only", ("MODEL.SEM_SEG_HEAD.IN_FEATURES", "('res5',)"), "PROJECT_CHANNELS: expected 0 numbers"),
        ("source_only", ("MODEL.INS_EMBED_HEAD.ASPP_DILATIONS", "(1,)"), "INS_EMBED_HEAD.ASPP_DILATIONS: expected 3"),
        (
            "source_only",
            ("MODEL.SEM_SEG_HEAD.NORM", "GN", "MODEL.SEM_SEG_HEAD.HEAD_CHANNELS", 30),
            "HEAD_CHANNELS: .* multiple of 32",
        ),
        (
            "source_only",
            ("MODEL.WEIGHTS", "resnet50-11ad3fa6.pth"),
            "nothing at resnet50.*download https://download.pytorch.org",
        ),
        ("source_only", ("TEST.PROTOCOLS", "('13',)"), "semantic only"),
        ("source_only", ("MODEL.TASK", "semantic", "TEST.INSTANCE_AP", True), "predicts no instances"),
        ("source_only", ("MODEL.TASK", "semantic", "WEIGHTING.CENTER", "gbw"), "no such head"),
        ("source_only", ("INPUT.FOURIER.ENABLED", True), "whose style INPUT.FOURIER.ENABLED takes, found none"),
        ("self_training", ("INPUT.FOURIER.BETA", 0.6), "INPUT.FOURIER.BETA"),
        ("self_training", ("DATASETS.TARGET", "()"), "DATASETS.TARGET: expected the unlabelled target"),
        ("self_training", ("SELF_TRAINING.EMA_DECAY", 1.0), "EMA_DECAY"),
        ("self_training", ("SELF_TRAINING.QUALITY", "pixel"), "QUALITY"),
        ("self_training", ("SELF_TRAINING.SELECTION", "hard"), "SELECTION: expected one of quality, threshold"),
        ("self_training", ("SELF_TRAINING.INSTANCE_QUALITY", "image"), "INSTANCE_QUALITY: expected one of pixel"),
        ("self_training", ("SELF_TRAINING.CONFIDENCE_THRESHOLD", 1.5), "CONFIDENCE_THRESHOLD"),
        ("self_training", ("SELF_TRAINING.CLASS_PERCENTILE.PERCENTILE", 101.0), "PERCENTILE: expected a number"),
        ("self_training", ("SELF_TRAINING.MASKED.RATIO", 70.0), "MASKED.RATIO"),
        ("self_training", ("SELF_TRAINING.MASKED.BLOCK_SIZE", 0), "MASKED.BLOCK_SIZE"),
        ("self_training", ("SELF_TRAINING.FEATURE_DISTANCE.MIN_SHARE", 0.5), "MIN_SHARE"),
        (
            "self_training",
            (
                "SELF_TRAINING.FEATURE_DISTANCE.ENABLED",
                True,
                "SELF_TRAINING.FEATURE_DISTANCE.CLASSES",
                "('person', 'tram')",
            ),
            "found 'tram'; correct it",
        ),
        ("source_only", ("SELF_TRAINING.MASKED.ENABLED", True), "expected False with SourceOnlyTrainer"),
        ("self_training", ("MODEL.TASK", "semantic", "SELF_TRAINING.INSTANCE_LOSSES", True), "which has no instances"),
    ],
)
def test_contradictions_are_one_sentence(make_cfg, config, opts, words):
    with pytest.raises(UserError, match=words) as caught:
        validate(make_cfg(f"quick/{config}.yaml", *opts))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "opts",
    [
        ("WEIGHTING.SEMANTIC", "effective_number"),
        ("WEIGHTING.OFFSET", "log_inverse"),
        ("MODEL.SEM_SEG_HEAD.LOSS_TYPE", "logit_adjustment"),
    ],
)
def test_comparators_that_count_pixels_want_a_source_with_statistics(make_cfg, opts):
    cfg = make_cfg("quick/source_only.yaml", *opts)
    validate(cfg)
    delattr(MetadataCatalog.get(cfg.DATASETS.TRAIN[0]), "class_statistics")
    with pytest.raises(UserError, match=f"class statistics for {opts[1]}, found 'synthia_panoptic_train' without"):
        validate(cfg)


def test_a_protocol_is_refused_with_those_that_work_and_only_where_something_is_averaged(make_cfg):
    cfg = make_cfg("quick/source_only.yaml", "TEST.PROTOCOLS", "('13',)", "MODEL.TASK", "semantic")
    validate(cfg)
    metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
    labelled = tuple(c for c in metadata.labelled_classes if metadata.taxonomy.names[c] not in ("wall", "rider"))
    delattr(metadata, "labelled_classes")
    metadata.labelled_classes = labelled
    with pytest.raises(UserError, match="expected some of '19', over classes .*found '13', .*over rider that synthia"):
        validate(cfg)
    cfg.DATASETS.TEST = ()
    validate(cfg)


def test_protocol_16_with_an_output_that_cannot_be_written(make_cfg, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="OUTPUT_DIR: expected a folder"):
        validate(make_cfg("quick/source_only.yaml", "OUTPUT_DIR", tmp_path / "file" / "run"))


@pytest.mark.parametrize(
    "config, opts, words",
    [
        ("missing.yaml", (), "found nothing at"),
        (None, ("GBW.LAMDA", "1"), "found 'GBW.LAMDA'.*did you mean GBW.LAMBDA"),
        (None, ("GBW.LAMBDA", "much"), "GBW.LAMBDA: expected a number above 0, found 'much' in the command line"),
        (None, ("GBW.LAMBDA",), "exactly one value"),
        (None, ("GBW.LAMBDA", "1", "--resume", "x"), "put every --flag before the first KEY"),
    ],
)
def test_wrong_command_lines_are_one_sentence(config, opts, words):
    with pytest.raises(UserError, match=words):
        load_config(config or "", list(opts))


@pytest.mark.parametrize(
    "text, words",
    [
        ("GBW:\n  LAMDA: 1.0\n", "GBW.LAMDA"),
        ("GBW: 3\n", "GBW"),
        ("GBW:\n  - [\n", "plain values"),
        ("MODEL: !!python/object/apply:os.system ['true']\n", "python/object"),
    ],
)
def test_wrong_files_are_one_sentence_and_execute_nothing(tmp_path, text, words):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        load_config(str(path), [])


def test_the_tool_exits_with_2_and_without_a_traceback(streets_root, tmp_path):
    """One real process; everything else is tested in this one."""
    done = subprocess.run(
        [sys.executable, "tools/train_net.py", "--config-file", "configs/quick/source_only.yaml",
         "OUTPUT_DIR", str(tmp_path / "run"), "DATASETS.TRAIN", "('gta5_sem_train',)"],
        cwd=ROOT, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT),
                                                       "DETECTRON2_DATASETS": str(streets_root)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "semantic labels only" in done.stderr and "Traceback" not in done.stderr + done.stdout


def test_one_value_of_a_channel_is_a_sentence():
    """torch's own words, so that another version of it is noticed."""
    with pytest.raises(ValueError) as caught:
        torch.nn.BatchNorm2d(3).train()(torch.zeros(1, 3, 1, 1))
    assert "NORM BN" in str(explained(caught.value)) and explained(ValueError("another")) is None
