"""What a step needs of memory: on a GPU as its allocator counts, on a CPU by counting the tensors that live."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class LiveTensors(TorchDispatchMode):
    """While it is entered, counts the bytes of tensors that live, by their storages: what an accelerator would hold,
    but for its libraries, the workspaces of its kernels and what its allocator rounds up.

    Attributes:
        peak: most bytes at a time.
    """

    def __init__(self, *modules: nn.Module) -> None:
        """
        Args:
            modules: whose tensors count, though they were made before.
        """
        super().__init__()
        self._known: dict[int, weakref.ref] = {}
        self._now = self.peak = 0
        for module in modules:
            for tensor in module.state_dict().values():
                self._count(tensor)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, Tensor):
                self._count(value)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known[key] = weakref.ref(storage, lambda _: self._forget(key, size))
        self._now += size
        self.peak = max(self.peak, self._now)

    def _forget(self, key: int, size: int) -> None:
        if self._known.pop(key, None) is not None:
            self._now -= size


@contextmanager
def described_peak(device: torch.device, *modules: nn.Module) -> Iterator[list[str]]:
    """A list that holds one sentence on the peak, once the block has ended.

    Args:
        modules: student and teacher.
    """
    said: list[str] = []
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield said
        peak, total = torch.cuda.max_memory_allocated(device), torch.cuda.get_device_properties(device).total_memory
        said.append(f"peak memory of a step {_gib(peak)} of {_gib(total)} on {torch.cuda.get_device_name(device)}")
        return
    with LiveTensors(*modules) as live:
        yield said
    said.append(f"peak memory of a step {_gib(live.peak)} of tensors, of which a GPU needs some more for its libraries")


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
