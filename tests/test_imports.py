"""The import rule of docs/architecture.md, and other rules of design that a reader cannot see at a glance."""

import ast
import inspect
import itertools
import pkgutil
import re
from pathlib import Path

import pytest

from gbw_panoptic.config.trainers import TRAINERS

PACKAGE = Path(__file__).parents[1] / "gbw_panoptic"
COMMON = set("taxonomy errors files forms places names searching coco_format cli locks structures optional".split())
ALLOWED = {
    "taxonomy": {"coco_format", "documents", "errors", "places"},
    "structures": {"coco_format", "taxonomy"},
    "distributed": set(),
    "machine": set(),
    "optional": {"errors"},
    "errors": set(),
    "coco_format": set(),
    "raster_metadata": set(),
    "rasters": {"errors", "raster_metadata"},
    "plain_png": {"rasters"},
    "names": set(),
    "places": {"errors"},
    "searching": {"errors"},
    "atomic": {"errors"},
    "forms": set(),
    "documents": {"errors", "forms"},
    "files": {"atomic", "documents", "errors", "forms", "plain_png", "rasters"},
    "cli": {"errors"},
    "locks": {"errors"},
    "streets": {"cli", "errors", "files", "taxonomy"},
    "config": COMMON | {"active", "adaptation", "losses", "modeling", "packaged_weights", "weighting"},
    "config_files": {"errors"},
    "data": COMMON,
    "packaged_weights": {"errors", "files"},
    "losses": COMMON | {"distributed"},
    "visualization": COMMON,
    "evaluation": COMMON | {"data", "visualization"},
    "trust": COMMON | {"data", "evaluation"},
    "reporting": COMMON | {"documents", "evaluation", "trust", "visualization"},
    "weighting": COMMON | {"data", "distributed", "losses"},
    "modeling": COMMON | {"losses", "weighting", "data"},
    "adaptation": COMMON | {"distributed", "losses", "weighting"},
    "active": COMMON,
    "labelling": COMMON | {"active", "reporting", "visualization"},
    "validation": COMMON | {"config"},
    "engine": COMMON | {
        "config", "config_files", "data", "weighting", "modeling", "adaptation", "active", "evaluation", "machine",
        "packaged_weights", "visualization", "trust",
    },
    "inference": COMMON | {
        "__version__", "config", "data", "engine", "evaluation", "modeling", "validation", "visualization", "weighting",
    },
    "export": COMMON | {"data", "inference", "modeling", "reporting"},
}  # fmt: skip
#: Modules that build from a configuration, under whatever names are good.
BUILDERS = {
    *(
        f"engine/{name}.py"
        for name in ("build", "evaluation", "execution", "setup", "solver", "strategies", "unsupervised")
    ),
    "modeling/build.py", "weighting/build.py",
}  # fmt: skip
SOURCES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def imported_parts(path):
    """Top-level parts of the package that a file imports."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.relative_to(PACKAGE.parent).parts[: -node.level]
            names = [*base[1:], *(node.module or "").split(".")] if node.module else base[1:]
            names = [n for n in names if n]
            parts.update([names[0]] if names else [alias.name for alias in node.names])
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gbw_panoptic"):
            parts.add(node.module.split(".")[1] if "." in node.module else "")
    return parts


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_import_rule(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    extra = imported_parts(path) - ALLOWED[own] - {own}
    assert not extra, f"{own} may not import {extra}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_cfg_stops_at_builders(path):
    """A cfg is read in rooms of builders; elsewhere in `from_config` and public `build_*` functions, which others may
    call."""
    place = str(path.relative_to(PACKAGE))
    assert all((PACKAGE / name).is_file() for name in BUILDERS)
    if place in BUILDERS or place.startswith("config/") or path.name.endswith("validation.py"):
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            arguments = {a.arg for a in (*node.args.args, *node.args.kwonlyargs)}
            builder = node.name == "from_config" or node.name.startswith("build_")
            assert "cfg" not in arguments or builder, f"{place}: {node.name} takes a cfg"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_literal_class_ids_outside_the_taxonomy(path):
    """Comparisons with a thing boundary (11) or a class count (16, 19) belong in taxonomy/."""
    if "taxonomy" in path.parts or "streets" in path.parts:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare):
            constants = [c.value for c in ast.walk(node) if isinstance(c, ast.Constant)]
            assert not {11, 16, 19} & {c for c in constants if type(c) is int}, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_one_table_alone_names_trainers(path):
    """Whatever else must know something of a trainer reads its row of config/trainers.py; the default of the key is a
    name, too."""
    if path == PACKAGE / "config" / "trainers.py" or "reporting" in path.parts:  # reports call runs by it
        return
    tree = ast.parse(path.read_text())
    named = [n.lineno for n in ast.walk(tree) if isinstance(n, ast.Constant) and n.value in TRAINERS]
    names = {n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef)}
    assert not names & set(TRAINERS) and len(named) <= (path.name == "adaptation_keys.py"), f"{path.name}: {named}"
    compared = [n for n in ast.walk(tree) if isinstance(n, ast.Compare) and "TRAINER.NAME" in ast.unparse(n)]
    assert not compared, ast.unparse(compared[0])


def test_every_row_of_the_table_has_a_builder():
    for name, facts in TRAINERS.items():
        assert list(inspect.signature(pkgutil.resolve_name(facts.builder)).parameters) == ["cfg", "model"], name


def test_the_walks_of_the_document_return_to_no_room():
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text().partition("## Four walks")[2].partition("\n## ")[0]
    walks = [re.findall(r"^\| `([\w.]+)` \|", table, re.M) for table in text.split("|---|---|")[1:]]
    assert len(walks) == 4
    for walk in walks:
        assert all(pkgutil.resolve_name(f"gbw_panoptic.{stay}") for stay in walk)
        rooms = [room for room, _ in itertools.groupby(stay.partition(".")[0] for stay in walk)]
        assert len(rooms) == len(set(rooms)), rooms


def test_no_file_imports_itself_through_others():
    """Imports inside of functions do not count: they are made when both files stand."""
    files = {
        ".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): p
        for p in PACKAGE.rglob("*.py")
    }
    imported = {name: {n for n in imported_modules(name, path) if n in files} for name, path in files.items()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above[above.index(name) :], name])
        if name not in done:
            for other in sorted(imported[name]):
                visit(other, (*above, name))
            done.add(name)

    for name in files:
        visit(name, ())


def imported_modules(name, path):
    """Dotted names of what a file imports when it is imported itself."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            module = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            yield from [f"{module}.{alias.name}" for alias in node.names]
            if module != ".".join(package):  # of its own package, only modules count: the package is being imported
                yield module
