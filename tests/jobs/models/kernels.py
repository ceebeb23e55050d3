"""Where Triton's kernels can be tested: on a GPU, or by Triton's interpreter on CPU tensors, which takes a process of its own."""
from __future__ import annotations

import os

import pytest
import torch


def interpreted() -> bool:
    """Whether this process interprets kernels: decided by the environment before a kernel is defined."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def device_of_kernels() -> str:
    """"cuda" or "cpu" (interpreted); skips the module that asks where kernels run on neither."""
    pytest.importorskip("triton", reason="Triton is not installed")
    if interpreted():
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    pytest.skip("no GPU here; test_triton_launch.py runs this module in Triton's interpreter", allow_module_level=True)
