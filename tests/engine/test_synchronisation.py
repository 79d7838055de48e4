"""How often a training step waits for the device."""

import warnings

import pytest
import torch
from test_training import FAST

from gbw_panoptic.engine import build_trainer

CONFIGS = ("source_only", "self_training_gbw", "adversarial_gbw", "entropy_gbw")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="counts waits for a CUDA device")
@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_waits_for_the_device_at_most_once(make_cfg, name):
    """One copy of losses, health and norms, which the finite check, the loss scaler and the log share."""
    trainer = build_trainer(make_cfg(f"quick/{name}.yaml", *FAST, "MODEL.DEVICE", "cuda", "SOLVER.MAX_ITER", 6))
    step, waits = trainer.run_step, []

    def counted() -> None:
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        waits.append([str(w.filename) + f":{w.lineno}" for w in caught if "synchronizing" in str(w.message)])

    trainer.run_step = counted
    trainer.train(0, 6)
    assert all(len(found) <= 1 for found in waits[3:]), waits[3:]  # the first ones load kernels
