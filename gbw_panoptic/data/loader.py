"""The two-domain training loader and the test loader.

Workers prefetch, but only what was handed out counts as consumed, and every sample is a pure function of its position:
a run that resumes at the position of its checkpoint sees what it would have seen without the stop.
"""

import logging
import os
from itertools import count
from typing import Any, Iterator, Mapping, Sequence

import torch
from detectron2.data import MetadataCatalog
from detectron2.data.common import DatasetFromList
from detectron2.data.samplers import InferenceSampler
from detectron2.utils import comm
from torch.utils.data import Dataset

from .. import files
from ..errors import UserError
from ..structures.samples import DomainBatch, Record
from .chosen_records import build_training_records, labelled_records, records_of
from .mappers import SourceMapper, TargetLabels, TargetMapper, build_labelled_target_mapper
from .samplers import Domain, Draw, EpochSampler, RareClassSampler, Sampler, rank_positions
from .statistics import ClassStatistics
from .streams import BadFile, SampleStream, data_loader
from .views import resize_image, shortest_edge_size

logger = logging.getLogger(__name__)


class _Steps(Dataset):
    """One rank's part of the micro-batch that begins at a position."""

    def __init__(self, streams: Sequence[SampleStream | None], rank: int, batch_size: int) -> None:
        self.streams = streams
        self.rank = rank
        self.batch_size = batch_size

    def __getitem__(self, start: int) -> tuple[list[list[dict | None]], list[BadFile]]:
        positions = rank_positions(start, rank=self.rank, batch_size=self.batch_size)
        results = [[stream.sample(position) for position in positions] if stream else [] for stream in self.streams]
        bad = [file for stream in results for _, files in stream for file in files]
        return [[sample for sample, _ in stream] for stream in results], bad


class DomainLoader:
    """Iterates over endless :class:`DomainBatch`es, from the position after the last one that was handed out.

    Attributes:
        consumed: samples of each domain that were handed out, over all ranks.
        source_sampler: which image comes at which position; None without a source.
        bad_files: the unreadable files met so far on this rank.
    """

    def __init__(
        self,
        *,
        source: SampleStream | None,
        target: SampleStream | None,
        labelled: SampleStream | None = None,
        images_per_batch: int,
        accumulation_steps: int = 1,
        num_workers: int,
        max_bad_files: int = 0,
        start_position: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """
        Args:
            labelled: target images with labels.
            images_per_batch: source images of an update over all ranks; as many of the other streams come with them.
            accumulation_steps: micro-batches, of equal size, that an update's images come in.
            max_bad_files: how many unreadable files are skipped and logged, per rank; one more stops training.

        Raises:
            UserError: the batch cannot be shared equally by the ranks.
        """
        shares = world_size * accumulation_steps
        if images_per_batch < 1 or images_per_batch % shares:
            times = f" x SOLVER.ACCUMULATION_STEPS {accumulation_steps}" if accumulation_steps > 1 else ""
            raise UserError(
                f"expected SOLVER.IMS_PER_BATCH to be a positive multiple of the number of processes{times}, found "
                f"{images_per_batch} for {world_size}; set it to a multiple of {shares}"
            )
        self.consumed = start_position
        self.source_sampler = source.sampler if source else None
        self.bad_files: set[str] = set()
        self.images_per_batch = images_per_batch
        self.images_per_micro_batch = images_per_batch // accumulation_steps
        self.max_bad_files = max_bad_files
        self._steps = _Steps((source, target, labelled), rank, images_per_batch // shares)
        self._num_workers = num_workers

    def __iter__(self) -> Iterator[DomainBatch]:
        starts = count(self.consumed, self.images_per_micro_batch)
        for samples, bad in data_loader(self._steps, starts, self._num_workers):
            self._report(bad)
            if any(sample is None for domain in samples for sample in domain):
                raise UserError(f"expected images, found no readable file: {bad[-1].message}")
            first_place = self.consumed % self.images_per_batch + self._steps.rank * self._steps.batch_size
            self.consumed += self.images_per_micro_batch
            source, target, labelled = samples
            yield DomainBatch(source, target, first_place, labelled)

    def source_draws(self, start: int) -> list[Draw]:
        """What this rank's source samples were drawn for in the micro-batch that begins at position ``start``."""
        positions = rank_positions(start, rank=self._steps.rank, batch_size=self._steps.batch_size)
        return [self.source_sampler.draw(position) for position in positions]

    def state_dict(self) -> dict[str, int]:
        return {"consumed": self.consumed}

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Continue after ``consumed`` samples; takes effect with the next ``iter()``."""
        self.consumed = state_dict["consumed"]

    def _report(self, bad: list[BadFile]) -> None:
        for file in bad:
            if file.file_name in self.bad_files:
                continue
            self.bad_files.add(file.file_name)
            if len(self.bad_files) > self.max_bad_files:
                raise UserError(
                    f"{file.message}, or let training leave out N such files with DATALOADER.MAX_BAD_FILES N"
                    if self.max_bad_files == 0
                    else f"{file.message} (more unreadable files than DATALOADER.MAX_BAD_FILES {self.max_bad_files})"
                )
            logger.warning("skipped file %d of at most %d: %s", len(self.bad_files), self.max_bad_files, file.message)


class _TestImages(Dataset):
    """Records with their resized images."""

    def __init__(self, records: Sequence[Record], image_format: str, short_edge: int, max_size: int) -> None:
        self.records = DatasetFromList(records)
        self.image_format = image_format
        self.short_edge = short_edge
        self.max_size = max_size

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any] | BadFile:
        record = self.records[index]
        try:
            image = files.read_image(record["file_name"], self.image_format)
        except UserError as error:
            return BadFile(record["file_name"], str(error))
        height, width = image.shape[:2]
        resized = resize_image(image, shortest_edge_size((height, width), self.short_edge, self.max_size))
        tensor = torch.from_numpy(resized.transpose(2, 0, 1).copy())
        return {**record, "image": tensor, "height": height, "width": width}


class TestLoader:
    """Iterates over images as lists of one record; by default over this rank's part, each image on one rank, once."""

    __test__ = False  # not a test, whatever its name makes pytest think

    def __init__(self, images: _TestImages, num_workers: int, indices: Sequence[int] | None = None) -> None:
        self._images = images
        self._indices = list(InferenceSampler(len(images)) if indices is None else indices)
        self._num_workers = num_workers

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[list[Record]]:
        for record in data_loader(self._images, self._indices, min(self._num_workers, len(self))):
            if isinstance(record, BadFile):
                raise UserError(record.message)
            yield [record]


def build_train_loader(
    cfg, start_position: int = 0, target_labels: TargetLabels | None = None, *, source: bool = True
) -> DomainLoader:
    """The loader of DATASETS.TRAIN and, if there are any, DATASETS.TARGET.

    Args:
        target_labels: those that were bought for the target.
        source: False: no file of DATASETS.TRAIN is opened.
    """
    targets = build_training_records(cfg, cfg.DATASETS.TARGET, source=False)
    target = [record for records in targets for record in records]
    max_bad_files = cfg.DATALOADER.MAX_BAD_FILES
    source_stream = target_stream = None
    if source:
        sources = build_training_records(cfg, cfg.DATASETS.TRAIN, source=True)
        records = [record for records in sources for record in records]
        _warn_of_missing_classes(cfg.DATASETS.TRAIN)
        source_stream = SampleStream(records, build_source_sampler(cfg, sources), SourceMapper(cfg), max_bad_files)
    if target:
        sampler = EpochSampler(size=len(target), seed=cfg.SEED, domain=Domain.TARGET)
        target_stream = SampleStream(target, sampler, TargetMapper(cfg, labels=target_labels), max_bad_files)
    return DomainLoader(
        source=source_stream,
        target=target_stream,
        labelled=build_labelled_stream(cfg),
        images_per_batch=cfg.SOLVER.IMS_PER_BATCH,
        accumulation_steps=cfg.SOLVER.ACCUMULATION_STEPS,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        max_bad_files=max_bad_files,
        start_position=start_position,
        rank=comm.get_rank(),
        world_size=comm.get_world_size(),
    )


def build_labelled_stream(cfg) -> SampleStream | None:
    """Endless draws of the images of DATASETS.TARGET_LABELLED; None where there are none."""
    records = labelled_records(cfg.DATASETS.TARGET_LABELLED)
    if not records:
        return None
    logger.info("Labels of %d target images are learnt from, %s first.", len(records), records[0]["image_id"])
    sampler = EpochSampler(size=len(records), seed=cfg.SEED, domain=Domain.LABELLED_TARGET)
    return SampleStream(records, sampler, build_labelled_target_mapper(cfg), cfg.DATALOADER.MAX_BAD_FILES)


def build_source_sampler(cfg, sources: Sequence[Sequence[Record]]) -> Sampler:
    """The sampler that DATALOADER.RARE_CLASS_SAMPLING asks for, over the records of each of DATASETS.TRAIN."""
    options = cfg.DATALOADER.RARE_CLASS_SAMPLING
    if not options.ENABLED:
        return EpochSampler(size=sum(map(len, sources)), seed=cfg.SEED, domain=Domain.SOURCE)
    return RareClassSampler(
        image_counts=[c for name, records in zip(cfg.DATASETS.TRAIN, sources) for c in _image_counts(name, records)],
        temperature=options.TEMPERATURE,
        min_pixels=options.MIN_PIXELS,
        seed=cfg.SEED,
    )


def build_test_loader(cfg, data: str | Sequence[Record]) -> TestLoader:
    """This rank's images of a data set, or of records, resized to INPUT.MIN_SIZE_TEST, with their whole records."""
    records = records_of(data) if isinstance(data, str) else data
    images = _TestImages(records, cfg.INPUT.FORMAT, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
    return TestLoader(images, cfg.DATALOADER.NUM_WORKERS)


def build_image_loader(cfg, records: Sequence[Record]) -> TestLoader:
    """All of ``records``, on every rank that asks for them, as :func:`build_test_loader` gives its images."""
    images = _TestImages(records, cfg.INPUT.FORMAT, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
    return TestLoader(images, cfg.DATALOADER.NUM_WORKERS, range(len(records)))


def _warn_of_missing_classes(names: Sequence[str]) -> None:
    """One line on the classes that sources say to label and of which none has a pixel: nothing teaches these."""
    claimed: set[int] = set()
    pixels: Any = 0
    for metadata in map(MetadataCatalog.get, names):
        path, class_names = metadata.get("class_statistics"), metadata.taxonomy.names
        if path is None or not os.path.isfile(path):  # whoever needs them says so
            return
        labels = metadata.get("labels") or metadata.get("labelled_classes", ())
        claimed.update(label for label in labels if label < len(class_names))  # those above are unions
        pixels = pixels + ClassStatistics.load(path, class_names).pixels
    missing = [class_names[c] for c in sorted(claimed) if not pixels[c]]
    if missing:
        logger.warning("No pixel of %s is labelled %s: nothing teaches it.", ", ".join(names), " or ".join(missing))


def _image_counts(name: str, records: Sequence[Record]) -> list[Mapping[int, int]]:
    """Class -> pixels, for each record of a source."""
    metadata = MetadataCatalog.get(name)
    path = metadata.get("class_statistics")
    if path is None:
        raise UserError(
            f"expected class statistics of {name} for rare-class sampling, found none; "
            "set DATALOADER.RARE_CLASS_SAMPLING.ENABLED False or take a labelled source"
        )
    images = ClassStatistics.load(path, metadata.taxonomy.names).images
    try:
        return [images[str(record["image_id"])] for record in records]
    except KeyError as error:
        raise UserError(
            f"expected statistics of every image of {name} in {path}, found none of {error}; prepare the data set again"
        ) from None
