"""The settings in a checkpoint: each key is free, applied or refused at a resume; weights keep the meaning they were
trained with."""

import json
import logging

import pytest
import torch
from tiny_runs import TINY

from gbw_panoptic.config.resuming import APPLIED, FREE, REFUSED, RESUME, rule
from gbw_panoptic.engine.build import build_models, build_trainer, load_for_evaluation, resume_or_load
from gbw_panoptic.engine.reading import read_checkpoint
from gbw_panoptic.engine.resuming import adopted, describe_fault
from gbw_panoptic.engine.settings import MEANING, Settings, build_defaults, build_settings, check_meaning
from gbw_panoptic.errors import UserError

QUICK = "quick/source_only.yaml"


def resumed(make_cfg, *opts):
    trainer = build_trainer(make_cfg(QUICK, *TINY, *opts))
    resume_or_load(trainer, "", resume=True)
    return trainer


@pytest.fixture
def saved(make_cfg):
    build_trainer(make_cfg(QUICK, *TINY)).checkpointer.save("model_0000000")
    return make_cfg


def test_every_key_is_declared_and_every_beginning_is_of_some_key():
    keys = build_defaults()
    assert not [key for key in keys if not any(key.startswith(beginning) for beginning in RESUME)]
    of_its_main_branch = {"FLOAT32_PRECISION", "SOLVER.BASE_LR_END"}  # Detectron2's
    assert (
        not {beginning for beginning in RESUME if not any(key.startswith(beginning) for key in keys)}
        - of_its_main_branch
    )
    assert set(RESUME.values()) == {FREE, APPLIED, REFUSED} and not set(MEANING) - set(keys)
    assert all(rule(key) == REFUSED for key in MEANING)
    assert rule("SOLVER.OPTIMIZER") == rule("A.KEY.THAT.NOBODY.DECLARED") == REFUSED
    assert rule("SOLVER.BASE_LR") == APPLIED and rule("OUTPUT_DIR") == FREE


def test_any_other_value_of_any_key_is_treated_as_declared(caplog):
    """What the table says of a key is what happens to it, whatever the values are."""
    made = dict(build_defaults())
    for key in made:
        own = Settings({**made, key: "another value"})
        if rule(key) == REFUSED:
            with pytest.raises(
                UserError, match=f"expected {key} .*, with which the checkpoint was made, found 'another value'"
            ):
                own.load_state_dict(made)
            continue
        with caplog.at_level(logging.INFO, "gbw_panoptic"):
            own.load_state_dict(made)
        assert (f"From here on {key} is 'another value'" in caplog.text) == (rule(key) == APPLIED)


@pytest.mark.parametrize(
    "switch",
    [
        ("SELF_TRAINING.EMA_DECAY", 0.5), ("DATASETS.TRAIN", '("gta5_semantic_train",)'), ("INPUT.FORMAT", "BGR"),
        ("MODEL.SEM_SEG_HEAD.LOSS_TYPE", "hard_pixel_mining"), ("SOLVER.OPTIMIZER", "SGD"), ("SEED", 3),
    ],
)  # fmt: skip
def test_another_experiment_is_refused(saved, switch):
    key, value = switch
    other = Settings({**build_settings(saved(QUICK, *TINY)).values, key: value})
    path = saved(QUICK).OUTPUT_DIR + "/model_0000000.pth"
    with pytest.raises(
        UserError, match=f"--resume: expected {key} .*found .*start anew with it as MODEL.WEIGHTS"
    ) as caught:
        other.load_state_dict(read_checkpoint(path)["settings"])
    assert "\n" not in str(caught.value)


def test_a_resume_of_the_same_settings_and_of_free_and_applied_ones(saved, caplog):
    assert resumed(saved).start_iter == 1
    with caplog.at_level(logging.INFO, "gbw_panoptic"):
        logging.getLogger("gbw_panoptic").propagate = True
        trainer = resumed(saved, "SOLVER.BASE_LR", 0.5, "SOLVER.CHECKPOINT_PERIOD", 7, "DATALOADER.NUM_WORKERS", 1)
    assert trainer.start_iter == 1 and "From here on SOLVER.BASE_LR is 0.5 (before: " in caplog.text
    assert "CHECKPOINT_PERIOD is" not in caplog.text
    with pytest.raises(
        UserError, match="expected INPUT.FORMAT 'RGB', .* found 'BGR', and other values of SOLVER.OPTIMIZER;"
    ):
        resumed(saved, "SOLVER.OPTIMIZER", "SGD", "INPUT.FORMAT", "BGR")


def test_checkpoints_without_settings_are_resumed_with_a_warning(saved, tmp_path, caplog):
    path = tmp_path / "run" / "model_0000000.pth"
    torch.save({k: v for k, v in torch.load(path, weights_only=True).items() if k != "settings"}, path)
    with caplog.at_level(logging.WARNING, "gbw_panoptic"):
        logging.getLogger("gbw_panoptic").propagate = True
        resumed(saved)
    assert "holds no settings: whether they are those of this run was not checked" in caplog.text


def test_settings_are_plain_and_compare_after_a_round_trip(saved, tmp_path):
    made = read_checkpoint(str(tmp_path / "run" / "model_0000000.pth"))["settings"]
    own = build_settings(saved(QUICK, *TINY)).values
    assert made == own and json.dumps(made)
    Settings(own).load_state_dict({**made, "A.KEY.OF.ANOTHER.VERSION": 1, "MODEL.RESNETS.NORM": "SyncBN"})
    younger = {key: value for key, value in made.items() if key != "GBW.LAMBDA"}
    with pytest.raises(UserError, match="expected GBW.LAMBDA"):  # a key that was not yet there had its default
        Settings({**own, "GBW.LAMBDA": 123.0}).load_state_dict(younger)
    with pytest.raises(UserError, match="expected settings by key in the checkpoint, found list"):
        Settings(own).load_state_dict([1])


def test_weights_mean_what_they_were_trained_with(saved, tmp_path):
    """Another mean or channel order is seen in no shape: evaluation, prediction and a new run refuse it."""
    path = str(tmp_path / "run" / "model_0000000.pth")
    cfg = saved(QUICK, *TINY, "MODEL.PIXEL_MEAN", [1.0, 2.0, 3.0])
    words = r"MODEL.PIXEL_MEAN: expected \(123.675, .*, with which the weights in .* were trained, found \(1.0"
    with pytest.raises(UserError, match=words):
        load_for_evaluation(build_models(cfg), path, cfg.OUTPUT_DIR, resume=False, settings=build_settings(cfg).values)
    with pytest.raises(UserError, match=words):
        resume_or_load(build_trainer(cfg), path, resume=False)
    own = build_settings(saved(QUICK, *TINY)).values
    made = {"settings": read_checkpoint(path)["settings"]}
    check_meaning(own, made, path)
    check_meaning({**own, "MODEL.TIMM.NAME": "resnet18"}, made, path)  # the backbone is another's
    with pytest.raises(UserError, match="MODEL.TIMM.NAME"):
        timm = {"MODEL.BACKBONE.NAME": "build_timm_backbone"}
        check_meaning({**own, **timm, "MODEL.TIMM.NAME": "resnet18"}, {"settings": {**own, **timm}}, path)
    check_meaning(own, {}, path)


def test_other_decays_are_applied_though_they_group_parameters_otherwise(make_cfg, tmp_path):
    """What the optimizer remembers of a parameter stays that parameter's; weight decay and factors are the resume's."""
    trainer = build_trainer(make_cfg(QUICK, *TINY))
    remembered = {}
    for name, parameter in trainer.model.named_parameters():
        parameter.grad = torch.randn_like(parameter)
    trainer.optimizer.step()
    for name, parameter in trainer.model.named_parameters():
        remembered[name] = trainer.optimizer.state[parameter]["exp_avg"].clone()
    trainer.checkpointer.save("model_0000000")
    decays = ("SOLVER.WEIGHT_DECAY", 0.5, "SOLVER.WEIGHT_DECAY_NORM", 0.25, "SOLVER.WEIGHT_DECAY_EMBED", 0.25)
    regrouped = (*decays, "SOLVER.WEIGHT_DECAY_NORM", 0.5, "SOLVER.BACKBONE_MULTIPLIER", 0.125)
    for opts in (decays, regrouped):
        again = resumed(make_cfg, *opts)
        own = {name: again.optimizer.state[parameter]["exp_avg"] for name, parameter in again.model.named_parameters()}
        assert own.keys() == remembered.keys() and all(
            torch.equal(own[name], value) for name, value in remembered.items()
        )
        assert {group["weight_decay"] for group in again.optimizer.param_groups} == (
            {0.5, 0.25} if opts is decays else {0.5}
        )
    assert again.state_dict()["parameters"] != trainer.state_dict()["parameters"]
    assert len({group["initial_lr"] for group in again.optimizer.param_groups}) == 2

    path = tmp_path / "run" / "model_0000000.pth"
    whole = torch.load(path, weights_only=True)
    junk = (
        None,
        [],
        "abc",
        whole["trainer"]["parameters"][1:],
        [*whole["trainer"]["parameters"][1:], "another"],
        [None, 1],
    )
    for names in junk:  # again is in the groups of another multiplier
        state = {**whole["trainer"], "parameters": names}
        found = describe_fault(adopted(state, again.optimizer, again.state_dict()["parameters"]), again.optimizer)
        assert found == "an optimizer of other parameters"
    torch.save(
        {**whole, "trainer": {k: v for k, v in whole["trainer"].items() if k != "parameters"}}, path
    )  # of an older version
    assert {group["weight_decay"] for group in resumed(make_cfg, *decays).optimizer.param_groups} == {0.5, 0.25}
