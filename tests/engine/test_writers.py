"""Weights & Biases beside metrics.json and TensorBoard, with a stand-in for wandb that keeps what it is sent."""

import importlib
import json
from types import SimpleNamespace

import pytest
import yaml

from gbw_panoptic.engine import build_trainer
from gbw_panoptic.engine.build import resume_or_load
from gbw_panoptic.engine.writers import WandbWriter, build_writers
from gbw_panoptic.errors import UserError
from gbw_panoptic.validation import validate

FAST = ("TEST.EVAL_PERIOD", 0, "TEST.NUM_PANELS", 0, "SOLVER.MAX_ITER", 2, "TRACKING.WANDB", True)
STAND_IN = """
class Error(Exception):
    pass

class Run:
    def __init__(self, **options):
        self.options, self.id = options, options["id"] or f"run{len(runs)}"
        self.lines, self.metrics, self.finished = [], [], 0
    def define_metric(self, name, step_metric):
        self.metrics.append((name, step_metric))
    def log(self, line):
        assert not self.finished
        self.lines.append(line)
    def finish(self):
        self.finished += 1

runs, refusal = [], []

def init(**options):
    if refusal:
        raise Error(refusal[0])
    runs.append(Run(**options))
    return runs[-1]
"""


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "wandb.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(importlib.sys.modules, "wandb", raising=False)
    module = importlib.import_module("wandb")
    yield module
    del importlib.sys.modules["wandb"]


def train(cfg):
    validate(cfg)
    build_trainer(cfg).train(0, cfg.SOLVER.MAX_ITER)


def test_every_number_of_metrics_json_is_sent_once_and_a_resumed_training_continues_its_run(make_cfg, wandb, tmp_path):
    cfg = make_cfg("quick/self_training_gbw.yaml", *FAST, "TRACKING.PROJECT", "streets")
    train(cfg)
    (run,) = wandb.runs
    folder = tmp_path / "run"
    assert run.options["project"] == "streets" and run.options["name"] == "run" and run.options["resume"] is None
    assert run.options["dir"] == str(folder) and "mode" not in run.options  # WANDB_MODE decides
    assert run.options["config"] == yaml.safe_load(cfg.dump()) and run.metrics == [("*", "iteration")]
    assert run.finished == 1

    def names(lines):
        return sorted((line["iteration"], name) for line in lines for name in line)

    written = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    assert names(run.lines) == names(written)
    final = run.lines[-1]
    assert final["iteration"] == 2 and "teacher/panoptic/16/PQ" in final  # the evaluation after the last step
    assert list(folder.glob("events.out.tfevents.*"))

    trainer = build_trainer(cfg)  # a resumed training continues its run, a new one (run0 above) does not
    resume_or_load(trainer, "", resume=True)
    (writer,) = [hook for hook in trainer._hooks if isinstance(hook, WandbWriter)]
    writer.before_train()
    assert (wandb.runs[1].id, wandb.runs[1].options["resume"]) == ("run0", "allow")


def test_a_refusal_is_one_sentence_before_the_first_step(make_cfg, wandb):
    wandb.refusal.append("no API key\nconfigured.")
    with pytest.raises(UserError, match="found: no API key configured; run `wandb login`, set WANDB_MODE=offline"):
        train(make_cfg("quick/source_only.yaml", *FAST, "DATASETS.TEST", "()"))
    assert not wandb.runs


def test_absent_or_only_a_folder_of_that_name(make_cfg, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    cfg = make_cfg("quick/source_only.yaml", *FAST)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "wandb" else find(name))
    with pytest.raises(UserError, match="TRACKING.WANDB: expected the package wandb, found none; `pip install wandb`"):
        validate(cfg)
    (tmp_path / "wandb").mkdir()  # what wandb leaves where it has run
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: importlib.machinery.PathFinder.find_spec(name, [str(tmp_path)])
    )
    with pytest.raises(UserError, match="TRACKING.WANDB"):
        validate(cfg)


def test_not_asked_for(make_cfg, wandb, tmp_path):
    (hook,) = build_writers(make_cfg("quick/source_only.yaml", "TRACKING.WANDB", False))
    assert not (tmp_path / "run" / "metrics.json").exists()  # no file before the training starts
    hook.trainer = SimpleNamespace(max_iter=2)
    hook.before_train()
    assert {type(writer).__name__ for writer in hook._writers} == {"CommonMetricPrinter", "JSONWriter", "TensorboardXWriter"}
    for writer in hook._writers:
        writer.close()
