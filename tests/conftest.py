"""What many tests share: single-threaded arithmetic and a prepared Streets root, made once per session."""

import gc
import os
import runpy
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

# Two OpenMP threads on two busy cores spin against each other; one is as fast at these sizes and never stalls.
torch.set_num_threads(1)

ROOT = Path(__file__).parents[1]


def pytest_collection_finish():
    """What imports and collection have made stays: a later collection need not walk through it (0.2 s each time)."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def streets_root(tmp_path_factory) -> Path:
    """Streets at 128x256, prepared: 12 SYNTHIA, 12 GTA5, 10 target and 3 validation images. Treat it as read-only."""
    from gbw_panoptic.data.preparation import prepare
    from gbw_panoptic.streets import generate

    root = tmp_path_factory.mktemp("streets")
    generate(root, size=(128, 256), source=12, target_train=10, target_val=3, seed=7)
    for name in ("synthia", "gta5", "cityscapes"):
        prepare(name, root, workers=1)
    return root


@pytest.fixture
def streets(streets_root, monkeypatch) -> Path:
    """The prepared root, registered in Detectron2's catalogs for this test."""
    from gbw_panoptic.data import register_all

    monkeypatch.setenv("DETECTRON2_DATASETS", str(streets_root))
    register_all()
    return streets_root


@pytest.fixture
def own_streets(streets_root, tmp_path, monkeypatch) -> Path:
    """A copy of the prepared root that a test may damage."""
    from gbw_panoptic.data import register_all

    root = tmp_path / "datasets"
    shutil.copytree(streets_root, root)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    register_all()
    return root


@pytest.fixture(scope="session")
def configured():
    """:func:`configuration`, for tests in folders with a conftest of their own."""
    return configuration


@pytest.fixture
def make_cfg(streets, tmp_path):
    """Factory: configuration of a file under configs/ with overrides, writing to the test's own folder."""
    yield lambda config, *opts: configuration(config, tmp_path / "run", *opts)
    gc.collect()  # trainers and their hooks refer to each other: hundreds of models would wait for the collector


@pytest.fixture
def run_tool(monkeypatch, capsys):
    """Factory: a tool's file run as a command line runs it, but in this process, which has imported everything already.

    The answer has ``returncode``, ``stdout`` and ``stderr``, as that of ``subprocess.run``. The tool's log is not set
    up: its handlers would outlive the test.
    """

    def run(tool: str, *arguments) -> SimpleNamespace:
        monkeypatch.setattr("detectron2.utils.logger.setup_logger", lambda *_, **__: None)
        monkeypatch.setattr(sys, "argv", [tool, *map(str, arguments)])
        monkeypatch.chdir(ROOT)
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / tool), run_name="__main__")
        said = capsys.readouterr()
        return SimpleNamespace(returncode=end.value.code, stdout=said.out, stderr=said.err)

    return run


def configuration(config: str, output: Path, *opts):
    from gbw_panoptic.engine.setup import adapt_to_machine, load_config

    cfg = load_config(str(ROOT / "configs" / config), ["OUTPUT_DIR", str(output), *map(str, opts)])
    adapt_to_machine(cfg)
    os.makedirs(output, exist_ok=True)
    return cfg
