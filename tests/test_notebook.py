"""The notebook of docs/ runs from top to bottom, and lies there without outputs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_words import long_sentences

ROOT = Path(__file__).parents[1]
PATH = ROOT / "docs" / "first_steps.ipynb"
NOTEBOOK = json.loads(PATH.read_text())


def sources(kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == kind]


def test_it_is_small_plain_and_without_outputs():
    assert NOTEBOOK["nbformat"] == 4 and PATH.stat().st_size < 20_000
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in NOTEBOOK["cells"])
    assert not [sentence for text in sources("markdown") for sentence in long_sentences(text)]
    assert "docs/first_steps.ipynb" in (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path):
    script = tmp_path / "notebook.py"
    script.write_text("\n".join(sources("code")))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    work = tmp_path / "output" / "notebook"
    assert (work / "overlay.png").stat().st_size > 1000 and (work / "exported" / "model.safetensors").is_file()
