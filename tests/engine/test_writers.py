"""Weights & Biases and MLflow beside metrics.json and TensorBoard, with stand-ins that keep what they are sent."""

import importlib
import json
from types import SimpleNamespace

import pytest
import yaml

from gbw_panoptic.engine import build_trainer
from gbw_panoptic.engine.build import resume_or_load
from gbw_panoptic.engine.writers import MlflowWriter, WandbWriter
from gbw_panoptic.engine.writers import build_writers
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
MLFLOW = """
import sys
from types import SimpleNamespace as Space

class MlflowException(Exception):
    pass

experiments, runs, refusal = {}, [], []

class MlflowClient:
    def get_experiment_by_name(self, name):
        if refusal:
            raise MlflowException(refusal[0])
        return experiments.get(name)
    def create_experiment(self, name):
        experiments[name] = Space(experiment_id=str(len(experiments)))
        return experiments[name].experiment_id
    def create_run(self, experiment, run_name):
        runs.append(Space(experiment=experiment, name=run_name, params={}, metrics=[], states=[]))
        return Space(info=Space(run_id=str(len(runs) - 1)))
    def update_run(self, run, status):
        runs[int(run)].states.append(status)
    set_terminated = update_run
    def log_batch(self, run, metrics=(), params=()):
        assert len(metrics) <= 100 and len(params) <= 100
        if refusal:
            raise MlflowException(refusal[0])
        runs[int(run)].metrics += metrics
        runs[int(run)].params.update(params)

entities = Space(Param=lambda key, value: (key, value), Metric=lambda key, value, time, step: (step, key, value))
sys.modules["mlflow.entities"], sys.modules["mlflow.exceptions"] = entities, sys.modules[__name__]
"""


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    yield from stand_in("wandb", STAND_IN, tmp_path, monkeypatch)


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    yield from stand_in("mlflow", MLFLOW, tmp_path, monkeypatch)


def stand_in(name, text, tmp_path, monkeypatch):
    folder = tmp_path / "site"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    for part in (name, f"{name}.entities", f"{name}.exceptions"):
        monkeypatch.delitem(importlib.sys.modules, part, raising=False)
    module = importlib.import_module(name)
    yield module
    for part in [part for part in importlib.sys.modules if part.split(".")[0] == name]:
        del importlib.sys.modules[part]


def train(cfg):
    validate(cfg)
    build_trainer(cfg).train(0, cfg.SOLVER.MAX_ITER)


def test_every_number_of_metrics_json_is_sent_once_and_a_resumed_training_continues_its_run(
    make_cfg, wandb, mlflow, tmp_path
):
    cfg = make_cfg("quick/self_training_gbw.yaml", *FAST, "TRACKING.MLFLOW", True, "TRACKING.PROJECT", "streets")
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
    (logged,) = mlflow.runs
    assert mlflow.experiments["streets"].experiment_id == logged.experiment and logged.name == "run"
    assert logged.params["TRACKING.PROJECT"] == "streets" and logged.params["SOLVER.MAX_ITER"] == "2"
    assert logged.states == ["RUNNING", "FINISHED"]
    sent = [
        (line["iteration"], name, value) for line in run.lines for name, value in line.items() if name != "iteration"
    ]
    assert sorted(logged.metrics) == sorted(sent)

    trainer = build_trainer(cfg)  # a resumed training continues its run, a new one (run0 above) does not
    resume_or_load(trainer, "", resume=True)
    for kind in (WandbWriter, MlflowWriter):
        next(hook for hook in trainer._hooks if isinstance(hook, kind)).before_train()
    assert (wandb.runs[1].id, wandb.runs[1].options["resume"]) == ("run0", "allow")
    assert len(mlflow.runs) == 1 and logged.states[-1] == "RUNNING"


def test_a_refusal_is_one_sentence_before_the_first_step(make_cfg, wandb):
    wandb.refusal.append("no API key\nconfigured.")
    with pytest.raises(UserError, match="found: no API key configured; run `wandb login`, set WANDB_MODE=offline"):
        train(make_cfg("quick/source_only.yaml", *FAST, "DATASETS.TEST", "()"))
    assert not wandb.runs


def test_a_server_of_mlflow_that_refuses_is_one_sentence_and_a_lost_one_costs_no_training(mlflow, caplog):
    writer = MlflowWriter(project="streets", output_dir="run", config={"A": {"B": 1}})
    mlflow.refusal.append("no answer\nfrom it.")
    with pytest.raises(
        UserError,
        match="TRACKING.MLFLOW: expected MLflow to open a run, found: no answer from it; correct MLFLOW_TRACKING_URI",
    ):
        writer.before_train()
    mlflow.refusal.clear()
    writer.before_train()
    assert mlflow.runs[-1].params == {"A.B": "1"}
    writer._send(7, {"gbw/IoU (traffic light)": 0.5})
    assert mlflow.runs[-1].metrics == [(7, "gbw/IoU _traffic light_", 0.5)]  # what its names may have
    mlflow.refusal.append("gone")
    for _ in range(2):
        writer._send(8, {"loss": 1.0})
    writer.close()
    assert [record.getMessage() for record in caplog.records if "MLflow" in record.getMessage()] == [
        "MLflow gets nothing more of this run, since its server failed: gone; metrics.json has all."
    ]


def test_the_package_itself_takes_what_is_sent(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    writer = MlflowWriter(project="streets", output_dir="run", config={f"KEY{n}": n for n in range(130)})
    writer.before_train()
    writer._send(3, {f"loss/{n}": float("nan") if n == 7 else n for n in range(130)})
    writer.close()
    run = mlflow.MlflowClient().get_run(writer.state_dict()["id"])
    assert len(run.data.params) == len(run.data.metrics) == 130 and run.info.status == "FINISHED"


def test_absent_or_only_a_folder_of_that_name(make_cfg, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    cfg = make_cfg("quick/source_only.yaml", *FAST)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("wandb", "mlflow") else find(name))
    with pytest.raises(UserError, match="TRACKING.WANDB: expected the package wandb, found none; `pip install wandb`"):
        validate(cfg)
    with pytest.raises(
        UserError,
        match=r"TRACKING.MLFLOW: expected the package mlflow, found none; `pip install 'gbw-panoptic\[mlflow\]'`",
    ):
        validate(make_cfg("quick/source_only.yaml", *FAST, "TRACKING.WANDB", False, "TRACKING.MLFLOW", True))
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
    assert {type(writer).__name__ for writer in hook._writers} == {
        "CommonMetricPrinter",
        "JSONWriter",
        "TensorboardXWriter",
    }
    for writer in hook._writers:
        writer.close()
