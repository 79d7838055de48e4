"""Heat maps of what class weighting did: weight, gradient and pixel share, class by iteration, per branch and head.

    python tools/plot_weights.py output/demo/adapted
    python tools/plot_weights.py output/demo/adapted/metrics.json --branch source --head sem_seg --kind weight --output
    w.png

A run may still be going on; of a resumed run, the later lines of metrics.json count.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
from pathlib import Path

import numpy as np

from gbw_panoptic import cli, files
from gbw_panoptic.errors import UserError
from gbw_panoptic.reporting.run_folder import ClassSeries, class_scalars, read_metrics
from gbw_panoptic.visualization.plots import HeatMap, class_heat_maps

KINDS = ("weight", "gradient", "share")


def main() -> None:
    arguments = parse()
    path = metrics_file(Path(arguments.run))
    output = Path(arguments.output or path.with_name("class_weights.png"))
    if output.suffix != ".png":
        raise UserError(f"expected a name that ends in .png, found {output}; the plot is written as PNG only")
    metrics = read_metrics(path)
    series = {kind: class_scalars(metrics, kind) for kind in KINDS}
    places = select(list(series["weight"]), path, arguments.branch, arguments.head)
    rows = []
    for place in places:
        for kind in {*arguments.kind, *(("share",) if arguments.by_share else ())}:
            if place not in series[kind]:
                raise UserError(
                    f"expected a {kind} for each class of {place} in {path}, found none; choose other kinds"
                )
        order = by_share(series["share"][place]) if arguments.by_share else series["weight"][place][1]
        rows.append([one_map(place, kind, series[kind][place], order) for kind in arguments.kind])
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        files.atomic_write(output, class_heat_maps(rows))
    except OSError as error:
        raise UserError(
            f"expected to be able to write {output}, found: {error.strerror}; name another --output"
        ) from None
    last = max(heat_map.iterations[-1] for row in rows for heat_map in row)
    print(f"{output}: {', '.join(arguments.kind)} of {', '.join(places)}, up to iteration {last}")


def metrics_file(run: Path) -> Path:
    """metrics.json of a folder, or the file itself."""
    path = run / "metrics.json" if run.is_dir() else run
    if not path.is_file():
        raise UserError(
            f"expected a run's metrics.json, found nothing at {path}; pass the OUTPUT_DIR of a run that has logged its "
            "first iterations"
        )
    return path


def select(places: list[str], path: Path, branch: str | None, head: str | None) -> list[str]:
    """The places (``branch/head``) that are wanted."""
    if not places:
        raise UserError(
            f"expected class weights (gbw/...) in {path}, found none; train with WEIGHTING.SEMANTIC gbw, or wait until "
            "the run has logged some"
        )
    for name, wanted, part in (("branch", branch, 0), ("head", head, 1)):
        known = list(dict.fromkeys(place.split("/")[part] for place in places))
        if wanted is not None and wanted not in known:
            raise UserError(
                f"expected --{name} to be one of {', '.join(known)} in {path}, found {wanted}; choose one of them"
            )
    chosen = [place for place in places if matches(place, branch, head)]
    if not chosen:
        raise UserError(f"expected a branch and head of {', '.join(places)}, found {branch}/{head}; choose one of them")
    return chosen


def matches(place: str, branch: str | None, head: str | None) -> bool:
    own_branch, own_head = place.split("/")
    return branch in (None, own_branch) and head in (None, own_head)


def by_share(shares: ClassSeries) -> list[str]:
    """Class names, the most frequent first."""
    _, names, values = shares
    return [names[c] for c in np.argsort(-np.nanmean(values, axis=0), kind="stable")]


def one_map(place: str, kind: str, series: ClassSeries, order: list[str]) -> HeatMap:
    """The values of the classes in ``order``; NaN for those that were not logged."""
    iterations, names, values = series
    nothing = np.full(len(iterations), np.nan)
    columns = [values[:, names.index(name)] if name in names else nothing for name in order]
    return HeatMap(place, kind, iterations, order, np.stack(columns, axis=1))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", metavar="RUN_OR_METRICS_JSON", help="a run's OUTPUT_DIR, or its metrics.json")
    parser.add_argument("--output", metavar="FILE.png", help="default: class_weights.png beside metrics.json")
    parser.add_argument("--branch", help="only this one, e.g. source or mixed")
    parser.add_argument("--head", help="only this one, e.g. sem_seg, center or offset")
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS), help="columns of the figure")
    parser.add_argument("--by-share", action="store_true", help="most frequent class first, not the taxonomy's order")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
