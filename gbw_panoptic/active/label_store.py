"""The labels that were bought, on disk: one PNG per image, the picks of each round, and a manifest.

    <folder>/labels/<image_id>.png           uint8 [H, W]: class id, 254 = bought but void, 255 = not bought; of more
                                             than 254 classes uint16, with 65534 and 65535
    <folder>/instances/<image_id>.npz        with instances: those that bought pixels belong to, and their centres
    <folder>/picks/, <folder>/parts/         what each round asks for (:mod:`.plans`)
    <folder>/answers/<round>/                what humans have answered (:mod:`gbw_panoptic.labelling`)
    <folder>/manifest.json                   what every finished round asked for and got

Picks are written before the labels that they buy, all of it atomically, and buying the same picks again changes
nothing: a killed run repeats at most the image in flight. With the picks, later rounds can be taken back.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import files
from ..errors import UserError
from ..structures.known_instances import KnownInstances
from .budget import RegionShape, imbalance
from .effort import effort
from .plans import REMEDY, Plans, safe
from .units import PartUnit, asked_parts, dominant

NOT_BOUGHT, BOUGHT_VOID = 255, 254  # of up to 254 classes
_VERSION = 1
#: Form of a round in the manifest.
_ROUND = {"round": int, "cost": int, "pixels": int, "void": int, "imbalance": float, "classes": files.Each(int)}


class LabelStore(Plans):
    """Labels of one target data set, bought in rounds 1, 2, ..."""

    def __init__(
        self, folder: str | Path, class_names: tuple[str, ...], shape: RegionShape | PartUnit, *,
        with_instances: bool = False,
    ) -> None:  # fmt: skip
        """
        Args:
            folder: made where there is none; what it holds is continued.
            with_instances: whether a bought pixel of a thing tells its instance, too (ours).

        Raises:
            UserError: the folder holds labels of other classes, or of regions of another shape, or has lost some.
        """
        super().__init__(Path(folder), shape)
        self.class_names = tuple(class_names)
        self._dtype = np.uint8 if len(class_names) <= BOUGHT_VOID else np.uint16
        self.with_instances = with_instances
        self._header = {
            "version": _VERSION, "class_names": list(class_names), "with_instances": with_instances,
            "region": shape.header,
        }  # fmt: skip
        self.rounds: list[dict[str, Any]] = []
        self.reload()

    def reload(self) -> None:
        """Take over what another process has written to the manifest."""
        path = self.folder / "manifest.json"
        if not path.exists():
            self.rounds = []
            return
        manifest = files.read_json(path, {"rounds": [_ROUND]}, remedy=REMEDY)
        for key, expected in self._header.items():
            found = manifest.get(key)
            if found != expected:
                raise UserError(
                    f"expected {_said(key, expected)}, as is set, in {path}, found {_said(key, found)}; continue with "
                    "the settings of that run, or take another folder for the labels"
                )
        for number, entry in enumerate(manifest["rounds"], start=1):
            counts = [entry["classes"].get(name, -1) for name in self.class_names]
            if entry["round"] != number or min(counts) < 0 or sum(counts) + entry["void"] != entry["pixels"]:
                raise UserError(f"expected the accounts of round {number} in {path}, found others; {REMEDY}")
        self.rounds = manifest["rounds"]
        self._require_bought()

    @property
    def not_bought(self) -> int:
        """Of pixels that were not bought; one less: bought, but void."""
        return int(np.iinfo(self._dtype).max)

    @property
    def spent(self) -> int:
        """Pixels of the budget that the finished rounds cost."""
        return sum(entry["cost"] for entry in self.rounds)

    def class_counts(self) -> Tensor:
        """int64 [C]: pixels of each class that the finished rounds bought."""
        rows = [[entry["classes"][name] for name in self.class_names] for entry in self.rounds]
        return torch.tensor(rows, dtype=torch.int64).reshape(-1, len(self.class_names)).sum(0)

    def check_round(self, number: int) -> None:
        """
        Raises:
            UserError: round ``number`` is not the next one.
        """
        if number != len(self.rounds) + 1:
            raise UserError(
                f"expected round {len(self.rounds) + 1} after the {len(self.rounds)} in {self.folder}, found round "
                f"{number}; acquire the rounds in order, or take another folder for the labels"
            )

    def check_measure(self, measure: str) -> None:
        """
        Raises:
            UserError: earlier rounds were measured in something else.
        """
        found = {entry.get("measure", "pixels") for entry in self.rounds} - {measure}
        if found:
            raise UserError(
                f"ACTIVE.BUDGET: expected {' and '.join(sorted(found))}, as for the rounds before in {self.folder}, "
                f"found {measure}; give the budget in these, or take another folder for the labels"
            )

    def read(self, image_id: str, size: tuple[int, int]) -> np.ndarray:
        """[H, W] of ``size``, as the module says; all :attr:`not_bought` where there is no file.

        Raises:
            UserError: the file is damaged or has another size.
        """
        path = self._label_path(image_id)
        if not path.exists():
            return np.full(size, self.not_bought, self._dtype)
        labels = files.read_label(path, self._dtype)
        if labels.shape != tuple(size):
            raise UserError(
                f"expected bought labels of the image's size {size[0]}x{size[1]}, found "
                f"{labels.shape[0]}x{labels.shape[1]} in {path}; the images have changed: take another folder for the "
                "labels"
            )
        return labels

    def read_instances(self, image_id: str, size: tuple[int, int]) -> KnownInstances:
        """Those that bought pixels belong to, of ``size``; none where there is no file.

        Raises:
            UserError: the file is damaged.
        """
        path = self._instances_path(image_id)
        if not path.exists():
            return KnownInstances.none(size)
        try:
            instances = KnownInstances.from_bytes(files.read_bytes(path))
        except ValueError as error:
            raise UserError(f"expected the instances that were bought, found {error} in {path}; {REMEDY}") from None
        if instances.numbers.shape != tuple(size):
            raise UserError(
                f"expected bought instances of the image's size {size[0]}x{size[1]}, found {instances.numbers.shape} "
                f"in {path}; the images have changed: take another folder for the labels"
            )
        return instances

    def buy(
        self, number: int, image_id: str, truth: np.ndarray, instances: KnownInstances | None = None, *,
        answered: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        """Label the planned regions of an image with ``truth``, integers [H, W] of class ids and others for void.

        Args:
            instances: all of the image, where the store keeps those that were bought: a bought pixel tells the instance
                that it belongs to, and that one's centre.
            answered: bool [H, W], pixels of regions that are labelled now; None: all.

        Returns:
            int64 [C + 1]: pixels of each class in these regions, void last.
        """
        picks = self.picks(number, image_id)
        self._check_inside(number, image_id, picks, truth.shape)
        shape = self.shape_of(image_id, truth.shape)
        region = shape.bought(picks, truth.shape).numpy()
        if answered is not None:
            region &= answered
        if shape.dominant:
            truth, instances = dominant(shape.ids.numpy(), truth, instances)
        void = len(self.class_names)
        counts = np.bincount(np.minimum(truth[region], void), minlength=void + 1)
        if region.any():
            labels = self.read(image_id, truth.shape)
            labels[region] = np.where(truth[region] < void, truth[region], self.not_bought - 1)
            self._write(image_id, labels, instances)
        return counts

    def effort(self, number: int, image_id: str, size: tuple[int, int]) -> tuple[int, int]:
        """Clicks and tenths of seconds that the labels of an image in a round are worth, by :mod:`.effort`."""
        shape, labels = self.shape_of(image_id, size), self.read(image_id, size).astype(np.int64)
        parts = asked_parts(shape, self.picks(number, image_id), size) - 1
        if self.with_instances:
            labels += self.read_instances(image_id, size).numbers.astype(np.int64) << 16
        unknown = (labels & 0xFFFF) == self.not_bought
        clicks, tenths = effort(np.where(unknown, -1, parts), labels, dominant=shape.dominant)
        return int(clicks.sum()), int(tenths.sum())

    def finish(
        self, number: int, counts: np.ndarray, *, cost: int, allowed: int, settings: dict[str, Any]
    ) -> dict[str, Any]:
        """Close a round: account for it and write the manifest.

        Args:
            counts: [C + 1] pixels that were bought, void last.
            cost: of them, those that the budget pays.
            allowed: pixels that this and all earlier rounds may cost together.

        Returns:
            The round's entry in the manifest.
        """
        if self.spent + cost > allowed:
            raise RuntimeError(f"round {number} spent {self.spent + cost} pixels of {allowed}")
        classes = dict(zip(self.class_names, counts[:-1].tolist()))
        entry = {
            "round": number, **settings, "allowed": allowed, "cost": cost, "pixels": int(counts.sum()),
            "void": int(counts[-1]), "classes": classes,
        }  # fmt: skip
        self.rounds.append(entry)
        entry["imbalance"] = imbalance(self.class_counts().numpy())
        self._write_manifest()
        return entry

    def take_back(self, last: int, *, keep_plan: bool = False) -> None:
        """Undo all after round ``last``, finished or not: nothing that they bought stays.

        Args:
            keep_plan: of the next round, which is open then: what it asks for can be answered again.
        """
        folders = {int(path.name): path for path in self._rounds_of_picks()}
        later = sorted(number for number in folders if number > last)
        if len(self.rounds) > last:
            self.rounds = self.rounds[:last]
            self._write_manifest()
        for number in reversed(later):
            for path in sorted(folders[number].glob("*.npy")):
                label_path = self._label_path(path.stem)
                if label_path.exists():
                    labels = files.read_label(label_path, self._dtype)
                    picks = self.picks(number, path.stem)
                    self._check_inside(number, path.stem, picks, labels.shape)
                    shape = self.shape_of(path.stem, labels.shape)
                    labels[shape.bought(picks, labels.shape).numpy()] = self.not_bought
                    instances = self.read_instances(path.stem, labels.shape) if self.with_instances else None
                    self._write(path.stem, labels, instances)
            shutil.rmtree(self.folder / "answers" / str(number), ignore_errors=True)
            if not (keep_plan and number == last + 1):
                shutil.rmtree(folders[number])

    def _require_bought(self) -> None:
        """
        Raises:
            UserError: an image of which a finished round has bought pixels has no labels.
        """
        for number in range(1, len(self.rounds) + 1):
            for path in sorted((self.folder / "picks" / str(number)).glob("*.npy")):
                instances = [self._instances_path(path.stem)] if self.with_instances else []
                lost = [file for file in (self._label_path(path.stem), *instances) if not file.exists()]
                if lost and len(self.picks(number, path.stem)):
                    raise UserError(f"expected what round {number} bought at {lost[0]}, found nothing; {REMEDY}")

    def _write(self, image_id: str, labels: np.ndarray, instances: KnownInstances | None) -> None:
        """Both files of an image; of ``instances``, what ``labels`` knows."""
        if self.with_instances:
            self._instances_path(image_id).parent.mkdir(parents=True, exist_ok=True)
            files.atomic_write(
                self._instances_path(image_id), instances.restricted(labels != self.not_bought).to_bytes()
            )
        self._label_path(image_id).parent.mkdir(parents=True, exist_ok=True)
        files.write_png(self._label_path(image_id), labels)

    def _write_manifest(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        files.write_json(self.folder / "manifest.json", {**self._header, "rounds": self.rounds})

    def _label_path(self, image_id: str) -> Path:
        return self.folder / "labels" / f"{safe(image_id)}.png"

    def _instances_path(self, image_id: str) -> Path:
        return self.folder / "instances" / f"{safe(image_id)}.npz"


def _said(key: str, value: Any) -> str:
    """A value of the manifest's header in the words of the settings that it comes from."""
    if key == "region" and isinstance(value, dict):
        radius, side = value.get("radius"), value.get("side")
        squares = f"region, ACTIVE.RADIUS {radius}" if radius else f"pixel, ACTIVE.RADIUS {value.get('bar_radius')}"
        parts = f"{value.get('unit')}{f', ACTIVE.SUPERPIXEL {side}' if side else ''}"
        return f"ACTIVE.UNIT {parts if 'unit' in value else squares}"
    if key == "class_names" and isinstance(value, list):
        return f"the {len(value)} classes {', '.join(map(str, value))}"
    return f"{'ACTIVE.PANOPTIC' if key == 'with_instances' else f'the {key}'} {value}"
