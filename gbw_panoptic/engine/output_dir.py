"""Whose OUTPUT_DIR it is: one run at a time, and none over the results of another one unless that is asked for."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from detectron2.utils import comm

from .. import files
from ..errors import EXIT_CODE, Stopped, UserError
from ..locks import exclusive

LOCK = ".lock"
_CHECKPOINTS = ("last_checkpoint", "model_final.pth", "model_[0-9]*.pth")
_RESULTS = ("inference/*.json", "inference/*/*.json")
_LABELS = "active/manifest.json"
#: What a run opens where it lies: a pipe among these would wait for ever.
_OPENED = (LOCK, "log.txt*", "metrics.json")
#: What a run writes, and a new one in its place begins without.
_WRITTEN = (
    *_CHECKPOINTS, "*.pth.tmp", "last_checkpoint.tmp", "config.yaml", "evaluation.yaml", "environment.txt", "log.txt",
    "log.txt.rank*", "metrics.json", "events.out.tfevents.*", "nan_report_rank*.json", "report.md", "report.html",
    "inference", "report", "wandb",
)  # fmt: skip


@dataclass(frozen=True)
class Purpose:
    """What a command wants with its OUTPUT_DIR.

    Attributes:
        weights: MODEL.WEIGHTS.
        buys_labels: whether the run buys target labels into ``active/`` there.
    """

    resume: bool = False
    eval_only: bool = False
    overwrite: bool = False
    weights: str = ""
    buys_labels: bool = False

    @property
    def is_new_run(self) -> bool:
        return not self.resume and not self.eval_only


@contextmanager
def claimed(folder: str, purpose: Purpose) -> Iterator[None]:
    """Hold OUTPUT_DIR during the block. Nothing in it is changed before: :func:`clear` begins with that.

    Raises:
        UserError: another run is at work there, or has left what this command would mix with its own.
    """
    problem = None
    with ExitStack() as stack:
        if comm.is_main_process():
            try:
                for path in _found(folder, _OPENED):
                    files.require_replaceable(path)
                lock = Path(folder, LOCK)
                stack.enter_context(exclusive(lock, what="run", remedy="give another OUTPUT_DIR"))
                _check(folder, purpose)
            except (UserError, OSError) as error:
                problem = error
        refused = comm.get_world_size() > 1 and comm.all_gather(problem is not None)[0]
        if problem is not None:
            raise problem
        if refused:  # the main process says why
            raise Stopped("", EXIT_CODE)
        yield


def clear(folder: str, purpose: Purpose) -> None:
    """Remove what an earlier run has left in the folder of a new one: all that :func:`claimed` has let pass may go."""
    if not (purpose.is_new_run or purpose.overwrite):
        return
    for path in _found(folder, _WRITTEN):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if purpose.overwrite and purpose.buys_labels:
        shutil.rmtree(Path(folder, "active"), ignore_errors=True)


def has_checkpoint(folder: str) -> bool:
    """Whether a run has trained there."""
    return next(_found(folder, _CHECKPOINTS), None) is not None


def _check(folder: str, purpose: Purpose) -> None:
    if purpose.overwrite:
        _check_overwriting(folder, purpose)
    elif purpose.eval_only and not purpose.resume:
        _check_evaluation(folder, purpose)
    elif purpose.is_new_run:
        _check_unoccupied(folder, purpose)


def _check_unoccupied(folder: str, purpose: Purpose) -> None:
    labels = (_LABELS,) if purpose.buys_labels else ()
    earlier = next(_found(folder, (*_CHECKPOINTS, *_RESULTS, *labels)), None)
    if earlier is not None:
        raise UserError(
            f"OUTPUT_DIR: expected a folder without an earlier run, found {earlier}; go on with that run by `"
            f"{command_with('--resume')}`, delete it by `{command_with('--overwrite')}`, or give another OUTPUT_DIR"
        )


def _check_overwriting(folder: str, purpose: Purpose) -> None:
    if purpose.resume:
        raise UserError(
            "expected either --resume or --overwrite, found both; the one goes on with the run that the other deletes"
        )
    if _lies_in(purpose.weights, folder) and any(_same(path, purpose.weights) for path in _found(folder, _WRITTEN)):
        raise UserError(
            f"--overwrite: expected MODEL.WEIGHTS that it does not delete, found {purpose.weights}; give another "
            "OUTPUT_DIR, or move the file out of it"
        )


def _check_evaluation(folder: str, purpose: Purpose) -> None:
    """A report tells of one model: what is evaluated in a run's folder are its own checkpoints."""
    if not purpose.weights or _lies_in(purpose.weights, folder):
        return
    earlier = next(_found(folder, _CHECKPOINTS), None)
    if earlier is None and next(_found(folder, _RESULTS), None) is not None:
        earlier = _evaluated_weights(folder)
    if earlier is not None and not _same(earlier, purpose.weights):
        raise UserError(
            "--eval-only: expected an OUTPUT_DIR without another model, whose results would stand beside these, found "
            f"{earlier}; give another OUTPUT_DIR, or delete what is there by `{command_with('--overwrite')}`"
        )


def _evaluated_weights(folder: str) -> Path | None:
    """What an earlier --eval-only has left results of."""
    try:
        return Path(files.read_yaml(Path(folder, "config.yaml"))["MODEL"]["WEIGHTS"])
    except (UserError, KeyError, TypeError):
        return None


def _found(folder: str, patterns: tuple[str, ...]) -> Iterator[Path]:
    return (path for pattern in patterns for path in sorted(Path(folder).glob(pattern)))


def _lies_in(path: str, folder: str) -> bool:
    return bool(path) and Path(os.path.realpath(folder)) in Path(os.path.realpath(path)).parents


def _same(folder_or_file: Path, path: str) -> bool:
    return _lies_in(path, str(folder_or_file)) or os.path.realpath(folder_or_file) == os.path.realpath(path)


def command_with(flag: str) -> str:
    """The command of this process with another flag."""
    name, *words = sys.argv
    return shlex.join(["python", name, flag, *words])
