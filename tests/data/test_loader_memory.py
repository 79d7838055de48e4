"""Long trainings do not grow: the loader and its workers, over 500 steps after a warm-up."""

import os
from itertools import islice
from pathlib import Path

import pytest
import torch
from test_loader import cfg  # noqa: F401  (a fixture)

from gbw_panoptic.data.loader import build_train_loader

WARM_UP, STEPS = 200, 500


def memory() -> int:
    """Kilobytes that this process and its workers hold, mapped files left out; what they share counts once."""
    pids = [os.getpid(), *(process.pid for process in torch.multiprocessing.active_children())]
    texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    lines = [line.split() for text in texts for line in text.splitlines()]
    return sum(int(words[1]) for words in lines if words[0] in ("Pss_Anon:", "Pss_Shmem:"))


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="needs Linux' accounts of memory")
@pytest.mark.parametrize("target", [(), ("loader_target",)], ids=["source", "both domains"])
def test_five_hundred_steps_with_four_workers(cfg, target):  # noqa: F811
    cfg.DATASETS.TARGET, cfg.DATALOADER.NUM_WORKERS, cfg.SOLVER.IMS_PER_BATCH = target, 4, 2
    batches = iter(build_train_loader(cfg))
    list(islice(batches, WARM_UP))
    before = memory()
    list(islice(batches, STEPS))
    after = memory()
    batches.close()
    assert before > 10_000 and after < 1.05 * before, f"{before} kB, then {after} kB"
