"""What the recorder shows is what a training run feeds its model."""

import torch
from recording import record_steps
from tiny_runs import TINY

from gbw_panoptic.engine import build_trainer

OPTIONS = (*TINY, "TEST.EVAL_PERIOD", 0, "SOLVER.IMS_PER_BATCH", 2,
           "SOLVER.CHECKPOINT_PERIOD", 2)  # fmt: skip


def fed_by_training(cfg, num):
    """(branch, samples) of every call of the model in ``num`` ordinary steps."""
    trainer, calls = build_trainer(cfg), []
    forward = trainer.model.forward

    def watched(samples, branch):
        calls.append((branch, samples))
        return forward(samples, branch=branch)

    trainer.model.forward = watched
    trainer.train(0, num)
    return calls


def assert_equal(first, second):
    assert [branch for branch, _ in first] == [branch for branch, _ in second]
    for (_, samples), (_, others) in zip(first, second):
        for sample, other in zip(samples, others, strict=True):
            assert sample.keys() == other.keys()
            for key, value in sample.items():
                assert torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key], key


def test_recorded_steps_are_those_of_a_run_and_go_on_from_its_checkpoint(make_cfg, tmp_path):
    run = make_cfg("quick/self_training_gbw.yaml", *OPTIONS, "OUTPUT_DIR", tmp_path / "a")
    expected = fed_by_training(run, 4)
    steps = []
    trainer = build_trainer(make_cfg("quick/self_training_gbw.yaml", *OPTIONS, "OUTPUT_DIR", tmp_path / "b"))
    record_steps(trainer, 2, steps.append, max_iter=10)
    assert [step.iteration for step in steps] == [0, 1]
    assert_equal([call for step in steps for call in step.fed], expected[:4])
    assert not list((tmp_path / "b").glob("*.pth"))

    later = []
    trainer = build_trainer(make_cfg("quick/self_training_gbw.yaml", *OPTIONS, "OUTPUT_DIR", tmp_path / "c"))
    trainer.checkpointer.load(str(tmp_path / "a" / "model_0000001.pth"))
    for file in (tmp_path / "a").glob("*.pth"):
        file.unlink()
    record_steps(trainer, 2, later.append, max_iter=10)
    assert [step.iteration for step in later] == [2, 3]
    assert_equal([call for step in later for call in step.fed], expected[4:])


def test_a_step_knows_its_draws_and_the_teacher_s_labels(make_cfg):
    trainer = build_trainer(make_cfg("quick/self_training_gbw.yaml", *OPTIONS))
    steps = []
    record_steps(trainer, 2, steps.append, max_iter=10)
    records = trainer.loader._steps.streams[0].records
    for step in steps:
        assert [branch for branch, _ in step.fed] == ["source", "mixed"]
        for draw, sample in zip(step.draws, step.batch.source, strict=True):
            assert records[draw.index]["file_name"] == sample["file_name"]
            assert draw.class_id in trainer.loader.source_sampler.class_ids
        (mixed,) = [samples for branch, samples in step.fed if branch == "mixed"]
        for pseudo, target, sample in zip(step.pseudo, step.batch.target, mixed, strict=True):
            assert torch.equal(pseudo["sem_seg"] == 255, ~target["valid_mask"])
            assert torch.equal(pseudo["image"], target["image"]) and "center_weights" in pseudo
            unmixed = sample["sem_seg_weights"] == pseudo["sem_seg_weights"]  # everything but what was pasted
            assert torch.equal(sample["sem_seg"][unmixed], pseudo["sem_seg"][unmixed])
            assert not unmixed.all() and unmixed.any()


def test_calls_without_losses_are_told_apart(make_cfg):
    trainer = build_trainer(make_cfg("quick/adversarial_gbw.yaml", *OPTIONS))
    steps = []
    record_steps(trainer, 1, steps.append, max_iter=10)
    (step,) = steps
    assert [branch for branch, _ in step.fed] == ["source", "target"] and step.pseudo == []
    assert step.fed[1][1] is step.batch.target


def test_behind_the_schedule_and_without_a_target(make_cfg):
    trainer = build_trainer(make_cfg("quick/source_only.yaml", *OPTIONS))
    steps = []
    rate = trainer.optimizer.param_groups[0]["lr"]
    trainer.start_iter = 10
    record_steps(trainer, 1, steps.append, max_iter=10)
    assert trainer.optimizer.param_groups[0]["lr"] == rate
    (step,) = steps
    assert step.iteration == 10 and step.batch.target == [] and step.pseudo == []
    assert [branch for branch, _ in step.fed] == ["source"]
