"""From records to training samples.

A sample is a pure function of its record, (seed, domain, position) and the drawn class: no global random state is read
or changed, so that neither the worker that makes it nor their number matters.

Shapes: H x W the crop; all sizes are (height, width) in pixels.
"""

from typing import Any, Protocol, Sequence

import cv2
import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from .. import files
from ..structures.known_instances import KnownInstances
from ..structures.samples import FileFacts, Record, SourceSample, TargetSample
from ..taxonomy import Taxonomy
from .known_instances import known_targets, view_of
from .label_maps import LabelMap, read_label_map
from .raw_cache import RawCache
from .samplers import Domain, Draw, Stream, random_generator
from .targets import TargetMaker
from .views import PhotometricDistortion, ViewSampler, Window, build_view_sampler, cut, resize_ids, resize_image


class SourceMapper:
    """Labelled images, with the training targets that the architecture is trained on."""

    @configurable
    def __init__(
        self,
        *,
        taxonomy: Taxonomy,
        views: ViewSampler,
        image_format: str = "RGB",
        pad_value: Sequence[int] = (0, 0, 0),
        distortion: PhotometricDistortion = PhotometricDistortion(strength=0),
        targets: TargetMaker,
        single_category_max_area: float = 1.0,
        min_crop_pixels: int = 0,
        max_tries: int = 10,
        seed: int = 0,
        cache: RawCache = RawCache(),
        domain: Domain = Domain.SOURCE,
    ) -> None:
        """
        Args:
            pad_value: of image pixels beyond the border, in the order of ``image_format``.
            distortion: of the colours of the crop.
            domain: whose random numbers are drawn.
            targets: makes the training targets of a crop of its labels.
            single_category_max_area: a crop is redrawn if a class has this share of its labelled pixels, or more, or is
                the only one; 1 accepts all.
            min_crop_pixels: a crop is redrawn if it has no more than this of the class for which the image was drawn.
            max_tries: after so many crops, the last one is taken as it is.
            cache: of decoded images and labels.
        """
        self.taxonomy = taxonomy
        self.views = views
        self.image_format = image_format
        self.pad_value = tuple(pad_value)
        self.distortion = distortion
        self.targets = targets
        self.single_category_max_area = single_category_max_area
        self.min_crop_pixels = min_crop_pixels
        self.max_tries = max_tries
        self.seed = seed
        self.cache = cache
        self.domain = domain

    @classmethod
    def from_config(cls, cfg) -> dict[str, Any]:
        return {
            "taxonomy": MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy,
            "views": build_view_sampler(cfg, cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN),
            "image_format": cfg.INPUT.FORMAT,
            "pad_value": _rounded(cfg.MODEL.PIXEL_MEAN),
            "distortion": PhotometricDistortion(cfg.INPUT.PHOTOMETRIC_STRENGTH, cfg.INPUT.FORMAT),
            "targets": META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE).build_targets(cfg),
            "single_category_max_area": cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA,
            "min_crop_pixels": cfg.DATALOADER.RARE_CLASS_SAMPLING.MIN_CROP_PIXELS,
            "max_tries": cfg.DATALOADER.RARE_CLASS_SAMPLING.MAX_TRIES,
            "seed": cfg.SEED,
            "cache": RawCache(cfg.DATALOADER.RAW_CACHE),
        }

    def __call__(self, record: Record, draw: Draw) -> SourceSample:
        """
        Raises:
            UserError: a file cannot be read, label and image differ in size, or the label holds ids that it must not.
        """
        generator = random_generator(self.seed, self.domain, Stream.AUGMENTATION, draw.position)
        image = _read_image(record, self.image_format, self.cache)
        ignore_crowd = self.targets.ignore_crowd
        label = read_label_map(record, image.shape[:2], self.taxonomy, ignore_crowd=ignore_crowd, cache=self.cache)
        size = self.views.resized_size(image.shape[:2], generator)
        label = label.resize(size)
        window = self._draw_window(label, draw.class_id, generator)
        flip = self.views.flip(generator)
        rows = cut(label.rows, window, fill=label.fill, flip=flip)
        colours = random_generator(self.seed, self.domain, Stream.COLOUR, draw.position)
        crop = cut(resize_image(image, size), window, fill=self.pad_value, flip=flip)
        return {
            "image": _as_tensor(self.distortion(crop, colours)),
            **self.targets(rows, label.categories, label.segments),
            **_file_facts(record, image),
        }

    def _draw_window(self, label: LabelMap, class_id: int | None, generator: np.random.Generator) -> Window:
        """Decide on the label alone: files are decoded once, targets made once."""
        for _ in range(max(self.max_tries, 1)):
            window = self.views.window(label.rows.shape, generator)
            if self._accepts(window, label, class_id):
                break
        return window

    def _accepts(self, window: Window, label: LabelMap, class_id: int | None) -> bool:
        if class_id is None and self.single_category_max_area >= 1:
            return True
        classes = label.within(window).semantic
        enough = class_id is None or np.count_nonzero(classes == class_id) > self.min_crop_pixels
        return enough and (self.single_category_max_area >= 1 or self._is_diverse(classes))

    def _is_diverse(self, classes: np.ndarray) -> bool:
        """Detectron2's ``RandomCrop_CategoryAreaConstraint``: two classes, none with too much of the labelled area."""
        counts = np.bincount(classes.ravel(), minlength=self.taxonomy.num_classes)[: self.taxonomy.num_classes]
        return np.count_nonzero(counts) > 1 and counts.max() < counts.sum() * self.single_category_max_area


def build_labelled_target_mapper(cfg) -> SourceMapper:
    """Of target images with labels: at the sizes of the target, all crops as they come."""
    sizes = cfg.INPUT.TARGET.MIN_SIZE_TRAIN, cfg.INPUT.TARGET.MAX_SIZE_TRAIN
    views = build_view_sampler(cfg, *sizes)
    return SourceMapper(cfg, views=views, domain=Domain.LABELLED_TARGET, single_category_max_area=1.0)


class TargetLabels(Protocol):
    """The target labels that training may know: where active learning has bought none, ``ignore_label``."""

    ignore_label: int

    def __call__(self, image_id: str, size: tuple[int, int]) -> np.ndarray:
        """Unsigned integers [H, W] of the image's ``size``."""

    def instances(self, image_id: str, size: tuple[int, int]) -> KnownInstances | None:
        """Those that are known, of the same size; None where training does not learn instances of the target."""


class TargetMapper:
    """Unlabelled images. No label can leak: a :class:`TargetSample` alone is emitted, and only the image file is
    opened.

    With ``labels``, the labels of pixels that are known are emitted, too, and of instances if ``labels`` knows them.
    """

    @configurable
    def __init__(
        self,
        *,
        views: ViewSampler,
        image_format: str = "RGB",
        pad_value: Sequence[int] = (0, 0, 0),
        ignore_top: int = 0,
        ignore_bottom: int = 0,
        ignore_left: int = 0,
        ignore_right: int = 0,
        distortion: PhotometricDistortion = PhotometricDistortion(strength=0),
        seed: int = 0,
        labels: TargetLabels | None = None,
        thing_ids: Sequence[int] = (),
        sigma: int = 8,
        cache: RawCache = RawCache(),
    ) -> None:
        """
        Args:
            pad_value: of pixels beyond the border, in the order of ``image_format``.
            ignore_top, ignore_bottom, ignore_left, ignore_right: rows and columns of the resized image that are not
                valid.
            distortion: of the colours of a second view, ``student_image``; strength 0: there is none.
            thing_ids, sigma: of the instance keys; contiguous ids, and of the centre heatmap in pixels.
            cache: of decoded images.
        """
        self.views = views
        self.image_format = image_format
        self.pad_value = tuple(pad_value)
        self.ignore_top = ignore_top
        self.ignore_bottom = ignore_bottom
        self.ignore_left = ignore_left
        self.ignore_right = ignore_right
        self.distortion = distortion
        self.seed = seed
        self.labels = labels
        self.thing_ids = tuple(thing_ids)
        self.sigma = sigma
        self.cache = cache

    @classmethod
    def from_config(cls, cfg) -> dict[str, Any]:
        options = cfg.INPUT.TARGET
        return {
            "views": build_view_sampler(cfg, options.MIN_SIZE_TRAIN, options.MAX_SIZE_TRAIN),
            "image_format": cfg.INPUT.FORMAT,
            "pad_value": _rounded(cfg.MODEL.PIXEL_MEAN),
            "ignore_top": options.IGNORE_TOP,
            "ignore_bottom": options.IGNORE_BOTTOM,
            "ignore_left": options.IGNORE_LEFT,
            "ignore_right": options.IGNORE_RIGHT,
            "distortion": PhotometricDistortion(options.PHOTOMETRIC_STRENGTH, cfg.INPUT.FORMAT),
            "seed": cfg.SEED,
            "thing_ids": MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy.thing_ids,
            "sigma": cfg.INPUT.GAUSSIAN_SIGMA,
            "cache": RawCache(cfg.DATALOADER.RAW_CACHE),
        }

    def __call__(self, record: Record, draw: Draw) -> TargetSample:
        """
        Raises:
            UserError: the file cannot be read.
        """
        generator = random_generator(self.seed, Domain.TARGET, Stream.AUGMENTATION, draw.position)
        image = _read_image(record, self.image_format, self.cache)
        size = self.views.resized_size(image.shape[:2], generator)
        window, flip = self.views.window(size, generator), self.views.flip(generator)
        valid = np.zeros(size, dtype=bool)
        bottom, right = max(size[0] - self.ignore_bottom, 0), max(size[1] - self.ignore_right, 0)
        valid[self.ignore_top : bottom, self.ignore_left : right] = True
        crop = cut(resize_image(image, size), window, fill=self.pad_value, flip=flip)
        return {
            "image": _as_tensor(crop),
            **self._student_view(crop, draw.position),
            "valid_mask": torch.from_numpy(cut(valid, window, fill=False, flip=flip)),
            "place": window.place(size, flip=flip),
            **({} if self.labels is None else self._labels(record, image, size, window, flip)),
            **_file_facts(record, image),
        }

    def _student_view(self, crop: np.ndarray, position: int) -> dict[str, Tensor]:
        if self.distortion.strength == 0:
            return {}
        colours = random_generator(self.seed, Domain.TARGET, Stream.COLOUR, position)
        return {"student_image": _as_tensor(self.distortion(crop, colours))}

    def _labels(
        self, record: Record, image: np.ndarray, size: tuple[int, int], window: Window, flip: bool
    ) -> dict[str, Tensor]:
        ignored = self.labels.ignore_label
        labels = resize_ids(self.labels(record["image_id"], image.shape[:2]), size)
        labels = cut(labels, window, fill=ignored, flip=flip)
        sem_seg = torch.from_numpy(labels.astype(np.int64))
        targets = {"sem_seg": sem_seg, "sem_seg_weights": torch.ones(sem_seg.shape)}
        instances = self.labels.instances(record["image_id"], image.shape[:2])
        if instances is None:
            return targets
        instances = view_of(instances, size, window, flip=flip)
        crowd = np.isin(labels, self.thing_ids) & (instances.numbers == 0)
        known = (labels != ignored) & ~crowd
        return {**targets, **known_targets(instances, known, sigma=self.sigma, ignore_label=ignored)}


def _read_image(record: Record, image_format: str, cache: RawCache) -> np.ndarray:
    path = record["file_name"]
    return cache(lambda: files.read_image(path, image_format), path, image_format)


def _file_facts(record: Record, image: np.ndarray) -> FileFacts:
    height, width = image.shape[:2]
    return {"file_name": record["file_name"], "image_id": record["image_id"], "height": height, "width": width}


def _as_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(cv2.split(image)))  # a third of the time of a copy of the transposed array


def _rounded(values: Sequence[float]) -> tuple[int, ...]:
    return tuple(round(value) for value in values)
