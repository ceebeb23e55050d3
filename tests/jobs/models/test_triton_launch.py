"""Triton's kernels without a GPU: interpreted, compiled as they would be launched, and done without."""
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.models import triton_launch
from jobs.models.triton_launch import can_build, can_launch
from tests.jobs.models.kernels import interpreted

HERE = Path(__file__).parent
MODULES = ("test_triton_maximum.py", "test_triton_sums.py", "test_triton_neighbours.py")
ROOT = HERE.parents[2]
POINTER = {torch.float32: "*fp32", torch.int64: "*i64", torch.uint8: "*u8"}


def test_the_kernels_pass_their_tests_in_tritons_interpreter() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    command = [sys.executable, "-m", "pytest", *(str(HERE / name) for name in MODULES)]
    run = subprocess.run(command, cwd=ROOT, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0 and " passed" in run.stdout and "skipped" not in run.stdout, run.stdout + run.stderr


class Recorder:
    """Stands in for a kernel and keeps what it was launched with."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.launches: list[dict[str, Any]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        assert grid[0] >= 1
        def launch(*given: Any, num_warps: int, **constants: Any) -> None:
            self.launches.append({**inspect.signature(self.kernel.fn).bind(*given, **constants).arguments, "num_warps": num_warps})
        return launch

    def compiled(self, launch: dict[str, Any], capability: int) -> str:
        """The PTX that Triton makes for such a launch, after ptxas has taken it. Triton makes a constant of every number 1."""
        import triton
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        signature, constants, aligned = {}, {}, {}
        for place, parameter in enumerate(self.kernel.params):
            value = launch[parameter.name]
            if isinstance(value, torch.Tensor):
                signature[parameter.name] = POINTER[value.dtype]
                aligned[(place,)] = [["tt.divisibility", 16]]
            elif parameter.is_constexpr or value == 1:
                signature[parameter.name] = "constexpr"
                constants[(place,)] = value
            else:
                signature[parameter.name] = "fp32" if isinstance(value, float) else "i32"
                if isinstance(value, int) and value % 16 == 0:
                    aligned[(place,)] = [["tt.divisibility", 16]]
        source = ASTSource(self.kernel, signature=signature, constexprs=constants, attrs=aligned)
        built = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": launch["num_warps"]})
        assert built.asm["cubin"]
        return str(built.asm["ptx"])


@pytest.mark.parametrize(("rows", "k", "channels", "capability"), [(64, 20, 64, 80), (64, 20, 64, 90), (33, 20, 3, 90), (1, 1, 1, 90)])
def test_every_kernel_compiles_as_it_is_launched(
    rows: int, k: int, channels: int, capability: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    if interpreted():
        pytest.skip("interpreted kernels cannot be compiled")
    from jobs.models import triton_maximum, triton_neighbours, triton_sums

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    recorders = {}
    for module in (triton_maximum, triton_neighbours, triton_sums):
        for name in [name for name in vars(module) if name.endswith("_kernel")]:
            recorders[name] = Recorder(getattr(module, name))
            monkeypatch.setattr(module, name, recorders[name])
    near_MD, own_MD = torch.randn(rows, channels, requires_grad=True), torch.randn(rows, channels)
    idx_MK = torch.randint(0, rows, (rows, k))
    triton_maximum.fused_neighbour_maximum(near_MD, own_MD, idx_MK, 0.2).sum().backward()
    triton_maximum.fused_neighbour_maximum(near_MD.detach(), own_MD, idx_MK, 0.2)
    triton_sums.fused_neighbour_sum(own_MD, idx_MK)
    triton_sums.fused_referrer_sum(own_MD, idx_MK)
    triton_neighbours.fused_nearest(own_MD[None], k)
    assert {name: len(recorder.launches) for name, recorder in recorders.items()} == {
        "_maximum_kernel": 2, "_nearest_kernel": 1, "_neighbour_sum_kernel": 1, "_referrer_sum_kernel": 2
    }  # fmt: skip
    for recorder in recorders.values():
        for launch in recorder.launches:
            ptx = recorder.compiled(launch, capability)
            assert not re.search(r"mma|tf32", ptx), "products are float32"
            assert not re.search(r"\b(atom|red)\.global", ptx), "sums have one order"


def test_without_triton_the_models_take_pytorchs_path() -> None:
    script = """
import sys
sys.modules["triton"] = None  # importing it raises ImportError
import torch
from jobs.models import maximum, moments, neighbours
from jobs.models.edgeconv import EdgeConv
assert maximum.can_launch is moments.can_launch is neighbours.can_launch is None
x = torch.randn(2, 8, 3, requires_grad=True)
EdgeConv(3, 4)(x, neighbours.nearest(x, 3)).sum().backward()
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr


def test_tensors_on_the_cpu_and_doubles_are_left_to_pytorch() -> None:
    assert not can_launch(torch.zeros(1))
    if torch.cuda.is_available():
        assert not can_launch(torch.zeros(1, dtype=torch.float64, device="cuda"))


@pytest.mark.parametrize("missing", ["C compiler", "Python.h"])
def test_a_host_that_cannot_build_the_launcher_is_told_and_trains_without(
    missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CC", raising=False)
    if missing == "C compiler":
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        monkeypatch.setenv("CC", "cc")
        monkeypatch.setattr(triton_launch.sysconfig, "get_path", lambda name: str(tmp_path))
    can_build.cache_clear()
    try:
        with pytest.warns(UserWarning, match=missing):
            assert not can_build()
        assert not can_build(), "told once"
    finally:
        can_build.cache_clear()
