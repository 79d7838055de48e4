"""docs/reliability.md names tests that exist, and every promise in its tables names one."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "reliability.md").read_text()
NODES = re.findall(r"`(tests/[\w/]+\.py::\w+)`", TEXT)


@pytest.mark.parametrize("node", NODES)
def test_the_test_exists(node):
    path, name = node.split("::")
    functions = {n.name for n in ast.parse((ROOT / path).read_text()).body if isinstance(n, ast.FunctionDef)}
    assert name in functions


def test_every_promise_has_a_test():
    rows = [
        line for line in TEXT.splitlines() if line.startswith("|") and line.count("|") == 3 and set(line) - set("|- ")
    ]
    promises = [row for row in rows if "| test |" not in row]
    assert len(promises) > 40 and not [row for row in promises if "tests/" not in row]
    assert len(set(NODES)) == len(NODES)
