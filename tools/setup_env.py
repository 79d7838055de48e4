"""Make ``.venv``: the locked packages, Detectron2 and this project. Standard library only; any Python 3.11 to 3.13.

    python3 tools/setup_env.py

A second run finds the stamp of the first and does nothing; an interrupted run is resumed by the next one. pip is used
with its own configuration, so a mirror or an index of your own is named in the usual way (``PIP_INDEX_URL``, pip.conf).

``DETECTRON2=<pip requirement>`` installs that Detectron2 (without its dependencies: the lock has them) instead of
building v0.6 as a pure-Python wheel; a Detectron2 that is already in ``.venv`` is used as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import _detectron2_wheel as wheel

ROOT = Path(__file__).resolve().parent.parent
EXIT_CODE = 2
OLDEST, NEWEST = (3, 11), (3, 13)
INPUTS = ("requirements.lock", "pyproject.toml", "tools/setup_env.py", "tools/_detectron2_wheel.py")
BUILD_TOOLS = ("setuptools", "wheel")  # build the source distributions of the lock, Detectron2 and this project
PIP_OPTIONS = ("--quiet", "--no-input", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
IMPORTS = "import cv2, torch, torchvision, panopticapi, detectron2.projects.panoptic_deeplab, gbw_panoptic"
HEARTBEAT = 30  # seconds between signs of life
# (what pip or venv printed, what to do about it); the first match counts
REMEDIES = (
    (
        r"ensurepip|No module named venv",
        "this Python cannot make an environment with pip; install its venv package "
        "(Debian, Ubuntu: python3-venv) or name another Python with PYTHON=<python>",
    ),
    (r"No module named pip", "there is no pip in .venv; remove .venv and run again"),
    (r"DO NOT MATCH THE HASHES", "the package index serves another file than the expected one; do not install it"),
    (r"No space left on device", "free some GB on this disk and run again; what is installed is kept"),
    (
        r"NewConnectionError|establish a new connection|name resolution|ConnectTimeout|ProxyError|Connection refused",
        "the package index cannot be reached; check the network, the proxy or pip's index setting, and run again",
    ),
    (r"Read timed out|IncompleteRead|Connection broken", "the network is slow; run again, what is installed is kept"),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "the certificate of the package index is not trusted; name the certificates of your "
        "proxy with PIP_CERT=<file>, and run again",
    ),
    (r"No matching distribution found", "the package index has no such version for this Python and this platform"),
)


class SetupError(Exception):
    """What went wrong and what to do about it, in words for the user."""


class Environment:
    """The virtual environment of one checkout, and the steps that make it.

    Args:
        root: the checkout.
        detectron2: the user's pip requirement for Detectron2 (may hold pip options); empty for none.
    """

    def __init__(self, root: Path, detectron2: str = "") -> None:
        self.root = root
        self.detectron2 = detectron2
        self.venv = root / ".venv"
        self.python = self.venv / "bin" / "python"
        self.stamp = self.venv / "setup.json"
        self.started = time.monotonic()

    def digest(self, detectron2: str) -> str:
        """Return a digest of everything that determines the environment."""
        parts = [detectron2, "%d.%d" % sys.version_info[:2], str(self.root)]
        parts += [(self.root / name).read_text(encoding="utf-8") for name in INPUTS]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def is_current(self) -> bool:
        """Whether a finished set-up with this digest is there; with no Detectron2 named, the one named then counts."""
        try:
            stamp = json.loads(self.stamp.read_text(encoding="utf-8"))
            return self.python.exists() and stamp["digest"] == self.digest(self.detectron2 or stamp["detectron2"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return False

    def make(self) -> None:
        """Run every step, then write the stamp."""
        self.stamp.unlink(missing_ok=True)
        steps = (
            ("virtual environment", self.create),
            ("build tools", self.install_build_tools),
            ("packages of requirements.lock (torch and its libraries: some GB on Linux)", self.install_lock),
            ("Detectron2", self.install_detectron2),
            ("this project", self.install_project),
            ("check that everything imports", self.check_imports),
        )
        for number, (name, step) in enumerate(steps, 1):
            print(f"[{number}/{len(steps)}] {time.monotonic() - self.started:5.0f} s  {name}", flush=True)
            step()
        temporary = self.stamp.with_suffix(".tmp")
        stamp = {"detectron2": self.detectron2, "digest": self.digest(self.detectron2)}
        temporary.write_text(json.dumps(stamp), encoding="utf-8")
        os.replace(temporary, self.stamp)
        print(f"set-up finished after {time.monotonic() - self.started:.0f} s", flush=True)

    def create(self) -> None:
        """Make the virtual environment unless a working one of this Python version is there."""
        probe = "import sys, pip; print('%d.%d' % sys.version_info[:2])"
        if self.python.exists():
            found = subprocess.run([str(self.python), "-c", probe], capture_output=True, text=True)
            if found.stdout.strip() == "%d.%d" % sys.version_info[:2]:
                remove_half_installed(self.venv)
                return
        self.run([sys.executable, "-m", "venv", "--clear", str(self.venv)], "could not make .venv")

    def install_build_tools(self) -> None:
        """Install the locked setuptools and wheel, which the source distributions of the lock need."""
        lines = (self.root / "requirements.lock").read_text(encoding="utf-8").splitlines()
        self.pip("install", *(line for line in lines if line.split("==")[0] in BUILD_TOOLS))

    def install_lock(self) -> None:
        """Install the whole lock."""
        self.pip("install", "-r", str(self.root / "requirements.lock"))

    def install_detectron2(self) -> None:
        """Install the user's Detectron2, or keep the one that is there, or build ours."""
        if self.detectron2:
            self.pip("install", *shlex.split(self.detectron2))
            return
        probe = "import importlib.metadata as m, detectron2; print(m.version('detectron2'))"
        found = subprocess.run([str(self.python), "-c", probe], capture_output=True, text=True)
        if found.returncode == 0 and found.stdout.strip() != wheel.VERSION:
            print(f"      keeping the installed Detectron2 {found.stdout.strip()}", flush=True)
            return
        with tempfile.TemporaryDirectory(dir=self.venv) as name:
            self.build_detectron2(Path(name))

    def build_detectron2(self, folder: Path) -> None:
        """Download, check, fix, build and install Detectron2 v0.6, with ``folder`` as scratch space."""
        # pip checks the hash before it runs anything of the archive; wheel.prepare_tree checks it once more.
        requirement = folder / "detectron2.txt"
        requirement.write_text(f"{wheel.REQUIREMENT} --hash=sha256:{wheel.SHA256}\n")
        self.pip("download", "--no-binary", ":all:", "--dest", str(folder), "-r", str(requirement))
        (archive,) = folder.glob("*.tar.gz")
        tree = wheel.prepare_tree(archive, folder / "source")
        self.pip("wheel", "--wheel-dir", str(folder), str(tree))
        (built,) = folder.glob("*.whl")
        self.pip("install", "--force-reinstall", str(built))

    def install_project(self) -> None:
        """Install this project in editable form, so that ``import gbw_panoptic`` needs no PYTHONPATH."""
        self.pip("install", "--editable", str(self.root))

    def check_imports(self) -> None:
        """Import what the project stands on, in the new environment."""
        self.run([str(self.python), "-c", IMPORTS], "the environment is complete but does not import")

    def pip(self, command: str, *arguments: str) -> None:
        """Run pip in the environment; its output is shown only when it fails."""
        self.run([str(self.python), "-m", "pip", command, *PIP_OPTIONS, *arguments], f"pip {command} failed")

    def run(self, command: list[str], failure: str) -> None:
        """Run a command quietly; raise :class:`SetupError` with its output and a remedy when it fails."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with subprocess.Popen(command, cwd=self.root, text=True, **streams) as process:
            output = None
            while output is None:
                try:
                    output, _ = process.communicate(timeout=HEARTBEAT)
                except subprocess.TimeoutExpired:
                    print(f"      {time.monotonic() - self.started:5.0f} s  still at it", flush=True)
        if process.returncode:
            raise SetupError(f"{output.strip()}\n\nerror: {failure}: {remedy(output)}")


def remove_half_installed(venv: Path) -> None:
    """Remove the metadata of packages whose installation was killed, so that pip installs them again.

    pip takes a package with metadata for installed; INSTALLER is among the last files that it writes.
    """
    for metadata in venv.glob("lib/python*/site-packages/*.dist-info"):
        if not (metadata / "INSTALLER").exists():
            shutil.rmtree(metadata)


def remedy(output: str) -> str:
    """Return one sentence on what to do about the failure that printed ``output``."""
    return next((sentence for sign, sentence in REMEDIES if re.search(sign, output)), "the output above says why")


def check_python(version: tuple[int, ...]) -> None:
    """Raise :class:`SetupError` unless the lock has packages for this Python version."""
    if not OLDEST <= version[:2] <= NEWEST:
        raise SetupError(
            "error: expected Python %d.%d to %d.%d, found %d.%d; name one with PYTHON=python3.11"
            % (*OLDEST, *NEWEST, *version[:2])
        )


def check_folder(venv: Path) -> None:
    """Raise :class:`SetupError` where ``.venv`` is a link to another checkout's: a set-up would make that one import
    this code."""
    other = venv.resolve().parent
    if venv.is_symlink() and other != ROOT and (other / "tools" / Path(__file__).name).is_file():
        raise SetupError(
            f"error: expected .venv to be this checkout's own, found a link to that of {other}; remove the link"
        )


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Refuse a second set-up of the checkout while one is at work; a killed one leaves no lock."""
    sys.path.insert(0, str(ROOT))
    from gbw_panoptic.errors import UserError
    from gbw_panoptic.locks import exclusive  # needs the standard library alone, and a Python that is not too old

    try:
        with exclusive(root / ".setup.lock", what="set-up", remedy="end it first"):
            yield
    except UserError as error:
        raise SetupError(f"error: {error}") from None


def main() -> int:
    """Make the environment of this checkout unless it is there; return the exit status."""
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    try:
        check_python(sys.version_info)
        check_folder(ROOT / ".venv")
        environment = Environment(ROOT, os.environ.get("DETECTRON2", "").strip())
        if not environment.is_current():
            with alone(ROOT):
                environment.make()
    except SetupError as error:
        print(error, file=sys.stderr)
        return EXIT_CODE
    except wheel.SourceError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    except KeyboardInterrupt:
        print("interrupted; the next run goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
