"""A page on which a model predicts what is uploaded or what a webcam sees, with its thresholds as sliders.

    pip install 'gbw-panoptic[app]'
    python tools/app.py output/demo/adapted
    python tools/app.py exported --examples street.jpg --resize 512

The page is served on this machine alone, and nothing is sent elsewhere. The lower slider, tau, takes the class weights
of the training back (TEST.TAU); models without any, and Mask2Former, do not have it.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gbw_panoptic import cli

if TYPE_CHECKING:
    import gradio
    import numpy as np
    from PIL import Image

    from gbw_panoptic import PanopticModel

HEADERS = ["class", "number", "pixels", "x", "y", "width", "height", "score"]
#: The threshold of a post-processing, by the name that it has there -> what the slider is called.
THRESHOLDS = {"threshold": "Heat of a centre that is kept", "object_threshold": "Probability of a segment that is kept"}


def parse() -> argparse.Namespace:
    parser = cli.described_parser(__doc__)
    parser.add_argument(
        "model", metavar="MODEL", help="OUTPUT_DIR of a run, a folder of tools/export.py, or a .pth file"
    )
    parser.add_argument("--use", choices=("student", "teacher"), help="default: TEST.MODEL, if it is there")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU where there is one)")
    parser.add_argument("--resize", type=int, help="short edge that the model sees; 0: the image's own")
    parser.add_argument("--examples", nargs="+", default=[], metavar="IMAGE", help="offered below the image")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE overrides, last")
    cli.add_parts(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    from gbw_panoptic import load
    from gbw_panoptic.errors import UserError

    imported_gradio()
    cli.import_parts(arguments.imports)
    options = {"device": arguments.device, "model": arguments.use, "resize": arguments.resize, "opts": arguments.opts}
    model = load(arguments.model, **options)
    page = build_page(model, arguments.examples)
    try:
        page.launch(server_name="127.0.0.1", server_port=arguments.port, share=False, ssr_mode=False, **looks())
    except OSError as error:
        raise UserError(f"--port: expected a free port, found {arguments.port} taken; give another one") from error


def build_page(model: "PanopticModel", examples: list[str]) -> "gradio.Blocks":
    """The page, which calls :func:`predicted` whenever the image or a slider changes."""
    gr = imported_gradio()
    network = model.predictor.model
    name, value = threshold_of(network)
    with gr.Blocks(title="GBW Panoptic", analytics_enabled=False) as page:
        gr.Markdown(f"## Panoptic segmentation\nThe {model.name} tells {model.taxonomy.num_classes} classes apart.")
        with gr.Row():
            with gr.Column():
                image = gr.Image(
                    label="Image", type="numpy", sources=["upload", "webcam", "clipboard"], buttons=["fullscreen"],
                    webcam_options=gr.WebcamOptions(mirror=False),
                )  # fmt: skip
                threshold = gr.Slider(0, 1, value, step=0.01, label=THRESHOLDS[name])
                tau = gr.Slider(0, 1, getattr(network, "tau", 0), step=0.05, label="tau", visible=has_tau(network))
                if examples:
                    gr.Examples(examples, image)
            with gr.Column():
                # without Gradio's button that sends the picture to a public forum
                overlay = gr.Image(label="Overlay", format="png", interactive=False, buttons=["download", "fullscreen"])
                segments = gr.Dataframe(headers=HEADERS, label="Segments", interactive=False)
        gr.on(
            [image.change, threshold.release, tau.release],
            partial(predicted, model),
            [image, threshold, tau],
            [overlay, segments],
            concurrency_limit=1,  # the sliders' values lie in the one network
            api_name="predict",
        )
    return page


def predicted(
    model: "PanopticModel", image: "np.ndarray | None", threshold: float, tau: float
) -> tuple["Image.Image | None", list[list[Any]]]:
    """The overlay, and a row of :data:`HEADERS` for each segment, the largest first; nothing without an image.

    Args:
        image: uint8 [H, W, 3] RGB.
    """
    if image is None:
        return None, []
    network = model.predictor.model
    network.post_processing = replace(network.post_processing, **{threshold_of(network)[0]: threshold})
    if has_tau(network):
        network.tau = tau
    result = model.predict(image)
    divisor = model.taxonomy.label_divisor
    largest_first = sorted(result.segments, key=lambda segment: -segment.area)
    return result.plot(), [
        [s.name, s.id % divisor or "", s.area, *s.bbox, "" if s.score is None else round(s.score, 2)]
        for s in largest_first
    ]


def threshold_of(network: Any) -> tuple[str, float]:
    """Name and value of the threshold in the network's post-processing."""
    process = network.post_processing
    return next((name, getattr(process, name)) for name in THRESHOLDS if hasattr(process, name))


def has_tau(network: Any) -> bool:
    """Whether there are class weights to be taken back."""
    return getattr(network, "log_prior", None) is not None


def looks() -> dict[str, Any]:
    """Fonts of the reader's machine: others would be fetched."""
    themes = imported_gradio().themes
    return {"theme": themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])}


def imported_gradio() -> Any:
    """
    Raises:
        UserError: gradio is not installed.
    """
    from gbw_panoptic.optional import import_optional

    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    return import_optional(
        "gradio", wanted_by="tools/app.py", otherwise="write a page with tools/export.py --to page",
        install="'gbw-panoptic[app]'",
    )  # fmt: skip


if __name__ == "__main__":
    cli.run(main)
