"""What a training step needs of memory on a GPU, without a GPU, without that memory and in a minute.

    python tools/step_memory.py --config-file configs/synthia_to_cityscapes/mask2former_dinov2_base_self_training_24gb.yaml
    python tools/step_memory.py --config-file FILE KEY VALUE ...

The network runs forward and backward on tensors that have sizes but no contents. Parameters, gradients, the optimizer's
moments, a teacher and what autograd keeps are counted. Losses, kernels' workspaces and the libraries (about a GiB) are
not: `train_net.py --dry-run` measures all of it on the machine that is to train.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
from contextlib import ExitStack

import torch
from detectron2.modeling import build_model
from detectron2.structures import ImageList
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gbw_panoptic import cli
from gbw_panoptic.config.trainers import has_teacher
from gbw_panoptic.data import register_all
from gbw_panoptic.engine.execution import PRECISIONS
from gbw_panoptic.engine.memory import LiveTensors
from gbw_panoptic.engine.setup import load_config


class NothingIsWrong(TorchDispatchMode):
    """Answers yes where a network asks about contents: transformers' looks for values that are not finite."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return True if func is torch.ops.aten._local_scalar_dense.default else func(*args, **(kwargs or {}))


def main() -> None:
    arguments = parse()
    register_all()
    cfg = load_config(arguments.config_file, ["MODEL.DEVICE", "cpu", *arguments.opts])
    count, size = cfg.SOLVER.IMS_PER_BATCH // cfg.SOLVER.ACCUMULATION_STEPS, tuple(cfg.INPUT.CROP.SIZE)
    dtype = PRECISIONS[cfg.SOLVER.AMP.PRECISION] if cfg.SOLVER.AMP.ENABLED else None  # auto: as on a GPU
    model = build_model(cfg).train()
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    moments = {"SGD": 1, "ADAM": 2, "ADAMW": 2}[cfg.SOLVER.OPTIMIZER] + has_teacher(cfg)
    peak = peak_of_a_pass(model, count, size, dtype)
    total = peak + (moments + 1) * weights  # gradients of a second pass are added to those of the first
    print(
        f"{total / 2**30:.1f} GiB: weights {weights / 2**30:.2f}, gradients the same, optimizer and teacher "
        f"{moments * weights / 2**30:.2f}, a pass of {count} images of {size[0]}x{size[1]} "
        f"{(peak - weights) / 2**30:.2f} in {str(dtype or torch.float32).removeprefix('torch.')}."
    )


def peak_of_a_pass(model: nn.Module, count: int, size: tuple[int, int], dtype: torch.dtype | None) -> int:
    """Most bytes at a time of the parameters and of one forward and backward pass."""
    with ExitStack() as stack:
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        images = ImageList(torch.empty(count, 3, *size), [size] * count)
        live = stack.enter_context(LiveTensors(model))
        stack.enter_context(NothingIsWrong())
        with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            raw = model.heads(images, instances=True)
        outputs = [x for x in tree_leaves(list(vars(raw).values())) if isinstance(x, Tensor) and x.requires_grad]
        sum(x.float().mean() for x in outputs).backward()
    return live.peak


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config-file", required=True)
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
