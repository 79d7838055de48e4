"""Write a trained model for use elsewhere: a small file for inference, ONNX, or torch.export's program.

    python tools/export.py output/demo/adapted --to safetensors --output exported
    python tools/export.py output/demo/adapted --to onnx --output exported
    python tools/export.py exported --to onnx --output exported --check images
    python tools/export.py output/demo/adapted --to page --output exported

safetensors: weights, config.json and a model card, for `load`, `from_pretrained` and predict.py --run.
onnx, torch: one graph from an RGB image of any height and width to its panoptic map, with normalisation and merging
inside. page: one HTML file that runs the model in a browser, offline. --check compares the maps of onnx and torch with
PyTorch's on images and says how many pixels differ. docs/export.md has more.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
from pathlib import Path

from gbw_panoptic import cli

FORMATS = ("safetensors", "onnx", "torch", "page")


def parse() -> argparse.Namespace:
    parser = cli.described_parser(__doc__)
    parser.add_argument(
        "model", metavar="MODEL", help="OUTPUT_DIR of a run, a folder that this tool wrote, or a .pth file"
    )
    parser.add_argument("--to", choices=FORMATS, nargs="+", required=True, help="one or several of them")
    parser.add_argument("--output", required=True, help="folder of the files")
    parser.add_argument("--use", choices=("student", "teacher"), help="default: TEST.MODEL, if it is there")
    parser.add_argument(
        "--licence", default="other", help="SPDX identifier for the model card (default: the terms it lists)"
    )
    parser.add_argument("--check", nargs="+", metavar="IMAGES", help="images or folders for a comparison with PyTorch")
    parser.add_argument("--num", type=int, help="only the first so many images of --check")
    parser.add_argument("--example", type=Path, metavar="IMAGE", help="what the page shows first")
    parser.add_argument(
        "--onnxruntime-web", type=Path, metavar="FILE", help="npm's archive of it (default: npm fetches it)"
    )
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE overrides, last")
    cli.add_parts(parser)
    return parser.parse_args()


if __name__ == "__main__":
    parse()  # --help and a wrong command line need not wait for the imports below

from detectron2.utils.logger import setup_logger

from gbw_panoptic import load
from gbw_panoptic.errors import UserError
from gbw_panoptic.export.checking import compare
from gbw_panoptic.export.onnx_file import write_onnx
from gbw_panoptic.export.torch_program import write_program
from gbw_panoptic.export.web_page import write_page
from gbw_panoptic.inference.model import PanopticModel


def main() -> None:
    arguments = parse()
    graphs = [form for form in arguments.to if form in ("onnx", "torch")]
    if arguments.check and not graphs:
        raise UserError("--check: expected onnx or torch behind --to, found none of them; add one or leave out --check")
    cli.import_parts(arguments.imports)
    setup_logger(name="gbw_panoptic")
    model = load(arguments.model, device="cpu", model=arguments.use, scores=False, opts=arguments.opts)
    folder = Path(arguments.output)
    for form in arguments.to:
        for path in written(model, form, folder, arguments):
            print(f"Written to {path}: {path.stat().st_size / 2**20:.1f} MB", flush=True)
    if arguments.check:
        for form in graphs:
            print(compare(model, form, folder, arguments.check, arguments.num))


def written(model: PanopticModel, form: str, folder: Path, arguments: argparse.Namespace) -> list[Path]:
    """The files of one format."""
    if form == "safetensors":
        model.save_pretrained(folder, licence=arguments.licence)
        return [folder / name for name in ("model.safetensors", "config.json", "README.md")]
    folder.mkdir(parents=True, exist_ok=True)
    if form == "page":
        return [write_page(model, folder, archive=arguments.onnxruntime_web, example=arguments.example)]
    write = write_onnx if form == "onnx" else write_program
    return [write(model, folder)]


if __name__ == "__main__":
    cli.run(main)
