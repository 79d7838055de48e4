"""Generates the embedded data sets: plan, parallel work, restart, manifest."""

import json
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Callable, Iterable, Iterator, Sequence

import cv2
import numpy as np

from .. import cli, files
from ..errors import UserError
from ..taxonomy import CITYSCAPES
from .look import between
from .placement import REACH
from .render import render
from .scene import compose
from .street import DOMAINS, SYNTHIA
from .write import FORMATS, read_contiguous, write_bytes, write_image

#: Rises whenever the same seed would give other files.
GENERATOR_VERSION = 1
MANIFEST_NAME = "streets.json"
#: What is read of an earlier manifest.
_MANIFEST = {"version": int, "settings": {"formats": [str]}}
_SPLITS = ("train", "val")
_MIN_SIZE = 32  # pixels; below, objects vanish
_LEAST_REACH = 10.0  # metres


@dataclass(frozen=True)
class Job:
    """One image: data set, split and number. Together with seed and size it determines every byte."""

    name: str
    split: str
    index: int


def generate(
    root: str | Path,
    *,
    size: tuple[int, int] = (128, 256),
    source: int = 40,
    target_train: int = 40,
    target_val: int = 20,
    gap: float = 1.0,
    reach: float = REACH,
    seed: int = 0,
    formats: Sequence[str] = ("synthia", "gta5", "cityscapes"),
    workers: int = 1,
    overwrite: bool = False,
    progress: bool = False,
) -> dict:
    """Write the data sets below ``root`` and return the manifest (also written to ``streets.json``).

    Files that exist are kept if the manifest there has the same settings, so a stopped run continues.

    Args:
        root: the folder that ``DETECTRON2_DATASETS`` will name.
        size: (height, width) of every image in pixels.
        source: images of each source data set.
        target_train, target_val: images of the target's two splits.
        gap: how far the target's look is from the SYNTHIA-format source's, 0 (the same) to 1 (a grey camera's).
        reach: metres up to which objects stand; in small images, what is farther has too few pixels to be seen.
        seed: any integer of at least 0.
        formats: which of ``synthia``, ``gta5`` and ``cityscapes`` to write.
        workers: processes; the files do not depend on it.
        overwrite: delete the folders of an earlier run with other settings.
        progress: show a progress bar.

    Raises:
        UserError: on impossible settings, or if ``root`` holds data of other settings or not made by this generator.
    """
    root = Path(root)
    counts = {"source": source, "target_train": target_train, "target_val": target_val}
    settings = {
        "seed": seed,
        "size": list(size),
        **counts,
        "formats": list(formats),
        "gap": float(gap),
        "reach": float(reach),
    }
    _check(settings)
    _claim_root(root, settings, overwrite)
    manifest = {"generator": "streets", "version": GENERATOR_VERSION, "settings": settings, "complete": False}
    _write_manifest(root, manifest)
    jobs = list(_plan(settings))
    work = partial(_finish, root, tuple(size), seed, gap, reach)
    with _mapper(workers) as run:
        manifest["datasets"] = _summarise(jobs, _counted(run(work, jobs), len(jobs)) if progress else run(work, jobs))
    manifest["complete"] = True
    _write_manifest(root, manifest)
    return manifest


def _counted(results: Iterable, total: int) -> Iterator:
    with cli.progress(total, "Streets") as line:
        for result in results:
            yield result
            line.update()


def make_image(
    job: Job, *, size: tuple[int, int], seed: int, gap: float = 1.0, reach: float = REACH
) -> tuple[np.ndarray, list[bytes]]:
    """One image (uint8 [H, W, 3], RGB) and the contents of its label files, in the format's order."""
    domain = DOMAINS[job.name]
    rng = np.random.default_rng([seed, domain.number, _SPLITS.index(job.split), job.index])
    canvas = compose(rng, domain.layout, size, job.index, reach=reach)
    look = between(SYNTHIA.look, domain.look, gap) if job.name == "cityscapes" else domain.look
    return render(canvas, look, rng), FORMATS[job.name].encode_labels(canvas)


def _finish(root: Path, size: tuple[int, int], seed: int, gap: float, reach: float, job: Job) -> list[int]:
    """Make one image unless it is there; return its pixels per contiguous class, void last."""
    files = FORMATS[job.name].files(job.split, job.index)
    if not all((root / path).is_file() for path in files.all):
        image, labels = make_image(job, size=size, seed=seed, gap=gap, reach=reach)
        for path, content in zip(files.labels, labels):
            write_bytes(root / path, content)
        write_image(root / files.image, image)
    contiguous = read_contiguous(job.name, root / files.labels[0])
    pixels = np.bincount(contiguous.ravel(), minlength=CITYSCAPES.ignore_label + 1)
    return [*pixels[: CITYSCAPES.num_classes].tolist(), int(pixels[CITYSCAPES.ignore_label])]


def _plan(settings: dict) -> Iterator[Job]:
    for name in settings["formats"]:
        splits = {"train": settings["source"]}
        if name == "cityscapes":
            splits = {"train": settings["target_train"], "val": settings["target_val"]}
        for split, count in splits.items():
            yield from (Job(name, split, index) for index in range(count))


@contextmanager
def _mapper(workers: int) -> Iterator[Callable[[Callable, Iterable], Iterable]]:
    """An ordered ``map`` over processes, or the plain one."""
    if workers <= 1:
        yield map
        return
    # Not forked from this process, whose threads (OpenCV's, torch's) a fork would break.
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(0,)) as pool:
        yield partial(pool.map, chunksize=4)


def _summarise(jobs: list[Job], results: Iterable[list[int]]) -> dict:
    """Per data set and split: images, pixels of each class and void, number of images that hold each class."""
    summary: dict = {}
    for job, pixels in zip(jobs, results):
        entry = summary.setdefault(job.name, {}).setdefault(
            job.split, {"images": 0, "class_pixels": [0] * CITYSCAPES.num_classes, "void_pixels": 0,
                        "class_images": [0] * CITYSCAPES.num_classes}
        )  # fmt: skip
        entry["images"] += 1
        entry["void_pixels"] += pixels[-1]
        for c, n in enumerate(pixels[:-1]):
            entry["class_pixels"][c] += n
            entry["class_images"][c] += int(n > 0)
    return summary


def _check(settings: dict) -> None:
    height, width = settings["size"]
    if min(height, width) < _MIN_SIZE:
        raise UserError(f"size is {height}x{width} but must be at least {_MIN_SIZE}x{_MIN_SIZE}: choose a larger one")
    unknown = sorted(set(settings["formats"]) - set(FORMATS))
    if unknown or not settings["formats"]:
        raise UserError(f"formats must be some of {', '.join(FORMATS)}, found {', '.join(unknown) or 'none'}")
    if not 0 <= settings["gap"] <= 1:
        raise UserError(f"gap is {settings['gap']} but must be in 0..1: give 0 for the source's look, 1 for a camera's")
    if not _LEAST_REACH <= settings["reach"] <= REACH:
        raise UserError(
            f"reach is {settings['reach']} but must be in {_LEAST_REACH:g}..{REACH:g} metres: give a distance within it"
        )
    for key in ("seed", "source", "target_train", "target_val"):
        if settings[key] < 0:
            raise UserError(f"{key} is {settings[key]} but must not be negative: give 0 or more")


def _claim_root(root: Path, settings: dict, overwrite: bool) -> None:
    """Stop if ``root`` holds anything that this run would mix with; with ``overwrite`` delete our own earlier data."""
    path = root / MANIFEST_NAME
    if not path.is_file():
        foreign = [name for name in settings["formats"] if (root / name).exists()]
        if foreign:
            raise UserError(
                f"{root} already has {', '.join(foreign)} but no {MANIFEST_NAME}, so it was not generated: "
                "choose another root"
            )
        return
    found = files.read_json(path, _MANIFEST, remedy="delete it, or choose another root")
    if {"gap": 1.0, "reach": REACH, **found["settings"]} == settings and found["version"] == GENERATOR_VERSION:
        return
    if not overwrite:
        raise UserError(
            f"{root} holds Streets of version {found['version']} with {found['settings']}, not version "
            f"{GENERATOR_VERSION} with {settings}: choose another root, or --overwrite to delete it"
        )
    for name in set(found["settings"]["formats"]) & set(FORMATS):
        shutil.rmtree(root / name, ignore_errors=True)


def _write_manifest(root: Path, manifest: dict) -> None:
    write_bytes(root / MANIFEST_NAME, (json.dumps(manifest, indent=1) + "\n").encode())


def class_table(manifest: dict) -> str:
    """A text table of class shares (percent of labelled pixels) and image frequencies (percent)."""
    columns = [(f"{n}/{s}", e) for n, splits in manifest["datasets"].items() for s, e in splits.items()]
    lines = [" ".join([f"{'% pixels (% images)':<20}"] + [f"{title:>18}" for title, _ in columns])]
    for c, name in enumerate(CITYSCAPES.names):
        row = [f"{name:<20}"]
        for _, entry in columns:
            share = 100.0 * entry["class_pixels"][c] / max(sum(entry["class_pixels"]), 1)
            row.append(f"{share:10.3f} ({100.0 * entry['class_images'][c] / entry['images']:5.1f})")
        lines.append(" ".join(row))
    void = [e["void_pixels"] / (e["void_pixels"] + sum(e["class_pixels"])) for _, e in columns]
    lines.append(" ".join([f"{'void, of all':<20}"] + [f"{100.0 * v:10.3f}        " for v in void]))
    return "\n".join(lines)
