"""A trained model as an ONNX file: RGB image in, classes and panoptic map out.

Shapes: H x W pixels.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import Dim

from .. import files
from ..errors import UserError
from ..inference.model import PanopticModel
from ..inference.publishing import description_of
from ..optional import import_optional
from .graphs import PanopticGraph, graph_of
from .preparing import traceable

NAME = "model.onnx"
#: That torch's exporter writes operators for; a lower one would be converted, or silently not.
OPSET = 18
#: Sizes (H, W) at which the written file is compared with the graph; no multiples of a cell, landscape and portrait.
_SIZES = ((96, 130), (131, 75))
#: Pixels that may differ there, on noise: rounding decides where two classes are as likely.
_TOLERANCE = 0.01
OUTPUTS = ("semantic", "panoptic")


def write_onnx(model: PanopticModel, folder: Path, opset: int = OPSET) -> Path:
    """``model.onnx`` in ``folder``, whose maps onnxruntime has made at two sizes.

    Its input ``image`` is uint8 [H, W, 3] RGB; its outputs ``semantic`` and, for the panoptic task, ``panoptic`` are int32 [H, W].
    The metadata say the rest: classes, thing_ids, label_divisor, channel_order, and the size of images that the model was made for.

    Raises:
        UserError: onnx, onnxscript or onnxruntime is not installed, or what was written gives other maps than PyTorch.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        _imported(package)
    graph = graph_of(model)
    program = _program(graph, opset)
    proto = program.model_proto
    found = max(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    if found != opset:
        raise UserError(f"--opset: expected a file of opset {opset}, found {found}, into which this model cannot be converted; take {found}")
    for key, value in metadata(model, found).items():
        proto.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    _name_sizes(proto)
    path = folder / NAME
    with files.replacing(path) as temporary:
        _imported("onnx").save(proto, str(temporary))
        _check(graph, temporary)
    return path


def metadata(model: PanopticModel, opset: int) -> dict[str, Any]:
    """What a user of the file must know, by key; values that are no texts are written as JSON."""
    taxonomy = model.taxonomy
    return {
        "classes": list(taxonomy.names),
        "dataset_ids": list(taxonomy.dataset_ids),
        "thing_ids": list(taxonomy.thing_ids),
        "colors": [list(color) for color in taxonomy.colors],
        "label_divisor": taxonomy.label_divisor,
        "void": -1,
        "channel_order": "RGB",
        "short_edge": model.predictor.short_edge,
        "max_size": model.predictor.max_size,
        "opset": opset,
        "architecture": model.config.MODEL.META_ARCHITECTURE,
        "protocols": [protocol.name for protocol in description_of(model).protocols],
        "licence": "the terms of the training data; see the model card",
    }


def session(path: Path, threads: int = 0) -> Any:
    """onnxruntime's session on the CPU; ``threads`` 0: one for each core."""
    runtime = _imported("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _program(graph: PanopticGraph, opset: int) -> Any:
    example = torch.zeros(70, 101, 3, dtype=torch.uint8)
    with traceable(), torch.no_grad():
        return torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},),
            input_names=["image"],
            output_names=list(OUTPUTS[: graph.num_outputs]),
            opset_version=opset,
            verbose=False,
        )


def _name_sizes(proto: Any) -> None:
    """Height and width of the image and of the maps by these names; the exporter has formulas.

    Raises:
        UserError: the graph takes images of one size alone.
    """
    for value in (*proto.graph.input, *proto.graph.output):
        for dimension, name in zip(value.type.tensor_type.shape.dim, ("height", "width")):
            if not dimension.dim_param:
                raise UserError(
                    f"expected a graph for images of any size, found the {name} {dimension.dim_value} in {value.name}; report this with the "
                    "configuration"
                )
            dimension.dim_param = name


def _check(graph: PanopticGraph, path: Path) -> None:
    """
    Raises:
        UserError: the file gives other maps than the graph.
    """
    run = session(path)
    for seed, size in enumerate(_SIZES):
        image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
        with torch.inference_mode():
            expected = graph(torch.from_numpy(image))
        for name, one, two in zip(OUTPUTS, expected, run.run(None, {"image": image})):
            share = float((one.numpy() != two).mean())
            if share > _TOLERANCE:
                raise UserError(
                    f"expected the maps of PyTorch from the ONNX file, found {100 * share:.2f} % of the pixels of {name} otherwise at "
                    f"{size[1]}x{size[0]}; nothing was written: report this with the configuration"
                )


def _imported(package: str) -> Any:
    return import_optional(package, wanted_by="ONNX", otherwise="take --to safetensors", install="'gbw-panoptic[export]'")
