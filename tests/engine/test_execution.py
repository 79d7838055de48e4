"""How a step is computed: micro-batches, loss scaling, learning rate, memory format, compilation. A linear model is
enough."""

import copy
import os
import platform
import subprocess
import sys

import pytest
import torch
from torch import nn

from gbw_panoptic.adaptation.strategy import Strategy
from gbw_panoptic.engine.execution import (
    LossScaler, update_description, build_execution, build_precision, precision_warning,
    compile_backbone,
)  # fmt: skip
from gbw_panoptic.engine.solver import configured_learning_rate
from gbw_panoptic.engine.trainer import DomainAdaptationTrainer
from gbw_panoptic.errors import UserError
from gbw_panoptic.machine import computes_bfloat16, keep_freed_memory
from gbw_panoptic.structures.samples import DomainBatch
from gbw_panoptic.validation import validate


class Loader:
    """A point a micro-batch, by its position."""

    def __init__(self):
        self.consumed = 0

    def __iter__(self):
        while True:
            generator = torch.Generator().manual_seed(self.consumed)
            self.consumed += 1
            yield DomainBatch([{"file_name": str(self.consumed), "x": torch.rand(3, generator=generator)}], [])

    def state_dict(self):
        return {"consumed": self.consumed}

    def load_state_dict(self, state):
        self.consumed = state["consumed"]


class Regression(Strategy):
    """One loss, and a module beside the model with another; ``factors`` multiply the latter's, micro-batch by
    micro-batch."""

    def __init__(self, factors=()):
        self.health, self.modules, self.began, self.scales = {}, {}, [], []
        self.beside = nn.Linear(3, 1, bias=False)
        self.trained = {"beside": self.beside}
        self.factors = list(factors)

    def before_step(self, model, iteration):
        self.began.append(iteration)
        self.beside.zero_grad()

    def terms(self, model, batch, iteration):
        factor = self.factors.pop(0) if self.factors else 1.0
        x = batch.source[0]["x"]
        self.scales.append(self.loss_scale)
        self.health = {"health": x.sum()}
        dropped = nn.functional.dropout(x, 0.5)
        yield {"loss_x": (model(dropped) - 1).square().sum()}
        yield {"loss_y": (self.beside(x) * factor).sum()}


def trainer(tmp_path, *, factors=(), **options):
    torch.manual_seed(5)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    return DomainAdaptationTrainer(
        model=model,
        optimizer=optimizer,
        loader=Loader(),
        strategy=Regression(factors),
        seed=1,
        output_dir=str(tmp_path),
        **options,
    )


def gradients_of(made):
    return [p.grad.clone() for p in (*made.model.parameters(), *made.strategy.beside.parameters())]


def test_an_update_is_the_mean_of_its_micro_batches(tmp_path):
    made = trainer(tmp_path, accumulation_steps=4)
    single = trainer(tmp_path)
    single.optimizer = torch.optim.SGD(single.model.parameters(), 0.0)
    seen = []
    for number in range(4):
        single.train(number, number + 1)
        seen.append(gradients_of(single))
        single.loader.consumed = number + 1
    made.train(0, 1)
    for index, found in enumerate(gradients_of(made)):
        torch.testing.assert_close(found, sum(g[index] for g in seen) / 4)
    assert made.strategy.began == [0] and made.loader.consumed == 4 and made.strategy.scales == [0.25] * 4
    batches, _ = zip(*zip(Loader(), range(4)))
    expected = sum(float(batch.source[0]["x"].sum()) for batch in batches) / 4
    assert made.storage.latest()["health"][0] == pytest.approx(expected)


def test_resumed_accumulation_is_exact(tmp_path):
    whole, cut = trainer(tmp_path, accumulation_steps=2), trainer(tmp_path, accumulation_steps=2)
    whole.train(0, 4)
    cut.train(0, 2)
    cut.iter = 1  # as a hook sees it after the step
    state = copy.deepcopy(cut.state_dict())
    resumed = trainer(tmp_path, accumulation_steps=2)
    resumed.model.load_state_dict(cut.model.state_dict())
    resumed.load_state_dict(state)
    resumed.train(resumed.start_iter, 4)
    assert resumed.start_iter == 2 and torch.equal(resumed.model.weight, whole.model.weight)


def test_an_overflow_skips_the_update_and_shrinks_the_scale(tmp_path):
    made = trainer(tmp_path, scaler=LossScaler(), factors=(1.0, 1e36, 1.0))  # times 65536: beyond float32
    made.train(0, 1)
    unscaled = trainer(tmp_path)
    unscaled.train(0, 1)
    for one, two in zip(gradients_of(made), gradients_of(unscaled), strict=True):
        assert torch.equal(one, two)  # a power of two
    before = made.model.weight.detach().clone()
    made.train(1, 2)
    assert torch.equal(made.model.weight, before) and made.scaler.scale == 2.0**15
    made.train(2, 3)
    assert not torch.equal(made.model.weight, before)
    again = trainer(tmp_path, scaler=LossScaler())
    made.iter = 2
    again.load_state_dict(made.state_dict())
    assert again.scaler.state_dict() == {"scale": 2.0**15, "good_steps": 1}


def test_a_scale_that_cannot_shrink_is_not_the_reason(tmp_path):
    made = trainer(tmp_path, scaler=LossScaler(1.0), factors=(float("inf"),))
    before = made.model.weight.detach().clone()
    with pytest.raises(UserError, match="non-finite value in loss_y|non-finite value in beside/gradient_norm"):
        made.train(0, 1)
    assert torch.equal(made.model.weight, before)


def test_a_gradient_without_scaler_stops(tmp_path):
    made = trainer(tmp_path)
    made.strategy.beside.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(UserError, match="non-finite value in beside/gradient_norm at iteration 0"):
        made.train(0, 1)


def test_the_scale_follows_the_rule_of_torch():
    ours, steps = LossScaler(), [False] * 2000 + [True, True] + [False] * 2000
    for overflow in steps:
        ours.update(overflow)
    theirs = torch.amp.GradScaler("cpu")
    scale, tracker = torch.tensor(2.0**16), torch.tensor(0, dtype=torch.int32)
    for overflow in steps:  # what GradScaler.update calls
        torch._amp_update_scale_(scale, tracker, torch.tensor(float(overflow)), theirs.get_growth_factor(),
                                 theirs.get_backoff_factor(), theirs.get_growth_interval())  # fmt: skip
    assert ours.scale == scale.item() and ours.good_steps == tracker.item()


def test_learning_rate_from_a_reference_batch_is_said_in_one_line(make_cfg):
    options = ("SOLVER.BASE_LR", 0.01, "SOLVER.IMS_PER_BATCH", 8, "SOLVER.ACCUMULATION_STEPS", 4)
    assert configured_learning_rate(make_cfg("quick/source_only.yaml", *options)) == 0.01
    cfg = make_cfg("quick/source_only.yaml", *options, "SOLVER.REFERENCE_BATCH", 2)
    assert configured_learning_rate(cfg) == 0.04
    line = update_description(cfg)
    for part in (
        "8 source images: 1 process(es) x 4 micro-batch(es) x 2;",
        "learning rate 0.04 (0.01 x 8 / 2)",
        "float32",
    ):
        assert part in line
    assert "autocast to bfloat16" in update_description(make_cfg("quick/source_only.yaml", "SOLVER.AMP.ENABLED", True))


@pytest.mark.parametrize(
    "options, sentence",
    [
        (
            ("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.PRECISION", "float16"),
            "expected bfloat16 on a CPU, .*found .float16",
        ),
        (("SOLVER.AMP.PRECISION", "half"), "expected one of bfloat16, float16"),
        (("SOLVER.REFERENCE_WORLD_SIZE", 8), "SOLVER.REFERENCE_WORLD_SIZE: expected 0, .*found 8"),
        (("SOLVER.ACCUMULATION_STEPS", 0), "ACCUMULATION_STEPS: expected an integer in 1"),
        (("SOLVER.REFERENCE_BATCH", -1), "at least 0"),
    ],
)
def test_contradictions_are_sentences(make_cfg, options, sentence):
    with pytest.raises(UserError, match=sentence):
        validate(make_cfg("quick/source_only.yaml", *options))


def test_precision_of_a_configuration(make_cfg):
    half = ("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.PRECISION", "float16")
    dtype, scaler = build_precision(make_cfg("quick/source_only.yaml", *half))
    assert dtype == torch.float16 and isinstance(scaler, LossScaler)
    assert build_precision(make_cfg("quick/source_only.yaml")) == (None, None)


@pytest.fixture
def processor(monkeypatch, tmp_path):
    """Makes this machine's CPU one with given features, as Linux lists them; with None, one of another system."""

    def become(flags, *, supported=True):
        monkeypatch.setattr("torch.ops.mkldnn._is_mkldnn_bf16_supported", lambda: supported)
        listed = tmp_path / "cpuinfo"
        monkeypatch.setattr("gbw_panoptic.machine._CPU_FEATURES", listed)
        if flags is not None:
            listed.write_text(
                f"processor\t: 0\nflags\t\t: fpu {flags} sse\n\nprocessor\t: 1\nflags\t\t: fpu {flags} sse\n"
            )

    return become


@pytest.mark.parametrize("flags, supported, expected", [
    ("avx512f avx512_bf16", True, True), ("avx512f amx_bf16 amx_tile", True, True), ("asimd bf16", True, True),
    ("avx512f avx512bw avx512_vnni", True, False),  # oneDNN emulates it there, and calls that support
    ("avx512f avx512_bf16", False, False), ("avx2", False, False), (None, True, True), (None, False, False),
])  # fmt: skip
def test_bfloat16_that_is_emulated_does_not_count(flags, supported, expected, processor):
    processor(flags, supported=supported)
    assert computes_bfloat16("cpu") == expected


@pytest.mark.parametrize("flags, options, slow", [
    ("avx512f", ("SOLVER.AMP.ENABLED", True), True), ("avx512_bf16", ("SOLVER.AMP.ENABLED", True), False),
    ("avx512f", (), False), ("avx512f", ("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.PRECISION", "float16"), False),
])  # fmt: skip
def test_bfloat16_without_instructions_is_warned_of(flags, options, slow, make_cfg, processor):
    processor(flags)
    warning = precision_warning(make_cfg("quick/source_only.yaml", "MODEL.DEVICE", "cpu", *options))
    assert bool(warning) == slow and (not slow or "set SOLVER.AMP.ENABLED False" in warning)


@pytest.mark.parametrize("flags, options, expected", [
    ("amx_bf16", ("SOLVER.AMP.ENABLED", "auto", "MODEL.CHANNELS_LAST", "auto"), (True, True)),
    ("avx512f", ("SOLVER.AMP.ENABLED", "auto", "MODEL.CHANNELS_LAST", "auto"), (False, False)),
    ("avx512f", ("SOLVER.AMP.ENABLED", True, "MODEL.CHANNELS_LAST", "auto"), (True, True)),
    ("amx_bf16", ("SOLVER.AMP.ENABLED", "auto"), (True, False)),
    ("amx_bf16", ("SOLVER.AMP.ENABLED", "auto", "SOLVER.AMP.PRECISION", "float16"), (False, False)),
    ("amx_bf16", (), (False, False)),
    ("amx_bf16", ("SOLVER.AMP.ENABLED", "auto", "MODEL.BACKBONE.NAME", "build_mit_backbone"), (False, False)),
])  # fmt: skip
def test_auto_is_what_the_device_is_good_at(flags, options, expected, make_cfg, processor, caplog):
    processor(flags)
    caplog.set_level("INFO", logger="gbw_panoptic")
    cfg = make_cfg("quick/source_only.yaml", "MODEL.DEVICE", "cpu", *options)
    assert (cfg.SOLVER.AMP.ENABLED, cfg.MODEL.CHANNELS_LAST) == expected  # what config.yaml records, too
    validate(cfg)
    said = [line for line in caplog.messages if " auto -> " in line]
    assert len(said) == options.count("auto") and all("cpu" in line for line in said)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))

    def forward(self, x):
        return self.backbone(x)


def test_channels_last_keeps_names_and_values(make_cfg):
    plain = Network()
    changed = build_execution(make_cfg("quick/source_only.yaml", "MODEL.CHANNELS_LAST", True), copy.deepcopy(plain))
    weight = changed.backbone[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    assert list(plain.state_dict()) == list(changed.state_dict())
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(plain(x), changed(x))
    teacher = copy.deepcopy(changed)
    teacher.load_state_dict(plain.state_dict())
    assert teacher.backbone[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_compilation_keeps_names_and_values_and_a_teacher_can_be_copied():
    plain = Network()
    compiled = copy.deepcopy(plain)
    compile_backbone(compiled, backend="eager")
    assert list(plain.state_dict()) == list(compiled.state_dict())
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(plain(x), compiled(x))
    torch.testing.assert_close(plain(x), copy.deepcopy(compiled)(x))


ALLOCATIONS = """
import resource
import torch
from gbw_panoptic.machine import keep_freed_memory

assert keep_freed_memory()

def step():  # holds 60 MB at its peak
    tensors = [torch.zeros(3 * 2**18) for _ in range(20)]

step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_kept_for_the_next_step():
    """In a process of its own, with which malloc's settings end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", ALLOCATIONS], capture_output=True, text=True, check=True, env=environment
    )
    assert int(done.stdout) < 10_000  # page faults of three steps: 46 000 where they give their memory back


def test_the_environment_decides_over_memory_where_it_says_something(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert not keep_freed_memory()


def test_other_systems_allocate_as_they_do(monkeypatch):
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    monkeypatch.setattr("sys.platform", "darwin")
    assert not keep_freed_memory()
