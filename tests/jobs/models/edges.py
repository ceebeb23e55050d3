"""What tests of EdgeConvs share: neighbours by sorting, how gradients are compared, what is allocated. Letters: jobs/models/edgeconv.py."""
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode


def neighbours_by_sorting(x_BNC: Tensor, k: int) -> Tensor:
    """The k nearest by a full sort of plain distances."""
    distances_BNN = (x_BNC[:, :, None] - x_BNC[:, None]).square().sum(3)
    return distances_BNN.argsort(2)[:, :, :k]


def assert_equal_gradients(ours: nn.Module, obvious: nn.Module, rtol: float = 1e-10, atol: float = 1e-11) -> None:
    """And statistics. A gradient is compared on the scale of its own tensor: sums of terms that cancel have no digits of their own."""
    gradients, statistics = dict(obvious.named_parameters()), obvious.state_dict()
    for name, parameter in ours.named_parameters():
        expected = gradients[name].grad
        assert parameter.grad is not None and expected is not None, name
        allowed = atol + rtol * float(expected.abs().max())
        torch.testing.assert_close(parameter.grad, expected, rtol=rtol, atol=allowed, msg=partial("{}: {}".format, name))
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, statistics[name], rtol=1e-11, atol=1e-12, msg=partial("{}: {}".format, name))


class LargestStorage(TorchDispatchMode):
    """Bytes of the largest storage that any operation inside returns."""

    largest = 0

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, Tensor):
                self.largest = max(self.largest, value.untyped_storage().nbytes())
        return result
