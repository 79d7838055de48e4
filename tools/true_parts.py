"""Which part of the predictions costs panoptic quality: scores of a run with true classes, centres or offsets instead.

    python tools/true_parts.py output/self_training_gbw
    python tools/true_parts.py RUN --parts classes centres+offsets

An upper bound for the parts that are left, not a result: it looks at the labels of the validation images. The table is
printed; the results of every row go to RUN/true_parts.
"""

import _environment  # noqa: F401  (first: says what is missing)

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

import tau_curve
from gbw_panoptic import cli
from gbw_panoptic.engine.variants import with_truth
from gbw_panoptic.errors import UserError
from gbw_panoptic.evaluation.maps import read_ground_truth

PARTS = ("classes", "centres", "offsets")
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
