"""The study of active learning: mIoU, worst class and imbalance of what was bought, by budget and method, over seeds.

Results are plain values, so that a JSON file of them gives the table and the plot again:
``{"measure": "%" of the target's pixels, or "clicks", "setting": str, "protocol": str, "iterations": int, "runs":
[{"method", "budget" (None for references), "seed", "mIoU", "IoU": {class: percent}, "imbalance" (None without bought
labels), "bought": {class: pixels}, "clicks" that these are worth, "PQ" and "PQ things" of panoptic runs}]}``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from gbw_panoptic.errors import UserError
from gbw_panoptic.evaluation.scores import averaged_classes
from gbw_panoptic.forms import Each, Maybe
from gbw_panoptic.reporting.gains import Gain, gain, mean_and_deviation, spread
from gbw_panoptic.reporting.page import table
from gbw_panoptic.reporting.run_folder import RunFolder
from gbw_panoptic.reporting.sections import read_rounds

from .budgets import BudgetPanel, budget_curves

#: Form of what a study reads of a round of acquisition.
_ROUND = {"classes": Each(int), "imbalance": float, "clicks?": int}
#: Form of what is read of results.json.
RESULTS = {
    "protocol": str, "measure?": str,
    "runs": [
        {"method": str, "budget": Maybe(float), "seed": int, "mIoU": float, "IoU": Each(float),
         "imbalance": Maybe(float),
         "clicks?": Maybe(int), "PQ?": Maybe(float), "PQ things?": Maybe(float)}
    ],
}  # fmt: skip
#: Title of a column -> value of a run.
COLUMNS = {
    "mIoU": lambda run: run["mIoU"],
    "worst class": lambda run: min(run["IoU"].values(), default=None),
    "five worst": lambda run: fmean(sorted(run["IoU"].values())[:5]) if run["IoU"] else None,
    "imbalance": lambda run: run["imbalance"],
}
#: Those of runs that have them.
_MORE = {name: lambda run, name=name: run.get(name) for name in ("PQ", "PQ things", "clicks")}
_DECIMALS = {"imbalance": 3, "clicks": 0}


def run_result(folder: Path, *, method: str, budget: float | None, seed: int, protocol: str) -> dict | None:
    """What the study keeps of a run; None where it has not ended.

    Args:
        folder: OUTPUT_DIR; bought labels in its ``active/``.
    """
    run = RunFolder.read(folder)
    if not run.is_finished:
        return None
    by_protocol = run.headline()["scores"]["semantic"]
    if protocol not in by_protocol:
        raise UserError(
            f"--protocol: expected one of {', '.join(by_protocol)}, by which {folder} was evaluated, found "
            f"{protocol!r}; correct it"
        )
    scores = by_protocol[protocol]
    panoptic = run.headline()["scores"].get("panoptic", {}).get(protocol, {})
    rounds = read_rounds(folder / "active", _ROUND)
    names = list(rounds[0]["classes"]) if rounds else []
    return {
        "method": method, "budget": budget, "seed": seed, "mIoU": scores["mIoU"],
        "IoU": {name: scores["per_class"][name]["IoU"] for name in averaged_classes(scores)[0]},
        "imbalance": rounds[-1]["imbalance"] if rounds else None,
        "bought": {name: sum(entry["classes"][name] for entry in rounds) for name in names},
        "clicks": sum(entry["clicks"] for entry in rounds)
        if rounds and all("clicks" in entry for entry in rounds) else None,
        "PQ": panoptic.get("PQ"), "PQ things": panoptic.get("PQ_things"),
    }  # fmt: skip


def study_table(results: Mapping, *, reference: str) -> str:
    """Markdown: a row for each budget and method; mean ± standard deviation over seeds, and differences to
    ``reference``.

    Differences are to ``reference`` at the same budget, paired by seed, mean ± standard error; worst classes are those
    of each run.
    """
    groups, measure = _groups(results["runs"]), results.get("measure", "%")
    more = [name for name in _MORE if any(_MORE[name](run) is not None for run in results["runs"])]
    rows = []
    for (budget, method), runs in groups.items():
        base = groups.get((budget, reference), {})
        cells = ["-" if budget is None else f"{budget:g} {measure}", method, str(len(runs))]
        for name in COLUMNS:
            values, others = _values(runs, name), _values(base, name)
            cells.append(mean_and_deviation(values.values(), _DECIMALS.get(name, 1)) or "-")
            if name in ("mIoU", "worst class", "imbalance"):
                compared = values and others and method != reference
                cells.append(_difference(gain(values, others), _DECIMALS.get(name, 1)) if compared else "")
        cells += [mean_and_deviation(_values(runs, name).values(), _DECIMALS.get(name, 1)) or "-" for name in more]
        rows.append(cells)
    minus = f"- {reference}"
    header = ["budget", "method", "seeds", "mIoU", minus, "worst class", minus, "five worst", "imbalance", minus]
    return table(rows, [*header, *more])


def study_plot(results: Mapping) -> bytes:
    """PNG: mIoU, worst class, PQ where there is one, and imbalance over the budget, a line for each method;
    references are dashed."""
    groups = _groups(results["runs"])
    methods = list(dict.fromkeys(method for budget, method in groups if budget is not None))
    references = [method for budget, method in groups if budget is None]
    panels = []
    for name, label in (
        ("mIoU", "mIoU (%)"),
        ("worst class", "IoU of the worst class (%)"),
        *(
            (more, f"{more} (%)")
            for more in ("PQ", "PQ things")
            if any(_MORE[more](run) is not None for run in results["runs"])
        ),
        ("imbalance", "imbalance"),
    ):
        lines = {
            method: [
                (budget, (summary := spread(values)).mean, summary.deviation or 0.0)
                for (budget, other), runs in groups.items()
                if other == method and budget is not None and (values := list(_values(runs, name).values()))
            ]
            for method in methods
        }
        levels = {m: spread(v.values()).mean for m in references if (v := _values(groups[None, m], name))}
        title = "class imbalance of the bought labels" if name == "imbalance" else label
        panels.append(BudgetPanel(title, label, lines, levels if name != "imbalance" else {}))
    return budget_curves(
        panels, "clicks" if results.get("measure") == "clicks" else "budget (% of the target's pixels)"
    )


def _groups(runs: Sequence[Mapping]) -> dict[tuple[float | None, str], dict[int, Mapping]]:
    """(budget, method) -> seed -> run, as they first come; references first."""
    groups: dict[tuple[float | None, str], dict[int, Mapping]] = {}
    for run in sorted(runs, key=lambda run: (run["budget"] is not None, run["budget"] or 0)):
        groups.setdefault((run["budget"], run["method"]), {})[run["seed"]] = run
    return groups


def _values(runs: Mapping[int, Mapping], name: str) -> dict[int, float]:
    """Seed -> value, where a run has it."""
    found = {seed: (COLUMNS | _MORE)[name](run) for seed, run in sorted(runs.items())}
    return {seed: value for seed, value in found.items() if value is not None}


def _difference(difference: Gain, decimals: int) -> str:
    mean = f"{round(difference.mean, decimals) + 0.0:+.{decimals}f}"
    return mean if difference.error is None else f"{mean} ± {difference.error:.{decimals}f}"
