"""The site of the documents: whole, without a warning, and without a request to another machine."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path):
    pytest.importorskip("mkdocstrings_handlers.python")
    pytest.importorskip("material")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # an advertisement
    built = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)
    assert built.returncode == 0 and "WARNING" not in built.stderr, built.stderr[-3000:]
    site = tmp_path / "site"
    assert "from_pretrained" in (site / "export.html").read_text()
    assert 'href="api/weighting.html"' in (site / "architecture.html").read_text()
    assert '<img alt="' in (site / "results" / "weighting" / "notebook.html").read_text()
    assert 'id="gbw_panoptic.inference.model.PanopticModel.predict"' in (site / "api" / "inference.html").read_text()
    found = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    assert len(found) > 500 and any("tau" in entry["text"] for entry in found)
    pages = sorted(site.rglob("*.html"))
    elsewhere = re.compile(r'<(?:script|img|link)\b[^>]*\b(?:src|href)="(https?://[^"]*)"')
    loaded = {url for page in pages for url in elsewhere.findall(page.read_text())}
    assert not loaded, f"the pages load from elsewhere: {loaded}"
    assert not any(re.search(r":(?:class|func|mod|meth):`", page.read_text()) for page in pages)
