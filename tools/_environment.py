"""What every tool imports first: where the project's packages are missing, one sentence with the command that works.

Standard library only, and no syntax of new Pythons: this runs where nothing is installed.
"""

import importlib.util
import os
import shlex
import sys
import warnings

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXIT_CODE = 2
OLDEST = (3, 11)
#: What `pyproject.toml` depends on, by the names of import.
PACKAGES = (
    "torch", "torchvision", "detectron2", "fvcore", "iopath", "cv2", "numpy", "scipy", "PIL", "yaml", "matplotlib",
    "pycocotools", "cityscapesscripts", "panopticapi", "tensorboard", "tqdm", "jinja2",
)  # fmt: skip


def problem(python, arguments):
    """The sentence for a Python that cannot run the tools; None for one that can.

    Args:
        python: its path.
        arguments: of the command, the tool's file first.
    """
    if sys.version_info[:2] < OLDEST:
        found = "Python %d.%d" % sys.version_info[:2]
    else:
        missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
        found = "a Python without " + " and ".join(missing[:2] + ["%d more" % (len(missing) - 2)] * (len(missing) > 2))
        if not missing and sys.flags.optimize:
            return (
                "expected Python with its assertions, which Detectron2 needs, found -%s; leave the option out, or "
                "unset PYTHONOPTIMIZE" % ("O" * sys.flags.optimize)
            )
        if not missing:
            return None
    return "expected the environment of this project, found %s at %s; run `%s`" % (found, python, remedy(arguments))


def remedy(arguments):
    """The command that works, with the set-up before it where there is none yet."""
    folder = os.path.join(ROOT, ".venv")
    python = os.path.join(folder, "Scripts" if os.name == "nt" else "bin", "python")
    command = " ".join(shlex.quote(word) for word in [_short(python)] + list(arguments))
    if os.path.isfile(os.path.join(folder, "setup.json")):  # the stamp of a set-up that was finished
        return command
    return (
        "make setup && " + command if _short(ROOT) == "." else "make -C %s setup && %s" % (shlex.quote(ROOT), command)
    )


def _short(path):
    """Relative to the working folder where it lies below that one."""
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative


def check():
    """End the process with the sentence if there is one."""
    sentence = problem(sys.executable, sys.argv)
    if sentence is not None:
        sys.stderr.write("error: %s\n" % sentence)
        sys.exit(EXIT_CODE)
    if importlib.util.find_spec("gbw_panoptic") is None:  # an environment of the user's own
        sys.path.insert(1, ROOT)
    # fvcore and Detectron2 script functions at import; a user can do nothing about it
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)


check()
