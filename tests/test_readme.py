"""What the README promises, and the files that it and the other documents name."""

import re
import tomllib
from pathlib import Path

import pytest
import torch
import yaml

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / "datasets" / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]


def test_the_five_lines_run_on_any_network():
    code = re.search(r"## Use GBW in your own code\n\n((?:    .*\n|\n)+)", README).group(1)
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 19, 1)
    names = {"logits": network(torch.rand(2, 3, 8, 9)), "labels": torch.randint(0, 19, (2, 8, 9))}
    exec("\n".join(line[4:] for line in code.splitlines()), names)
    names["loss"].backward()
    assert torch.isfinite(network.weight.grad).all() and network.weight.grad.abs().sum() > 0
    assert names["weighting"].statistics["source"]["weight"].sum().item() == pytest.approx(19, abs=1e-4)  # float32


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_is_named_exists(path):
    text = path.read_text()
    for target in re.findall(r"\]\(((?!http)[^)#]+)(?:#[^)]*)?\)", text):
        assert (path.parent / target).exists(), target
    named = set(re.findall(r"\b(?:configs|tools|tests|gbw_panoptic|datasets)/[\w./-]+\.(?:py|yaml|md)\b", text))
    for name in named - {"datasets/custom.yaml"}:  # the user's
        assert (ROOT / name).is_file(), name


def test_the_citation_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project["version"] and citation["license"] == project["license"]
    assert citation["abstract"] == project["description"] and f"version={{{project['version']}}}" in README
