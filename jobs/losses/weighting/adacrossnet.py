"""AdaCrossNet's adaptive weights. K losses."""
from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class AdaCrossNetWeights:
    """w_k <- beta w_k + (1 - beta) sigmoid(alpha (L_k(t) - L_k(t-1))), from w_0 = 1 and L(0) = 0, once a step (Putra et al. 2025).

    A loss that grows gets more weight. `normalise` scales what a step uses to sum to K, not the state that the rule moves.
    """

    def __init__(self, losses: int, alpha: float, beta: float, normalise: bool, device: torch.device | str, dtype: torch.dtype) -> None:
        self.alpha, self.beta, self.normalise = alpha, beta, normalise
        self.weights_K = torch.ones(losses, device=device, dtype=dtype)
        self.previous_K = torch.zeros(losses, device=device, dtype=dtype)

    def weigh(self, losses_K: Tensor) -> Tensor:
        """losses_K [K] of this step, global -> weights_K [K] after the rule's step."""
        now_K = losses_K.detach().to(self.previous_K)
        self.weights_K = torch.lerp(torch.sigmoid(self.alpha * (now_K - self.previous_K)), self.weights_K, self.beta)
        self.previous_K = now_K.clone()
        return self.weights_K * (len(now_K) / self.weights_K.sum()) if self.normalise else self.weights_K.clone()

    def state_dict(self) -> dict[str, Tensor]:
        """The weights and the losses before."""
        return {"weights": self.weights_K.clone(), "previous": self.previous_K.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`; ValueError when it is not this strategy's, or of another number of losses."""
        if state.keys() != {"weights", "previous"} or any(tensor.shape != self.weights_K.shape for tensor in state.values()):
            found = {name: list(tensor.shape) for name, tensor in state.items()}
            raise ValueError(f"these weights need 'weights' and 'previous' of {len(self.weights_K)} losses; the checkpoint holds {found}")
        self.weights_K = state["weights"].to(self.weights_K).clone()
        self.previous_K = state["previous"].to(self.previous_K).clone()
