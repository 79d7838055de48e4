"""datasets/resize.py: pictures of any compression are averaged, ids are never taken from a lossy file."""

import numpy as np
import pytest
from PIL import Image

COLORS = np.zeros((8, 16, 3), np.uint8)
COLORS[:, ::2] = 200


@pytest.mark.parametrize(
    "name, options", [("a.webp", {"quality": 95}), ("a.png", {"format": "WEBP", "quality": 95}), ("a.jpg", {})]
)
def test_lossy_pictures_are_averaged(run_tool, tmp_path, name, options):
    (tmp_path / "in").mkdir()
    Image.fromarray(COLORS).save(tmp_path / "in" / name, **options)
    assert run_tool("datasets/resize.py", tmp_path / "in", tmp_path / "out", "--size", "4x8").returncode == 0
    found = np.asarray(Image.open(tmp_path / "out" / name).convert("RGB")).astype(int)
    assert found.shape == (4, 8, 3) and abs(found - 100).max() < 40


@pytest.mark.parametrize("kind, mode, labels", [("WEBP", "RGB", True), ("JPEG", "L", False), ("JPEG", "RGB", True)])
def test_lossy_labels_are_refused(run_tool, tmp_path, kind, mode, labels):
    (tmp_path / "in").mkdir()
    Image.fromarray(COLORS).convert(mode).save(tmp_path / "in/a.png", kind)
    done = run_tool(
        "datasets/resize.py", tmp_path / "in", tmp_path / "out", "--size", "4x8", *(["--labels"] if labels else [])
    )
    assert done.returncode == 2 and "whose compression changes ids" in done.stderr and not list(tmp_path.glob("out/*"))
