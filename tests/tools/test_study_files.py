"""Files that the tools of studies read again: any value anywhere in them is taken, or refused in one sentence."""

import json
import random

import active_study
import reproduce
import weighting_study
from studies.active.tables import RESULTS, study_plot, study_table
from studies.reproduction.rows import ROWS

from gbw_panoptic import files
from gbw_panoptic.errors import UserError
from gbw_panoptic.streets.generate import _claim_root

ROW = next(iter(ROWS.values())).benchmark
SETTINGS = {"size": [32, 64], "formats": ["gta5"], "gap": 1.0, "reach": 200.0}
CELL = {"IoU": 50.0, "recall": 60.0, "precision": 70.0, "pixels": 5, "source_pixels": 4}
SOUND = {
    "reproduction": {"row": ROW.name, "method": "GBW", "seed": 0, "scores": dict.fromkeys(ROW.columns, 50.0)},
    "active": {"protocol": "16", "runs": [
        {"method": method, "budget": budget, "seed": 0, "mIoU": 40.0, "IoU": {"road": 50.0, "car": 3.0},
         "imbalance": 0.5}
        for method, budget in (("RIPU", 5), ("CBDA (both)", 5), ("source only", None))
    ]},
    "weighting": {"task": "semantic", "network": "b0", "strategy": "source_only", "weighting": "gbw", "seed": 0,
                  "model": "student",
                  "iterations": 9, "device": "cpu", "machine": "a", "precision": "float32", "scores": {"mIoU": 3.0},
                  "classes": {"road": CELL}, "pseudo_labels": {"road": {"recall": 1.0, "precision": 2.0}},
                  "quality": [0.5, None],
                  "gbw": {"source/sem_seg": {"iterations": [1], "weight": {"road": [1.0]}, "gradient": {"road": [None]},
                                             "share": {"road": [1]}}}},
    "streets": {"version": 1, "settings": SETTINGS, "datasets": {}},
}  # fmt: skip
ANYTHING = (None, True, 3, -1.5, 10**30, "", "road", [], [[1]], {}, {"road": []}, {"IoU": None}, [None], "\ud800")


def places(value) -> list[tuple]:
    """Every container and key below ``value``."""
    found = []
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        found += [(value, key), *places(value[key])]
    return found


def read(kind: str, folder) -> None:
    path = folder / {
        "reproduction": "results/a/b_seed0.json",
        "weighting": "a/seed0.json",
        "streets": "streets.json",
    }.get(kind, "r.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    (folder / "document").replace(path)
    if kind == "reproduction":
        reproduce.write_table(folder)
    elif kind == "weighting":
        weighting_study.Results(weighting_study.read_results(folder))
    elif kind == "streets":
        _claim_root(folder, SETTINGS, overwrite=True)
    else:
        study_table(files.read_json(path, RESULTS), reference=active_study.REFERENCE)


def test_any_value_anywhere_is_taken_or_one_sentence(tmp_path):
    draw, refused = random.Random(0), dict.fromkeys(SOUND, 0)
    for case in range(240):
        kind = list(SOUND)[case % len(SOUND)]
        document = json.loads(json.dumps(SOUND[kind]))
        if case >= len(SOUND):
            holder, key = draw.choice([*places(document), ([document], 0)])
            holder[key] = draw.choice(ANYTHING)
            if draw.random() < 0.3:
                del holder[key]
        (tmp_path / "document").write_text(json.dumps(document))
        try:
            read(kind, tmp_path)
        except UserError as error:
            assert case >= len(SOUND) and "\n" not in str(error) and str(tmp_path) in str(error)
            refused[kind] += 1
    assert min(refused.values()) > 10


def test_a_study_without_a_run_is_drawn():
    assert study_plot({"runs": []})
    assert "RIPU" in study_table({"runs": [{**run, "IoU": {}} for run in SOUND["active"]["runs"]]}, reference="RIPU")
