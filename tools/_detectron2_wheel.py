"""Turn the source distribution of Detectron2 v0.6 into a pure-Python wheel that runs on today's packages.

``pb1-detectron2==0.6`` holds the Python sources of the official v0.6 tag, byte for byte, without the C++ operators,
and its own build fails for lack of them. This project needs none of those operators (deformable convolution, rotated
boxes, fast COCO evaluation of boxes). So: check the hash, apply the fixes of :data:`FIXES`, build with a build file of
our own.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tarfile
from pathlib import Path
from typing import NamedTuple, Sequence

REQUIREMENT = "pb1-detectron2==0.6"
SHA256 = "5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29"
VERSION = "0.6+pure"  # the local label tells doctor.py and setup_env.py that the wheel is ours


class SourceError(Exception):
    """The source distribution is not the one that the fixes were written for."""


class Fix(NamedTuple):
    """Replace every match of the regular expression ``old`` in the file ``path``; there must be exactly ``count``."""

    path: str
    old: str
    new: str
    count: int


_NUMPY_ALIAS = r"\bnp\.(bool|int|float|str)\b"  # removed in NumPy 1.24
_IMPORT_OPERATORS = r"^from detectron2 import _C$"
_NO_OPERATORS = "from detectron2._missing_operators import MISSING as _C"

FIXES = (
    Fix("detectron2/data/build.py", _NUMPY_ALIAS, r"\1", 2),
    Fix("detectron2/data/datasets/pascal_voc.py", _NUMPY_ALIAS, r"\1", 1),
    Fix("detectron2/evaluation/pascal_voc_evaluation.py", _NUMPY_ALIAS, r"\1", 2),
    # np.array(tensor) warns with NumPy 2: tensors do not know its copy argument.
    Fix("detectron2/evaluation/sem_seg_evaluation.py", r"np\.array\(output, ", "np.asarray(output, ", 1),
    Fix("detectron2/evaluation/sem_seg_evaluation.py", _NUMPY_ALIAS, r"\1", 7),
    Fix("detectron2/structures/masks.py", _NUMPY_ALIAS, r"\1", 3),
    Fix("detectron2/utils/video_visualizer.py", _NUMPY_ALIAS, r"\1", 1),
    Fix("detectron2/utils/visualizer.py", _NUMPY_ALIAS, r"\1", 3),
    # Removed in Pillow 10; LINEAR was another name of BILINEAR.
    Fix("detectron2/data/transforms/transform.py", r"\bImage\.LINEAR\b", "Image.BILINEAR", 1),
    # Removed in setuptools 82.
    Fix("detectron2/model_zoo/model_zoo.py", r"^import pkg_resources\n", "", 1),
    Fix(
        "detectron2/model_zoo/model_zoo.py",
        r'pkg_resources\.resource_filename\(\s*"detectron2\.model_zoo", ',
        "os.path.join(os.path.dirname(os.path.abspath(__file__)), ",
        1,
    ),
    # The operators that this wheel leaves out: fail on use, not on import.
    Fix("detectron2/evaluation/fast_eval_api.py", _IMPORT_OPERATORS, _NO_OPERATORS, 1),
    Fix("detectron2/layers/deform_conv.py", _IMPORT_OPERATORS, _NO_OPERATORS, 1),
    Fix("detectron2/layers/roi_align_rotated.py", _IMPORT_OPERATORS, _NO_OPERATORS, 1),
    Fix("detectron2/layers/rotated_boxes.py", _IMPORT_OPERATORS, _NO_OPERATORS, 1),
    # Deprecated in torch, with a warning at each use.
    Fix(
        "detectron2/modeling/anchor_generator.py",
        r"torch\.meshgrid\((\w+, \w+)\)",
        r'torch.meshgrid(\1, indexing="ij")',
        1,
    ),
    Fix(
        "projects/Panoptic-DeepLab/panoptic_deeplab/post_processing.py",
        r"(torch\.meshgrid\(\n(?:.+,\n){2})",
        r'\1        indexing="ij",\n',
        1,
    ),
    Fix("detectron2/engine/train_loop.py", r"from torch\.cuda\.amp import", "from torch.amp import", 2),
    Fix("detectron2/engine/train_loop.py", r"with autocast\(\):", 'with autocast("cuda"):', 1),
)

# Files added to the tree. The build file replaces the upstream setup.py, which compiles the operators.
ADDED = {
    "detectron2/_missing_operators.py": '''\
"""Stands in for the compiled operators, which this pure-Python build of Detectron2 leaves out."""


class _MissingOperators:
    def __getattr__(self, name):
        raise ImportError(
            f"detectron2._C.{name} is a compiled operator and this is a pure-Python build of Detectron2; "
            "install a compiled Detectron2 to use it."
        )


MISSING = _MissingOperators()
''',
    "pyproject.toml": f'''\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "detectron2"
version = "{VERSION}"
description = "Detectron2 v0.6 without its compiled operators"
license-files = ["LICENSE"]

[tool.setuptools.packages.find]
include = ["detectron2*"]
namespaces = false

[tool.setuptools.package-data]
"detectron2.model_zoo" = ["configs/**/*"]
''',
}

PROJECTS = {
    "projects/PointRend/point_rend": "detectron2/projects/point_rend",
    "projects/DeepLab/deeplab": "detectron2/projects/deeplab",
    "projects/Panoptic-DeepLab/panoptic_deeplab": "detectron2/projects/panoptic_deeplab",
}


def check_hash(archive: Path, sha256: str = SHA256) -> None:
    """Raise :class:`SourceError` unless the file has this SHA-256 digest."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != sha256:
        raise SourceError(
            f"expected {archive.name} with sha256 {sha256}, found {found}; the package index serves another file: "
            "do not install it, or name a Detectron2 of your own with DETECTRON2=<pip requirement>"
        )


def apply_fixes(tree: Path, fixes: Sequence[Fix] = FIXES) -> None:
    """Edit the files of the unpacked ``tree`` in place; raise :class:`SourceError` when a fix does not fit exactly."""
    for fix in fixes:
        file = tree / fix.path
        if not file.is_file():
            raise SourceError(
                f"expected {fix.path} in the Detectron2 sources, found no such file; the fixes do not fit them"
            )
        text, count = re.subn(fix.old, fix.new, file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        if count != fix.count:
            raise SourceError(
                f"expected {fix.count} matches of {fix.old!r} in {fix.path} of the Detectron2 sources, found {count}; "
                "the fixes do not fit them"
            )
        file.write_text(text, encoding="utf-8")


def prepare_tree(archive: Path, folder: Path) -> Path:
    """Unpack the checked ``archive`` into ``folder`` and make it a buildable pure-Python project; return its path."""
    check_hash(archive)
    safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.4 and later
    with tarfile.open(archive) as tar:
        tar.extractall(folder, **safe)
    (tree,) = (path for path in folder.iterdir() if path.is_dir())
    apply_fixes(tree)
    for source, destination in PROJECTS.items():
        shutil.move(tree / source, tree / destination)
    for leftover in ("setup.py", "setup.cfg"):
        (tree / leftover).unlink()
    for path, text in ADDED.items():
        (tree / path).write_text(text, encoding="utf-8")
    return tree
