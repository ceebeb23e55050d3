"""How a training process on CPUs gets its memory."""
from __future__ import annotations

import ctypes

# Of glibc's mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT = 2**31 - 1  # bytes: what mallopt can be told at most


def keep_freed_memory() -> bool:
    """Makes glibc reuse freed tensors' memory rather than give it back; whether it agreed (False where the C library is another).

    By default every tensor above some hundred kB is mapped afresh and unmapped: its pages are zeroed by the kernel again in each step,
    which takes up to a quarter of a small model's step. The process's peak stays what it was; between peaks it holds more.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, KEPT)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))
