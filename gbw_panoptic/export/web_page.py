"""A trained model as one HTML file that runs in a browser, offline: the model and onnxruntime-web are inside.

A browser lets a page from the disk neither fetch a file beside it nor start a worker or WebAssembly from one. So
everything is embedded: packed by gzip, as base64.
"""

import base64
import gzip
import hashlib
import io
import mimetypes
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from ..errors import UserError
from ..inference.model import PanopticModel
from ..reporting.html import write_template
from .onnx_file import OPSET, metadata, write_onnx

NAME = "page.html"
#: The npm package that runs the model, and the SHA-512 of its archive as npm's own lock files have it.
PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
_PARTS = {"runtime": "ort.wasm.bundle.min.mjs", "wasm": "ort-wasm-simd-threaded.wasm"}
_REMEDY = f"`npm pack {PACKAGE}@{VERSION}` fetches it, and --onnxruntime-web names the file"


def write_page(model: PanopticModel, folder: Path, *, archive: Path | None = None, example: Path | None = None) -> Path:
    """``page.html`` in ``folder``.

    Args:
        archive: the npm package as a file; None: npm fetches it.
        example: an image that the page shows first.

    Raises:
        UserError: the package is not there or another one, or the model cannot be exported.
    """
    parts = runtime_parts(archive)
    shown = _data_url(example) if example else None
    with tempfile.TemporaryDirectory() as temporary:
        parts["model"] = write_onnx(model, Path(temporary), confidence=True).read_bytes()
    path = folder / NAME
    write_template(
        "model.html.j2", path, title="Panoptic segmentation in your browser", lead=_lead(model), example=shown,
        terms=_terms(model), about=metadata(model, OPSET), packed={name: _packed(data) for name, data in parts.items()},
    )  # fmt: skip
    return path


def runtime_parts(archive: Path | None = None) -> dict[str, bytes]:
    """``runtime``, a module of JavaScript, and ``wasm``, what it runs, from the pinned package.

    Raises:
        UserError: npm or the file is not there, or the file is another one.
    """
    data = _fetched() if archive is None else _read(archive)
    if base64.b64encode(hashlib.sha512(data).digest()).decode() != INTEGRITY:
        found = f"another file ({archive})" if archive else "another archive from npm"
        raise UserError(f"Expected {PACKAGE} {VERSION} with the SHA-512 {INTEGRITY[:12]}..., found {found}; {_REMEDY}.")
    with tarfile.open(fileobj=io.BytesIO(data)) as package:
        return {part: package.extractfile(f"package/dist/{name}").read() for part, name in _PARTS.items()}


def _fetched() -> bytes:
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(f"--to page: expected npm, found none; install it, or fetch {PACKAGE} elsewhere: {_REMEDY}")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        found = sorted(Path(folder).glob("*.tgz"))
        if done.returncode or not found:
            said = " ".join((done.stderr or done.stdout).split())[:200] or f"exit code {done.returncode}"
            raise UserError(f"--to page: expected {PACKAGE} {VERSION} from npm, found: {said}; {_REMEDY}")
        return found[0].read_bytes()


def _read(archive: Path) -> bytes:
    if not archive.is_file():
        raise UserError(f"--onnxruntime-web: expected a file, found none at {archive}; {_REMEDY}")
    return archive.read_bytes()


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


def _data_url(image: Path) -> str:
    kind = mimetypes.guess_type(image.name)[0] or ""
    if not image.is_file() or not kind.startswith("image/"):
        raise UserError(f"--example: expected an image, found {image}; name a JPEG or PNG file")
    return f"data:{kind};base64,{base64.b64encode(image.read_bytes()).decode()}"


def _lead(model: PanopticModel) -> str:
    names = model.taxonomy.names
    things = ", ".join(names[i] for i in model.taxonomy.thing_ids)
    return f"Each pixel gets one of {len(names)} classes. Objects of these classes are told apart: {things}."


def _terms(model: PanopticModel) -> str:
    return f"The weights come under {metadata(model, OPSET)['licence']}. {PACKAGE} {VERSION}: MIT licence, Microsoft."
