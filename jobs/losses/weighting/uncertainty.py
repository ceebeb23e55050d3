"""Weights from learned log-variances. K losses."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from jobs.losses.weighting.protocol import check_state


class UncertaintyWeights:
    """w_k = exp(-s_k) / 2, with s_k = log sigma_k^2 learned along with the network from sum_k exp(-s_k) L_k / 2 + s_k / 2.

    Kendall, Gal and Cipolla 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses", equation 7 in its stable form. The gradient of
    s_k is (1 - exp(-s_k) L_k) / 2 in closed form, from losses of all ranks: it needs no reduction.
    """

    def __init__(self, losses: int, *, device: torch.device | str, dtype: torch.dtype) -> None:
        self.log_variance_K = torch.nn.Parameter(torch.zeros(losses, device=device, dtype=dtype))

    def parameters(self) -> list[Tensor]:
        """The log-variances."""
        return [self.log_variance_K]

    @torch.no_grad()
    def weigh(self, losses_K: Tensor) -> Tensor:
        """losses_K [K] of this batch, global -> weights_K [K]; adds this batch's gradient to the log-variances'."""
        precision_K = torch.exp(-self.log_variance_K)
        grad_K = 0.5 * (1 - precision_K * losses_K.to(precision_K))
        self.log_variance_K.grad = grad_K if self.log_variance_K.grad is None else self.log_variance_K.grad + grad_K
        return 0.5 * precision_K

    def state_dict(self) -> dict[str, Any]:
        """The log-variances; their moments are the optimizer's."""
        return {"log_variance": self.log_variance_K.detach().clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; ValueError when it is not this strategy's, or of another number of losses."""
        check_state(state, {"log_variance"}, len(self.log_variance_K))
        with torch.no_grad():
            self.log_variance_K.copy_(state["log_variance"])
