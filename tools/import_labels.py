"""Take what humans have answered into a folder of bought labels.

    python tools/import_labels.py output/run/active answers.json
    python tools/import_labels.py output/run/active anna.xml --annotator anna
    python tools/import_labels.py output/run/active --close
    python tools/import_labels.py output/run/active --undo 2

Answers come from the page of this project, CVAT (XML or its zip), Label Studio, labelme (files, or their folder) or
COCO panoptic. They may be partial: the round that acquire.py --for has asked for stays open until all of its parts are
answered, or until --close. Later answers of an annotator replace that one's earlier ones. Of several annotators, more
than half must agree on a pixel, else it becomes void; how far they agree is reported. The same command can be repeated
after a kill. docs/labelling.md has more.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
import math
from pathlib import Path

from gbw_panoptic import cli


def parse() -> argparse.Namespace:
    parser = cli.described_parser(__doc__)
    parser.add_argument("labels", type=Path, metavar="LABELS", help="ACTIVE.LABELS: the folder of bought labels")
    parser.add_argument("answers", type=Path, nargs="*", metavar="ANSWERS", help="files, or labelme's folder")
    parser.add_argument("--from", dest="tool", help="the tool that they are from (default: as they look)")
    parser.add_argument("--annotator", metavar="NAME", help="who has answered (default: as the files say)")
    parser.add_argument("--round", type=cli.count, help="of the batch (default: the last one)")
    parser.add_argument("--prefer", metavar="NAME", help="the annotator whose answers count against all others")
    parser.add_argument("--all-done", action="store_true", help="take images, too, that nobody has marked as done")
    parser.add_argument("--close", action="store_true", help="end the round: what is not answered is given back")
    parser.add_argument("--undo", type=cli.count, metavar="ROUND", help="take back the labels of it and all after it")
    parser.add_argument(
        "--overlays", type=int, default=8, help="pictures of labels after a round (default %(default)s)"
    )
    arguments = parser.parse_args()
    if not arguments.answers and not arguments.close and not arguments.undo:
        parser.error("give ANSWERS, --close or --undo")
    return arguments


if __name__ == "__main__":
    parse()  # --help and a wrong command line need not wait for the imports below

from gbw_panoptic.active.label_store import LabelStore
from gbw_panoptic.engine.acquisition import draw_round
from gbw_panoptic.errors import UserError
from gbw_panoptic.labelling.answer import Answer
from gbw_panoptic.labelling.batch import Batch, read_batch
from gbw_panoptic.labelling.formats import FORMATS, format_of
from gbw_panoptic.labelling.importing import Report, keep_answers, merge_answers
from gbw_panoptic.locks import exclusive
from gbw_panoptic.places import nearest


def main() -> None:
    arguments = parse()
    if not arguments.labels.is_dir():
        raise UserError(f"expected a folder of bought labels, found none at {arguments.labels}; correct the path")
    with exclusive(arguments.labels / ".lock", what="import", remedy="import into another folder"):
        if arguments.undo:
            return undo(arguments)
        batch, store = read_batch(arguments.labels, arguments.round)
        if batch.number <= len(store.rounds):
            raise UserError(
                f"expected an open round in {store.folder}, found that round {batch.number} is closed; ask for the "
                f"next one with tools/acquire.py --for, or open it again with --undo {batch.number}"
            )
        answers = [found for path in arguments.answers for found in read(path, batch, arguments)]
        outside = sum(keep_answers(store, batch, found) for found in answers)  # all were read without a fault
        report = merge_answers(store, batch, prefer=arguments.prefer, close=arguments.close)
        report.outside = outside
        if report.entry:
            records = [{"file_name": image.path, "image_id": image.image_id} for image in batch.images.values()]
            draw_round(
                store, [r for r in records if Path(r["file_name"]).is_file()], batch.taxonomy, arguments.overlays
            )
        print(summary(report, batch, store))


def read(path: Path, batch: Batch, arguments: argparse.Namespace) -> list[dict[str, dict[str, Answer]]]:
    """Annotator -> image id -> answer, of one file or folder."""
    if not path.exists():
        raise UserError(f"expected answers at {path}, found nothing; correct the path")
    tool = arguments.tool or format_of(path)
    if tool not in FORMATS:
        raise UserError(f"--from: expected one of {', '.join(FORMATS)}, found {tool!r}; {nearest(tool, list(FORMATS))}")
    found = FORMATS[tool].read(path, batch, all_done=arguments.all_done)
    if not any(found.values()):
        raise UserError(
            f"expected answers about images of round {batch.number} in {path}, found none that is done; mark finished "
            "images as instructions.md says, or give --all-done"
        )
    return [found] if arguments.annotator is None else [{arguments.annotator: by_image} for by_image in found.values()]


def undo(arguments: argparse.Namespace) -> None:
    batch, store = read_batch(arguments.labels)
    if arguments.undo > max(len(store.rounds), batch.number):
        raise UserError(
            f"--undo: expected a round of 1 to {max(len(store.rounds), batch.number)}, found {arguments.undo}; "
            f"correct it"
        )
    opened = batch.number if batch.number > len(store.rounds) else 0
    answered = len({path.name for path in store.folder.glob(f"answers/{opened}/by/*/*.npz")})
    last = max(len(store.rounds), opened)
    store.take_back(arguments.undo - 1, keep_plan=True)
    print(taken_back(arguments.undo, last, opened, answered))


def taken_back(first: int, last: int, opened: int, answered: int) -> str:
    """
    Args:
        first, last: rounds that were taken back.
        opened: of them, the one that was open; 0 = none.
        answered: images with answers that it had.
    """
    rounds = f"Round {first} is" if first == last else f"Rounds {first} to {last} are"
    lines = [f"{rounds} taken back, labels and answers.", f"Round {first} is open: its batch can be answered again."]
    if opened:
        lines.insert(1, f"Round {opened} was open; its answers about {answered} images are gone.")
    if last > first:
        later = f"Round {last}" if last == first + 1 else f"Rounds {first + 1} to {last}"
        lines.append(f"{later} must be asked for anew with tools/acquire.py --for, once round {first} is closed.")
    return "\n".join(lines)


def summary(report: Report, batch: Batch, store: LabelStore) -> str:
    """What was imported, who agrees with whom, and what is left."""
    lines = [f"Round {batch.number}: {report.answered} of {report.asked} parts are answered."]
    if report.outside:
        lines.append(f"{report.outside} pixels were answered though they are not asked for; they are left out.")
    for (one, other), agreement in report.agreements.items():
        kappa = "" if math.isnan(agreement.kappa) else f", kappa {agreement.kappa:.2f}"
        pixels = int(agreement.pixels.sum())
        share = f"{100 * agreement.share:.1f} % of {pixels} pixels alike{kappa}" if pixels else "nothing in common"
        lines.append(f"{one or 'unnamed'} and {other or 'unnamed'}: {share}.")
    if report.undecided:
        lines.append(
            f"{report.undecided} pixels on which no majority agrees became void; --prefer NAME decides otherwise."
        )
    if report.entry:
        entry = report.entry
        bought = ", ".join(f"{name} {pixels}" for name, pixels in entry["classes"].items() if pixels)
        lines.append(f"The round is closed: {entry['pixels']} pixels ({bought or 'no class'}, void {entry['void']}).")
    else:
        lines.append("The round stays open: import the rest, or end it with --close.")
    return "\n".join([*lines, f"Labels: {store.folder}"])


if __name__ == "__main__":
    cli.run(main)
