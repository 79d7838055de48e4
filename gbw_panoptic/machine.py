"""What the machine can, and what it should leave alone: bfloat16 instructions, the memory that a process frees."""

import ctypes
import os
import sys
from pathlib import Path

import torch

#: What Linux lists the processor's features in, and how it calls instructions for bfloat16 (of x86, x86, ARM).
_CPU_FEATURES, _BFLOAT16 = Path("/proc/cpuinfo"), {"avx512_bf16", "amx_bf16", "bf16"}

#: Parameters of glibc's mallopt and our values: M_MMAP_THRESHOLD at its largest, 32 MiB, and M_TRIM_THRESHOLD at never.
_MALLOPT = {-3: 32 * 2**20, -1: -1}


def computes_bfloat16(device: str) -> bool:
    """Whether ``device`` has instructions for bfloat16; a CPU without is slower than in float32, the more the older it
    is."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    # no public function says what oneDNN can; get_capabilities of torch.cpu is too new for our oldest torch
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    # oneDNN supports it on every CPU with AVX-512, on most of them by emulation
    return not _CPU_FEATURES.is_file() or not _BFLOAT16.isdisjoint(_CPU_FEATURES.read_text().split())


def keep_freed_memory() -> bool:
    """Let this process keep the memory that a step on the CPU frees: the next step needs it again.

    glibc gives it back to the system, which clears every page anew when it is touched: thousands of page faults a step,
    whose cost is the machine's (``tools/benchmark.py memory``). The process's peak stays what it was.

    Returns:
        Whether that was done: not without glibc, nor where the environment sets MALLOC_TRIM_THRESHOLD_ itself.
    """
    if "MALLOC_TRIM_THRESHOLD_" in os.environ or sys.platform != "linux":
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    return all(library.mallopt(parameter, value) for parameter, value in _MALLOPT.items())
