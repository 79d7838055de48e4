"""The table of keys: complete, current, and every value of every key is taken or refused with one sentence."""

import ast
import fnmatch
import importlib
import logging
import math
import re
from pathlib import Path

import pytest
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import BACKBONE_REGISTRY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gbw_panoptic.config import KEYS, add_gbw_panoptic_config, key_problems, merge_list
from gbw_panoptic.config.document import page
from gbw_panoptic.config.kinds import HOSTS
from gbw_panoptic.engine import build_trainer
from gbw_panoptic.engine.setup import load_config
from gbw_panoptic.errors import UserError
from gbw_panoptic.modeling.registries import backbones
from gbw_panoptic.validation import validate

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / "configs" / "quick" / "self_training_gbw.yaml")
#: Modules of the host whose functions this project calls with a configuration.
HOST = (
    "detectron2.projects.deeplab.build_solver", "detectron2.projects.deeplab.resnet",
    "detectron2.projects.deeplab.semantic_seg", "detectron2.projects.panoptic_deeplab.panoptic_seg",
    "detectron2.modeling.backbone.resnet", "detectron2.solver.build", "detectron2.engine.defaults",
)  # fmt: skip
#: Small, and the trainers that between them read every section.
TINY = (
    "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "SOLVER.IMS_PER_BATCH", 1, "SOLVER.MAX_ITER", 2, "INPUT.CROP.SIZE",
    "(64, 128)",
    "DATALOADER.NUM_WORKERS", 0, "ACTIVE.ITERATIONS", "(1,)", "MODEL.MASK2FORMER.ENCODER_LAYERS", 1,
    "MODEL.MASK2FORMER.DECODER_LAYERS", 1, "MODEL.MASK2FORMER.HIDDEN_DIM", 32,
)  # fmt: skip
BUILT = (
    ("quick/active_cbda.yaml", ()),
    ("quick/adversarial_gbw.yaml", ()),
    ("quick/entropy_gbw.yaml", ()),
    ("streets/mask2former_self_training_gbw.yaml", ()),
    ("quick/source_only.yaml", ("SOLVER.OPTIMIZER", "ADAMW", "SOLVER.CLIP_GRADIENTS.ENABLED", True)),
)


def fresh() -> CfgNode:
    cfg = get_cfg()
    add_gbw_panoptic_config(cfg)
    return cfg


def is_key(cfg: CfgNode, name: str) -> bool:
    node = cfg
    for part in name.split("."):
        if not isinstance(node, CfgNode) or part not in node:
            return False
        node = node[part]
    return not isinstance(node, CfgNode)


def keys_in(source: str) -> set[str]:
    """Patterns of the keys that the functions of a module read.

    ``A.B`` of ``cfg.A.B``, or of ``options.B`` behind ``options = cfg.A``; ``*`` stands for a part that is computed,
    and ``**`` for the section that a parameter brings.
    """
    found, tree = set(), ast.parse(source)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    outside = {(alias.asname or alias.name).split(".")[0] for node in imports for alias in node.names} | {"self", "cls"}
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        names = {argument.arg: "**." for argument in function.args.args + function.args.kwonlyargs}
        names = {name: section for name, section in names.items() if name not in outside}
        names["cfg"] = ""
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and len(node.targets) == 1:
                target, value = node.targets[0], node.value
                paired = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
                for name, given in zip(target.elts, value.elts) if paired else [(target, value)]:
                    chain = chain_of(given, names)
                    if isinstance(name, ast.Name) and chain:
                        names[name.id] = f"{chain}."
        found |= {chain for node in ast.walk(function) if (chain := chain_of(node, names))}
    return found


def chain_of(node: ast.AST, names: dict[str, str]) -> str | None:
    """The pattern of an expression that starts with one of ``names`` and has a part in capitals."""
    parts = []
    while isinstance(node, ast.Attribute | ast.Subscript):
        part = node.attr if isinstance(node, ast.Attribute) else getattr(node.slice, "value", node.slice)
        computed = isinstance(node, ast.Subscript) and not isinstance(node.slice, ast.Constant)
        if not computed and not (isinstance(part, str) and part.isupper()):
            return None
        parts.append("*" if computed else part)
        node = node.value
    known = isinstance(node, ast.Name) and node.id in names and set(parts) - {"*"}
    return names[node.id] + ".".join(reversed(parts)) if known else None


def fits(key: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(key, pattern.replace("**.", "*")) and (
        pattern[:2] == "**" or key.count(".") == pattern.count(".")
    )


def record(cfg: CfgNode, monkeypatch) -> set[str]:
    """The keys of ``cfg`` and its copies that are read from now on."""
    read = set()

    def mark(node: CfgNode, prefix: str = "") -> None:
        node.__dict__["prefix"] = prefix
        for name, value in node.items():
            if isinstance(value, CfgNode):
                mark(value, f"{prefix}{name}.")

    def reading(get):
        def wrapper(self, name):
            value = get(self, name)
            if "prefix" in self.__dict__ and name in self and not isinstance(value, CfgNode):
                read.add(self.__dict__["prefix"] + name)
            return value

        return wrapper

    mark(cfg)
    base = CfgNode.__mro__[2]  # yacs's
    monkeypatch.setattr(base, "__getattr__", reading(base.__getattr__))
    monkeypatch.setattr(base, "__getitem__", reading(dict.__getitem__), raising=False)
    return read


def test_every_key_that_is_read_has_a_row_and_every_row_is_read(make_cfg, monkeypatch):
    cfg, ours, hosts = fresh(), set(), set()
    for path in [*(ROOT / "gbw_panoptic").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]:
        ours |= keys_in(path.read_text())
    for module in HOST:
        hosts |= keys_in(Path(importlib.import_module(module).__file__).read_text())
    unknown = [name for name in ours if "*" not in name and is_key(cfg, name) and name not in KEYS]
    unknown += [name for name in ours if "**" in name and not any(fits(key, f"{name}*") for key in KEYS)]
    assert len(ours) > 150 and not unknown, "keys that are read without a row"
    recorded = set()
    for config, opts in BUILT:
        target = ("DATASETS.TARGET", "('cityscapes_uda_images_train',)") if "source_only" not in config else ()
        with monkeypatch.context() as patch:
            built = make_cfg(config, *TINY, *target, *opts)
            read = record(built, patch)
            validate(built)
            checked = set(read)
            read.clear()
            build_trainer(built)
            recorded |= read
            assert checked >= set(KEYS)
    assert not recorded - set(KEYS), "keys that are read without a row"
    unread = [key for key in set(KEYS) - recorded if not any(fits(key, pattern) for pattern in ours | hosts)]
    assert not unread, "rows of keys that nothing reads"


@pytest.mark.parametrize(
    "source, patterns",
    [
        ("def f(cfg):\n    return cfg.A.B", {"A.B", "A"}),
        ("def f(cfg):\n    options = cfg.A\n    return options['B']", {"A.B", "A"}),
        ("def f(cfg, key):\n    return cfg.A[key].C", {"A", "A.*", "A.*.C"}),
        ("def f(options):\n    return options.B", {"**.B"}),
        ("import cv2\ndef f(cfg):\n    return cv2.FLAG", set()),
    ],
)
def test_reads_are_found_however_they_are_written(source, patterns):
    assert keys_in(source) == patterns


def test_every_default_but_those_of_detection_fits_its_row():
    """Crops in parts of an image are Detectron2's default; this project's configurations set their size."""
    told = list(key_problems(fresh()))
    assert {text.split(":")[0] for text in told} == {"INPUT.CROP.ENABLED", "INPUT.CROP.TYPE", "INPUT.CROP.SIZE"}
    for key in KEYS.values():
        assert (
            key.text.endswith(".")
            and "|" not in key.text
            and (key.default is HOSTS or key.problem(key.default) is None)
        )


def test_the_document_is_current():
    """`python -m gbw_panoptic.config.document` writes it."""
    assert (ROOT / "docs" / "configuration.md").read_text() == page()


def test_parts_are_listed_by_name_in_whatever_order_they_were_imported(monkeypatch):
    """The document of the keys, and messages, name them."""
    monkeypatch.setattr(BACKBONE_REGISTRY, "_obj_map", dict(reversed(BACKBONE_REGISTRY._obj_map.items())))
    assert backbones() == sorted(backbones())
    test_the_document_is_current()


def test_a_negative_seed_is_refused():
    with pytest.raises(UserError, match=r"^SEED: expected an integer of at least 0, found -1;"):
        cfg = fresh()
        cfg.SEED = -1
        validate(cfg)


def test_an_integer_does_where_a_number_is_meant():
    cfg = fresh()
    numbers = [key for key in KEYS.values() if isinstance(value_of(cfg, key.name), float)]
    assert len(numbers) > 50
    for key in numbers:
        value = next((value for value in (1, 0, 2) if key.problem(value) is None), None)
        if value is not None:
            merge_list(cfg, [key.name, str(value)])
            assert value_of(cfg, key.name) == value and type(value_of(cfg, key.name)) is float


def value_of(cfg: CfgNode, name: str):
    for part in name.split("."):
        cfg = cfg[part]
    return cfg


ODD = (
    "-1", "0", "1", "0.5", "-0.5", "nan", "inf", "1e999", "-1e999", "1e400", str(2**31), str(2**64), str(10**30),
    "9" * 5000, "None", "''",
    "foo", "True", "()", "[]", "{}", "(None,)", "(1,)", "('a',)", "(-1, -1)", "(1, 'a')", "[[1, 2]]", "(1, 2, 3, 4, 5)",
    "{'a': 1}",
    "((", "\x00", "(" * 300, "-" * 99999 + "1", "1_0", "b'a'", "1j", "...", "{1}", "\ud800", "lambda: 0",
)  # fmt: skip


@pytest.mark.parametrize("value", ODD, ids=lambda value: ascii(value[:12]))
def test_odd_values_of_every_key_are_taken_or_refused_with_one_sentence(value):
    cfg = fresh()
    for name in KEYS:
        before = value_of(cfg, name)
        try:
            merge_list(cfg, [name, value])
        except UserError as error:
            text = str(error)
            assert "\n" not in text and len(text) < 1000 and name in text and "expected" in text and "found" in text
            assert value_of(cfg, name) == before
            continue
        after = value_of(cfg, name)
        assert KEYS[name].problem(after) is None
        assert type(after) is type(before) or {type(after), type(before)} == {int, float}


def test_a_bound_that_no_row_names_is_said():
    with pytest.raises(
        UserError, match=r"SEED: expected an integer of at least 0, found 4294967296 \(beyond 2147483647\)"
    ):
        load_config(CONFIG, ["SEED", str(2**32)])


@pytest.mark.parametrize(
    "name, value",
    [
        ("SOLVER.BASE_LR", "-1"), ("SOLVER.WEIGHT_DECAY", "-0.1"), ("SOLVER.BACKBONE_MULTIPLIER", "-1"),
        ("MODEL.SEM_SEG_HEAD.LOSS_WEIGHT", "-1"), ("MODEL.INS_EMBED_HEAD.CENTER_LOSS_WEIGHT", "-1"),
        ("INPUT.TARGET.IGNORE_TOP", "-3"), ("SOLVER.WARMUP_METHOD", "foo"), ("SOLVER.LR_SCHEDULER_NAME", "foo"),
        ("INPUT.CROP.SIZE", "(0, 64)"), ("INPUT.CROP.SIZE", "(64,)"), ("INPUT.CROP.SIZE", "64"),
        ("MODEL.DEVICE", "banana"),
        ("MODEL.RESNETS.NORM", "foo"), ("MODEL.RESNETS.OUT_FEATURES", "[]"), ("SEED", str(2**64)), ("SEED", "-1"),
        ("SOLVER.IMS_PER_BATCH", "0"), ("DATALOADER.NUM_WORKERS", "-1"), ("SOLVER.CHECKPOINT_PERIOD", "0"),
        ("MODEL.PIXEL_MEAN", "(1.0, 2.0)"), ("MODEL.PIXEL_STD", "(1.0, 0.0, 1.0)"), ("MODEL.TASK", "1"),
        ("MODEL.PANOPTIC_DEEPLAB.TOP_K_INSTANCE", "70000"), ("MODEL.MASK2FORMER.NUM_QUERIES", "70000"),
        ("GBW.LAMBDA", "nan"),
        ("MODEL.SEM_SEG_HEAD.NUM_CLASSES", "3000"),
    ],
)  # fmt: skip
def test_what_used_to_end_in_a_traceback_is_refused(tmp_path, name, value):
    path = tmp_path / "config.yaml"
    path.write_text("".join(f"{'  ' * i}{part}:\n" for i, part in enumerate(name.split("."))).rstrip() + f" {value}\n")
    for action in (lambda: load_config(CONFIG, [name, value]), lambda: load_config(str(path), [])):
        # what no YAML of this project may hold, an integer beyond 64 bits, is refused by its reader, which shows the
        # line
        by_reader = rf"expected .* found: .*{name.split('.')[-1]}: {re.escape(value)}.*"
        with pytest.raises(UserError, match=f"^({name}: expected .* found .*|{by_reader}); "):
            action()


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(KEYS)),
            st.one_of(st.sampled_from(ODD), st.integers().map(str), st.floats().map(str), st.text(max_size=8)),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_random_values_through_the_whole_check(streets, pairs):
    words = [word for pair in pairs for word in pair]
    try:
        cfg = load_config(CONFIG, words)
        validate(cfg)
    except UserError as error:
        assert "\n" not in str(error) and "found" in str(error)
    else:
        assert not list(key_problems(cfg))
        numbers = [value_of(cfg, name) for name in KEYS if name != "SOLVER.CLIP_GRADIENTS.NORM_TYPE"]
        assert all(math.isfinite(value) for value in numbers if type(value) is float)


def test_another_value_of_a_key_that_nothing_reads_is_warned_of(streets, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("gbw_panoptic"), "propagate", True)
    cfg = load_config(CONFIG, ["MODEL.RPN.NMS_THRESH", "0.5", "MODEL.WEIGHTS", ""])
    with caplog.at_level(logging.WARNING, "gbw_panoptic"):
        validate(cfg)
    assert "Nothing here reads MODEL.RPN.NMS_THRESH: another value has no effect." in caplog.text
