"""Runs gathered for a comparison: which belong together, which are left out, whether they may be compared at all."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from .run_folder import ClassSeries, RunFolder, class_order

#: Keys that change nothing in what is learnt or measured.
_BOOKKEEPING = {
    "SEED", "OUTPUT_DIR", "VERSION", "VIS_PERIOD", "CUDNN_BENCHMARK", "DATALOADER.NUM_WORKERS",
    "SOLVER.CHECKPOINT_PERIOD", "TEST.EVAL_PERIOD", "TEST.NUM_PANELS", "TEST.UNSUPERVISED", "TEST.UNSUPERVISED_IMAGES",
    "TRACKING.WANDB", "TRACKING.MLFLOW", "TRACKING.PROJECT",
}  # fmt: skip

_SEED = re.compile(r"[/_.-]*seed[_=-]?\d+$", re.IGNORECASE)


@dataclass(frozen=True)
class RunGroup:
    """Finished runs of one configuration, by seed."""

    name: str
    runs: Mapping[int, RunFolder]

    @property
    def first(self) -> RunFolder:
        """Any run: they differ in nothing but the seed."""
        return next(iter(self.runs.values()))

    def class_weights(self) -> dict[str, ClassSeries]:
        """``branch/head`` -> mean over the seeds that were logged at the same iterations as the first one."""
        by_place: dict[str, list[ClassSeries]] = {}
        for run in self.runs.values():
            for place, series in run.class_weights().items():
                by_place.setdefault(place, []).append(series)
        return {place: _mean([s for s in several if s[0] == several[0][0]]) for place, several in by_place.items()}


@dataclass(frozen=True)
class Comparison:
    """What can be compared.

    Attributes:
        groups: the baseline first.
        dataset, protocol: on and by which all of them were evaluated.
        unfinished: runs that are left out.
        labels: path of a run -> what tells it from the others.
    """

    groups: Sequence[RunGroup]
    dataset: str
    protocol: str
    unfinished: Sequence[RunFolder]
    labels: Mapping[Path, str]

    @property
    def baseline(self) -> RunGroup:
        """To which all differences are taken."""
        return self.groups[0]


def gather(
    paths: Sequence[str | Path], *, baseline: Sequence[str | Path] = (), protocol: str | None = None
) -> Comparison:
    """Reads runs and groups them: those whose configurations differ in nothing but the seed are one group.

    Args:
        paths: OUTPUT_DIRs.
        baseline: OUTPUT_DIRs of one configuration; by default the first of ``paths``.
        protocol: the headline; by default the baseline's first.

    Raises:
        UserError: a folder without a run, no finished run, seeds that occur twice, or runs that were not evaluated on
            the same images by the protocol.
    """
    folders = list(dict.fromkeys(Path(path).resolve() for path in [*paths, *baseline]))
    runs = dict(zip(_labels(folders), map(_read, folders)))
    finished = {label: run for label, run in runs.items() if run.is_finished}
    chosen = {Path(path).resolve() for path in baseline or paths[:1]}
    if not any(run.path in chosen for run in finished.values()):
        states = ", ".join(f"{run.path} ({progress(run)})" for run in runs.values() if run.path in chosen)
        raise UserError(
            f"expected a finished run as the baseline, found {states}: finish it or name another --baseline"
        )
    groups = list(_groups(finished))
    of_baseline = [group for group in groups if any(run.path in chosen for run in group.runs.values())]
    if len(of_baseline) > 1:
        names = ", ".join(group.name for group in of_baseline)
        raise UserError(f"expected a baseline of one configuration, found several: {names}; name one of them")
    ordered = [*of_baseline, *(group for group in groups if group is not of_baseline[0])]
    evaluation = of_baseline[0].first.headline()
    comparison = Comparison(
        ordered,
        evaluation["dataset"],
        protocol or evaluation["protocols"][0],
        [run for run in runs.values() if not run.is_finished],
        {run.path: label for label, run in runs.items()},
    )
    _check_comparable(comparison)
    return comparison


def cells_of(paths: Sequence[str | Path]) -> list[tuple[RunFolder, str]]:
    """Runs, finished or not, each with the name of its configuration: the first of those that differ in the seed alone,
    their own or that of the weights which they start from.

    Raises:
        UserError: a folder without a run.
    """
    names: list[tuple[dict, str]] = []
    found = []
    for run in map(_read, dict.fromkeys(Path(path).resolve() for path in paths)):
        identity = _identity(run)
        identity["MODEL.WEIGHTS"] = re.sub(r"seed[_=-]?\d+", "seed", str(identity.get("MODEL.WEIGHTS")))
        name = next((name for other, name in names if other == identity), None)
        if name is None:
            name = str(run.path)
            names.append((identity, name))
        found.append((run, name))
    return found


def progress(run: RunFolder) -> str:
    """How far an unfinished run is."""
    last, end, evaluation = run.last_iteration, run.value("SOLVER.MAX_ITER"), run.headline()
    logged = "nothing logged" if last is None else f"iteration {last} of {end}"
    return logged + (
        ", not evaluated" if evaluation is None else f", evaluated at iteration {evaluation.get('iteration')}"
    )


def differing_keys(groups: Sequence[RunGroup]) -> dict[str, list[object]]:
    """Configuration key -> value in each group, for those that are not the same everywhere."""
    configs = [_identity(group.first) for group in groups]
    keys = dict.fromkeys(key for config in configs for key in config)
    values = {key: [config.get(key) for config in configs] for key in keys}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


def _read(folder: Path) -> RunFolder:
    if not folder.is_dir():
        raise UserError(f"expected a run's output folder, found nothing at {folder}: pass the OUTPUT_DIR of a run")
    run = RunFolder.read(folder)
    if not run.metrics and not run.evaluations:
        raise UserError(
            f"expected a run's metrics.json or inference/*.json, found neither in {folder}: pass a run's OUTPUT_DIR"
        )
    if not run.config:
        raise UserError(
            f"expected config.yaml in {folder}, which says what was run, found none that can be read: drop this run out"
        )
    return run


def _groups(runs: Mapping[str, RunFolder]) -> Iterator[RunGroup]:
    found: list[tuple[dict, dict[str, RunFolder]]] = []
    for label, run in runs.items():
        identity = _identity(run)
        members = next((members for other, members in found if other == identity), None)
        if members is None:
            found.append((identity, {label: run}))
        else:
            members[label] = run
    names = [_group_name(list(members)) for _, members in found]
    for name, (_, members) in zip(names, found):
        seeds: dict[int, RunFolder] = {}
        for run in members.values():
            seed = run.value("SEED")
            if seed in seeds:
                raise UserError(
                    f"expected one run per seed of a configuration, found seed {seed} twice, {seeds[seed].path} and "
                    f"{run.path}: leave one out"
                )
            seeds[seed] = run
        yield RunGroup(name if names.count(name) == 1 else next(iter(members)), seeds)


def _check_comparable(comparison: Comparison) -> None:
    reference = comparison.baseline.first.headline(comparison.dataset)
    for group in comparison.groups:
        for run in group.runs.values():
            found = run.headline(comparison.dataset)
            if found is None:
                others = ", ".join(sorted({e["dataset"] for e in run.evaluations}))
                raise UserError(
                    f"expected runs evaluated on {comparison.dataset}, the baseline's data set, found {run.path} on "
                    f"{others}: compare the two apart, or evaluate on the same"
                )
            if found["images"] != reference["images"]:
                raise UserError(
                    f"expected runs evaluated on the same images, found {found['images']} of {comparison.dataset} in "
                    f"{run.path} and {reference['images']} in the baseline: evaluate both on the same data"
                )
            if comparison.protocol not in found["protocols"]:
                raise UserError(
                    f"expected runs evaluated by protocol {comparison.protocol}, found {', '.join(found['protocols'])} "
                    f"in {run.path}: choose a --protocol that all runs have, or evaluate again with TEST.PROTOCOLS"
                )


def _identity(run: RunFolder) -> dict[str, object]:
    """The configuration, flat, without what changes nothing."""
    return {key: value for key, value in _flat(run.config) if key not in _BOOKKEEPING}


def _flat(config: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _labels(folders: Sequence[Path]) -> list[str]:
    """Paths without what all have in common; "seed0" alone would name nothing."""
    common = Path(os.path.commonpath([folder.parent for folder in folders]))
    if any(_SEED.sub("", folder.relative_to(common).as_posix()) == "" for folder in folders):
        common = common.parent
    return [folder.relative_to(common).as_posix() for folder in folders]


def _group_name(labels: Sequence[str]) -> str:
    """What the names of runs of several seeds share: ``gbw`` of ``gbw/seed0``, and of ``gbw_s1`` and ``gbw_s2``."""
    bare = {_SEED.sub("", label) for label in labels}
    if len(bare) == 1:
        return bare.pop()
    return re.sub(r"[/_.-]+[a-z]?$", "", os.path.commonprefix(labels)) or labels[0]


def _mean(several: Sequence[ClassSeries]) -> ClassSeries:
    """Mean of what is there, class by class."""
    names = sorted({name for _, names, _ in several for name in names}, key=class_order)
    total, count = np.zeros((2, len(several[0][0]), len(names)))
    for _, own, values in several:
        columns = [names.index(name) for name in own]
        total[:, columns] += np.nan_to_num(values)
        count[:, columns] += np.isfinite(values)
    return several[0][0], names, np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
