"""A trained model as an ONNX file: RGB image in, classes and panoptic map out.

Shapes: H x W pixels.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import files
from ..errors import UserError
from ..inference.model import PanopticModel
from ..inference.publishing import description_of
from ..optional import import_optional
from .graphs import PanopticGraph, graph_of, require_same, traced

NAME = "model.onnx"
#: That torch's exporter writes operators for; a lower one would be converted, or silently not.
OPSET = 18


def write_onnx(model: PanopticModel, folder: Path, opset: int = OPSET, *, confidence: bool = False) -> Path:
    """``model.onnx`` in ``folder``, whose maps onnxruntime has made at three sizes.

    Its input ``image`` is uint8 [H, W, 3] RGB; its outputs ``semantic`` and, for the panoptic task, ``panoptic`` are
    int32 [H, W].
    With ``confidence`` there is a map of this name, too: int32 [H, W], the probability of the class in per cent.
    The metadata say the rest: classes, thing_ids, label_divisor, channel_order, and the size of images that the model
    was made for.

    Raises:
        UserError: onnx, onnxscript or onnxruntime is not installed, or what was written gives other maps than PyTorch.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        _imported(package)
    graph = graph_of(model, confidence=confidence)
    program = _program(graph, opset)
    proto = program.model_proto
    found = max(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    if found != opset:
        raise UserError(
            f"--opset: expected a file of opset {opset}, found {found}, into which this model cannot be converted; "
            f"take {found}"
        )
    for key, value in metadata(model, found).items():
        proto.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    _name_sizes(proto)
    path = folder / NAME
    with files.replacing(path) as temporary:
        _imported("onnx").save(proto, str(temporary))
        require_same(graph, runner(temporary))
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


def runner(path: Path, threads: int = 0) -> Callable[[np.ndarray], list[np.ndarray]]:
    """A function from uint8 [H, W, 3] RGB to the maps of a file, by onnxruntime on the CPU.

    Args:
        threads: 0: one for each core.
    """
    runtime = _imported("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"image": image})


def _program(graph: PanopticGraph, opset: int) -> Any:
    logging.getLogger("onnxscript.optimizer").setLevel(logging.ERROR)  # it would tell what it does not fold
    names = {"input_names": ["image"], "output_names": graph.output_names}
    return torch.onnx.export(traced(graph), dynamo=True, **names, opset_version=opset, verbose=False)


def _name_sizes(proto: Any) -> None:
    """Height and width of the image and of the maps by these names; the exporter has formulas.

    Raises:
        UserError: the graph takes images of one size alone.
    """
    for value in (*proto.graph.input, *proto.graph.output):
        for dimension, name in zip(value.type.tensor_type.shape.dim, ("height", "width")):
            if not dimension.dim_param:
                raise UserError(
                    f"expected a graph for images of any size, found the {name} {dimension.dim_value} in {value.name}; "
                    "report this with the configuration"
                )
            dimension.dim_param = name


def _imported(package: str) -> Any:
    return import_optional(
        package, wanted_by="ONNX", otherwise="take --to safetensors", install="'gbw-panoptic[export]'"
    )
