"""Which part of the predictions costs panoptic quality: scores of a run with true classes, centres or offsets instead.

    python tools/true_parts.py output/self_training_gbw
    python tools/true_parts.py RUN --parts classes centres+offsets

An upper bound for the parts that are left, not a result: it looks at the labels of the validation images. The table is
printed; the results of every row go to RUN/true_parts.
"""

from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import _environment  # noqa: F401  (first: says what is missing)
import tau_curve
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from torch import Tensor

from gbw_panoptic import cli
from gbw_panoptic.errors import UserError
from gbw_panoptic.evaluation.maps import read_ground_truth
from gbw_panoptic.structures.instances import instance_targets
from gbw_panoptic.structures.predictions import DensePrediction, GroundTruth

PARTS = ("classes", "centres", "offsets")
#: Logit of a true class, where all others have 0.
_SURE = 50.0
ROWS = ("classes", "centres", "offsets", "centres+offsets", "classes+centres", "classes+offsets")


def main() -> None:
    arguments = parse()
    cfg, model, name = tau_curve.load(arguments)
    if cfg.MODEL.TASK != "panoptic":
        raise UserError(
            f"Expected a run of MODEL.TASK panoptic, which has centres and offsets, found {cfg.MODEL.TASK}; "
            "give another."
        )
    dataset = cfg.DATASETS.TEST[0]
    taxonomy, truths = (
        MetadataCatalog.get(dataset).taxonomy,
        {record["file_name"]: record for record in DatasetCatalog.get(dataset)},
    )

    def outputs(record: dict) -> Iterator[dict]:
        truth, dense = read_ground_truth(truths[record["file_name"]], taxonomy), model.predict([record])
        if dense.sem_seg.shape[-2:] != truth.labels.shape:
            raise UserError(
                f"Expected predictions at the size of the labels, found {tuple(dense.sem_seg.shape[-2:])} and "
                f"{truth.labels.shape}; pass --opts INPUT.MIN_SIZE_TEST 0."
            )
        for row in ("", *arguments.parts):
            parts = with_truth(
                dense, truth, row.split("+"), thing_ids=taxonomy.thing_ids, sigma=cfg.INPUT.GAUSSIAN_SIGMA
            )
            yield next(model.decide(parts, record, (0.0,)))

    folder = Path(arguments.output or Path(arguments.run) / "true_parts")
    found = tau_curve.evaluate_rows(cfg, outputs, {row: folder / row for row in ("none", *arguments.parts)}, name)
    tau_curve.report(found, cfg, "true", f"The {name} of {arguments.run} on {dataset}")
    print(folder)


def with_truth(
    dense: DensePrediction, truth: GroundTruth, parts: Iterable[str], *, thing_ids: Sequence[int], sigma: int
) -> DensePrediction:
    """A prediction [1, ...] for an image, at the size of its truth, with true ``parts`` (classes, centres, offsets)."""
    device, replaced = dense.sem_seg.device, {}
    if "classes" in parts:
        replaced["sem_seg"] = _true_logits(dense.sem_seg, torch.from_numpy(truth.labels).long().to(device))
    if "centres" in parts or "offsets" in parts:
        targets = _true_instances(truth, thing_ids, sigma, device)
        if "centres" in parts:
            replaced["center"] = targets["center"][None, None]
        if "offsets" in parts:
            replaced["offset"] = targets["offset"][None]
    return DensePrediction(**{"sem_seg": dense.sem_seg, "center": dense.center, "offset": dense.offset, **replaced})


def _true_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """Sure of the label of every pixel that has one; as predicted elsewhere."""
    known = labels < logits.shape[1]
    true = torch.zeros_like(logits).scatter_(1, torch.where(known, labels, 0)[None, None], _SURE)
    return torch.where(known, true, logits)


def _true_instances(
    truth: GroundTruth, thing_ids: Sequence[int], sigma: int, device: torch.device
) -> dict[str, Tensor]:
    things = [s["id"] for s in truth.segments if s["category_id"] in thing_ids and not s.get("iscrowd")]
    ids, segments = torch.zeros(truth.ids.shape, dtype=torch.int64), torch.from_numpy(truth.ids).long()
    for number, segment in enumerate(things, start=1):
        ids[segments == segment] = number
    return instance_targets(ids.to(device), len(things), sigma=sigma)


def parse() -> Namespace:
    parser = tau_curve.parser_of_runs(__doc__)
    parser.add_argument(
        "--parts", nargs="+", type=parts, default=list(ROWS), metavar="PART[+PART]", help=f"of {', '.join(PARTS)}"
    )
    return parser.parse_args()


def parts(text: str) -> str:
    unknown = set(text.split("+")) - set(PARTS)
    if unknown:
        raise UserError(f"--parts: expected some of {', '.join(PARTS)}, joined by +, found {text}; correct it.")
    return text


if __name__ == "__main__":
    cli.run(main)
