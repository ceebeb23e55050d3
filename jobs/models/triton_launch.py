"""Whether a tensor can be handed to Triton's kernels."""
from __future__ import annotations

import os
import shutil
import sysconfig
import warnings
from functools import cache
from pathlib import Path

import torch
from torch import Tensor


def can_launch(x: Tensor) -> bool:
    """True for float32 on a GPU, where the host can build Triton's launcher; float64, which tests compare in, keeps PyTorch."""
    return x.is_cuda and x.dtype == torch.float32 and can_build()


@cache
def can_build() -> bool:
    """Triton compiles a launcher written in C at its first kernel: small container images often cannot, and must train all the same."""
    if os.environ.get("CC") is None and shutil.which("gcc") is None and shutil.which("clang") is None:
        missing = "a C compiler (gcc or clang)"
    elif not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        missing = "Python's headers (Python.h, in python3-dev)"
    else:
        return True
    warnings.warn(f"Triton's kernels need {missing}: PyTorch's own, which are slower, are taken instead", stacklevel=3)
    return False
