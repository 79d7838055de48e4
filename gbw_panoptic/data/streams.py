"""The samples of one domain by position, and the worker processes that make them."""

import gc
import signal
from typing import Any, Callable, Iterable, Iterator, NamedTuple, Sequence

import cv2
import torch
from detectron2.data.common import DatasetFromList
from torch.utils.data import DataLoader, Dataset

from ..errors import UserError, dead_worker
from .samplers import Draw, Sampler

_GRACE_SECONDS = 20  # for which a worker outlives SIGTERM


class BadFile(NamedTuple):
    """An unreadable record, reported to the main process instead of raised in a worker."""

    file_name: str
    message: str


class SampleStream:
    """The endless samples of one domain, by position.

    An unreadable record is replaced by the next readable one of the data set, so that a position's sample stays a pure
    function; who consumes the stream decides how many replacements are too many.
    """

    def __init__(
        self, records: Sequence[dict], sampler: Sampler, mapper: Callable[[dict, Draw], dict], max_bad_files: int = 0
    ) -> None:
        self.records = DatasetFromList(records)  # serialised: workers share the memory
        self.sampler = sampler
        self.mapper = mapper
        self.max_bad_files = max_bad_files

    def sample(self, position: int) -> tuple[dict | None, list[BadFile]]:
        """The sample at ``position``, None if more records in a row than are tolerated are bad, and these records."""
        draw, bad = self.sampler.draw(position), []
        for step in range(min(self.max_bad_files + 1, len(self.records))):
            record = self.records[(draw.index + step) % len(self.records)]
            try:
                return self.mapper(record, draw), bad
            except UserError as error:
                bad.append(BadFile(record["file_name"], str(error)))
        return None, bad


def data_loader(dataset: Dataset, indices: Iterable[int], num_workers: int) -> Iterator[Any]:
    """Items of ``dataset`` as they are, in the order of ``indices``, by ``num_workers`` processes (0: this one).

    Raises:
        UserError: ``num_workers`` is negative, or a worker died while it handed an item over (torch's RuntimeError says
            so at other times).
    """
    if num_workers < 0:
        raise UserError(
            f"expected DATALOADER.NUM_WORKERS >= 0, found {num_workers}; 0 loads in the training's own process"
        )
    loader = DataLoader(
        dataset,
        batch_size=None,
        sampler=indices,
        num_workers=num_workers,
        collate_fn=_unchanged,
        worker_init_fn=_start_worker,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # else the seeds of the workers, which nothing uses, cost a global random number
    )
    if num_workers:  # a collection writes to every object that it sees, and so copies what the workers share with us
        gc.collect()
        gc.freeze()
    try:
        yield from loader
    except (ConnectionError, EOFError) as error:
        raise dead_worker(f"hung up ({type(error).__name__})") from error
    finally:
        if num_workers:
            gc.unfreeze()


def _unchanged(item: Any) -> Any:
    return item


def _start_worker(worker_id: int) -> None:
    # One thread per worker: more would fight for cores, and OpenCV's pool does not survive a fork.
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    # Ctrl-C and job schedulers signal all processes of a job, but it is for the main process to end its step and then
    # its workers. Those that it forgets end on their own, too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_SECONDS))
