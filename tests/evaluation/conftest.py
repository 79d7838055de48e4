"""What the tests of reports share."""

import pytest

from gbw_panoptic.evaluation import comparison_pictures, report
from gbw_panoptic.visualization import plots


@pytest.fixture
def no_drawing(monkeypatch):
    """Pictures cost seconds; a test that reads the text can do without."""
    for name in ("class_bars", "confusion_matrix", "class_heat_maps"):
        monkeypatch.setattr(plots, name, lambda *_, **__: b"PNG")
    for module in (report, comparison_pictures):
        monkeypatch.setattr(module, "curves", lambda *_, **__: b"PNG")
