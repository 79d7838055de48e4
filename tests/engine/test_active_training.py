"""The active trainer end to end on Streets: resume, what training may read, GBW, contradictions."""

import pytest
import torch
import train_net
from test_training import FAST, metrics, states, train
from tiny_runs import NARROW, TINY

from gbw_panoptic.active.label_store import NOT_BOUGHT
from gbw_panoptic.data import known_instances, loader
from gbw_panoptic.engine.acquisition import build_label_store
from gbw_panoptic.engine.build import build_models
from gbw_panoptic.errors import UserError
from gbw_panoptic.validation import validate

SHORT = (*FAST, "ACTIVE.NUM_OVERLAYS", 1, "SOLVER.MAX_ITER", 4, "ACTIVE.ITERATIONS", "(1, 3)",
         "SOLVER.CHECKPOINT_PERIOD", 2,
         "INPUT.MIN_SIZE_TEST", 32, "INPUT.MAX_SIZE_TEST", 64)  # fmt: skip
GBW = ("WEIGHTING.SEMANTIC", "gbw", "WEIGHTING.CENTER", "gbw", "WEIGHTING.OFFSET", "gbw")
SELF_TRAINING = ("ACTIVE.SELF_TRAINING", True, "SELF_TRAINING.MASKED.ENABLED", True, "SELF_TRAINING.MASKED.BLOCK_SIZE",
                 16,
                 "TEST.MODEL", "teacher")  # fmt: skip
PANOPTIC = ("ACTIVE.PANOPTIC", True)


@pytest.fixture
def weights(make_cfg, tmp_path):
    """A checkpoint of a model, for what begins with one."""
    path = tmp_path / "weights.pth"
    torch.save(
        {"model": build_models(make_cfg("quick/active_ripu.yaml", *NARROW, "SEED", 5))["student"].state_dict()}, path
    )
    return path


def labels_of(cfg):
    store = build_label_store(cfg)
    return {p.relative_to(store.folder): p.read_bytes() for p in store.folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "name, switches",
    [
        pytest.param("active_ripu", (), marks=pytest.mark.slow),  # CBDA is RIPU with two switches more
        ("active_cbda", ()),
        pytest.param("active_ripu", SELF_TRAINING, marks=pytest.mark.slow),
        pytest.param("active_cbda", (*SELF_TRAINING, *PANOPTIC), marks=pytest.mark.slow),
    ],
    ids=["ripu", "cbda", "ripu-self-training", "cbda-self-training-panoptic"],
)
def test_resume_is_exact_also_from_before_a_round(make_cfg, tmp_path, name, switches):
    """Resumed from the checkpoint of 2 after round 2, which came after 3: it is taken back and bought again."""
    opts = (*SHORT, *TINY, "INPUT.CROP.SIZE", "(64, 128)", *GBW, *switches)
    whole = make_cfg(f"quick/{name}.yaml", *opts, "OUTPUT_DIR", tmp_path / "whole")
    cut = make_cfg(f"quick/{name}.yaml", *opts, "OUTPUT_DIR", tmp_path / "cut")
    expected = train(whole)
    train(cut, stop_at=3)
    assert len(build_label_store(cut).rounds) == 2
    (tmp_path / "cut" / "last_checkpoint").write_text("model_0000001.pth")
    torch.rand(17)
    resumed = train(cut, resume=True)
    for key, value in states(expected).items():
        assert torch.equal(value, states(resumed)[key]), key
    assert labels_of(whole) == labels_of(cut) and len(labels_of(cut)) > 3
    last = metrics(tmp_path / "whole")[-1]
    for name in ("target/loss_sem_seg", "target/loss_negative", "source/loss_consistency", "active/imbalance",
                 "gbw/target/sem_seg/weight/road"):  # fmt: skip
        assert name in last, name
    assert last["target/labelled_pixels"] > 0
    with pytest.raises(UserError, match="expected 0 rounds of bought labels at iteration 0, found 2"):
        train(cut)


def test_bought_things_train_the_instance_heads_through_the_store_alone(make_cfg, weights, tmp_path, monkeypatch):
    """Labels are bought first; the training that reads them cannot read the truth."""
    opts = (*SHORT, *PANOPTIC, "ACTIVE.BUDGET", "30%", "MODEL.WEIGHTS", weights, "ACTIVE.NEGATIVE_LOSS_WEIGHT", 0.0)
    train(make_cfg("quick/active_cbda.yaml", *opts, "ACTIVE.ITERATIONS", "(0,)", "SOLVER.MAX_ITER", 1))
    monkeypatch.setattr(known_instances, "read_label_map", lambda *_: pytest.fail("the target's truth was read"))
    cfg = make_cfg("quick/active_cbda.yaml", *opts, "ACTIVE.ITERATIONS", "()", "SOLVER.MAX_ITER", 2,
                   "ACTIVE.SOURCE_FREE", True,
                   "ACTIVE.LABELS", tmp_path / "run" / "active", "OUTPUT_DIR", tmp_path / "more")  # fmt: skip
    start = build_models(cfg)["student"]
    start.load_state_dict(torch.load(weights, weights_only=True)["model"])
    trained = train(cfg).model.state_dict()
    last = metrics(tmp_path / "more")[-1]
    assert last["target/loss_offset"] > 0 and last["target/loss_center"] > 0
    changed = [k for k, v in start.named_parameters() if not torch.equal(v, trained[k])]
    assert any("ins_embed_head.offset_predictor" in k for k in changed)


def test_self_training_on_the_rest_with_weights_of_its_own_on_every_branch(make_cfg, tmp_path):
    cfg = make_cfg("quick/active_cbda.yaml", *SHORT, *GBW, *SELF_TRAINING, "ACTIVE.ITERATIONS", "(1,)",
                   "SOLVER.MAX_ITER", 2, "SELF_TRAINING.CONFIDENCE_THRESHOLD", 1.0)  # fmt: skip
    trainer = train(cfg)
    last = metrics(tmp_path / "run")[-1]
    for branch in ("source", "target", "mixed", "masked"):
        assert last[f"{branch}/loss_sem_seg"] > 0 and last[f"gbw/{branch}/sem_seg/weight/road"] > 0
    # no prediction is certain: what is pasted aside, bought pixels are all that counts in mixed and masked images
    assert 0 < last["target/labelled_pixels"] and last["pseudo_labels/quality"] == 0
    assert last["pseudo_labels/kept_pixels"] == pytest.approx(last["target/labelled_pixels"])
    assert "teacher" in trainer.strategy.modules and set(build_models(cfg)) == {"student", "teacher"}


def test_training_reads_target_labels_only_through_the_store(make_cfg, monkeypatch):
    cfg = make_cfg("quick/active_ripu.yaml", *SHORT)
    train(cfg, stop_at=3)  # the rounds are after iterations 1 and 3
    read = loader.files.read_label
    targets = []

    def unreadable(*arguments, **options):
        raise AssertionError("the target's truth was read")

    monkeypatch.setattr(known_instances, "read_label_map", unreadable)
    trainer_cfg = cfg.clone()
    trainer_cfg.merge_from_list(
        ["ACTIVE.LABELS", f"{cfg.OUTPUT_DIR}/active", "ACTIVE.ITERATIONS", "()", "SOLVER.MAX_ITER", "2"]
    )
    monkeypatch.setattr(
        "gbw_panoptic.files.read_label", lambda path, *rest: targets.append(str(path)) or read(path, *rest)
    )
    trainer = train(trainer_cfg)
    assert trainer.strategy.health["target/labelled_pixels"] > 0
    assert targets and all("active/labels" in path for path in targets)
    store = build_label_store(trainer_cfg)
    bought = sum(int((store.read(p.stem, (128, 256)) != NOT_BOUGHT).sum()) for p in store.folder.glob("labels/*.png"))
    assert bought == store.spent <= 0.05 * 10 * 128 * 256


def test_a_round_before_the_first_iteration_and_no_source_at_all(make_cfg, tmp_path, weights, monkeypatch):
    """Round 0 is the given weights' choice; without a source only the target's terms are there, and no file of it is
    read."""
    opts = (*SHORT, "ACTIVE.ITERATIONS", "(0, 2)", "MODEL.WEIGHTS", weights, "ACTIVE.SOURCE_FREE", True,
            "SOLVER.MAX_ITER", 3, "SOLVER.CHECKPOINT_PERIOD", 1)  # fmt: skip
    whole, cut = (make_cfg("quick/active_ripu.yaml", *opts, "OUTPUT_DIR", tmp_path / name) for name in ("whole", "cut"))
    monkeypatch.setattr(loader.SourceMapper, "__call__", lambda *_: pytest.fail("the source was read"))
    expected = train(whole)
    train(cut, stop_at=1)
    assert [entry["round"] for entry in build_label_store(cut).rounds] == [1]
    resumed = train(cut, resume=True)
    for key, value in expected.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key
    assert labels_of(whole) == labels_of(cut)
    last = metrics(tmp_path / "whole")[-1]
    assert last["target/loss_sem_seg"] > 0 and not any(name.startswith("source/") for name in last)
    assert last["active/pixels/road"] == build_label_store(whole).class_counts()[0]


def test_what_a_training_must_find_on_this_machine(make_cfg):
    target, annotator = "cityscapes_uda_images_train", "cityscapes_uda_panoptic_train"
    for opts, expected in (
        ((), ("synthia_panoptic_train", target, annotator)),
        (("ACTIVE.SOURCE_FREE", True), (target, annotator)),
        (("ACTIVE.ITERATIONS", "()"), ("synthia_panoptic_train", target)),
        (("TRAINER.NAME", "SelfTrainingTrainer"), ("synthia_panoptic_train", target)),
    ):
        assert train_net.read_in_training(make_cfg("quick/active_ripu.yaml", *opts)) == expected


@pytest.mark.parametrize(
    "opts, words",
    [
        (("ACTIVE.ANNOTATOR", "cityscapes_uda_images_train"), "ACTIVE.ANNOTATOR: expected a labelled data set"),
        (("ACTIVE.ITERATIONS", "(4, 2)"), "ACTIVE.ITERATIONS: expected a list of rising values"),
        (("ACTIVE.ITERATIONS", "(4, 10)"), "ACTIVE.ITERATIONS: expected acquisition before SOLVER.MAX_ITER 10"),
        (("ACTIVE.SCORE", "luck"), "ACTIVE.SCORE: expected one of random, entropy, ripu"),
        (("ACTIVE.NEGATIVE_THRESHOLD", 2.0), "ACTIVE.NEGATIVE_THRESHOLD: expected a probability in 0..1"),
        (
            ("ACTIVE.ITERATIONS", "(0, 4)"),
            r"MODEL.WEIGHTS: expected a model of the source with ACTIVE.ITERATIONS \(0, 4\)",
        ),
        (
            ("ACTIVE.SELF_TRAINING", True, "SELF_TRAINING.FEATURE_DISTANCE.ENABLED", True),
            "FEATURE_DISTANCE.ENABLED: expected False",
        ),
        (("TEST.MODEL", "teacher"), "TEST.MODEL: expected student with ActiveTrainer"),
        (
            ("ACTIVE.PANOPTIC", True, "MODEL.TASK", "semantic"),
            "ACTIVE.PANOPTIC: expected False with MODEL.TASK semantic",
        ),
        (("ACTIVE.SOURCE_FREE", True), "MODEL.WEIGHTS: expected a model of the source with ACTIVE.SOURCE_FREE True"),
        (("DATASETS.TARGET", "()"), "DATASETS.TARGET: expected the unlabelled target of ActiveTrainer"),
    ],
)
def test_contradictions_are_one_sentence(make_cfg, opts, words):
    with pytest.raises(UserError, match=words):
        validate(make_cfg("quick/active_ripu.yaml", *opts))
