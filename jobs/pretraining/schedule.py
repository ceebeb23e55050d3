"""The learning rate as a function of the iteration alone, so that a resumed run needs no schedule state."""
from __future__ import annotations

import math


def learning_rate(iteration: int, iterations: int, *, peak: float, warmup: int, floor: float) -> float:
    """Linear warm-up over `warmup` iterations, then half a cosine (Loshchilov and Hutter 2017, eq. 5, no restart) to `floor`.

    The cosine's period is all iterations after the warm-up; it is stepped once an iteration, `iteration` counting from 0.
    """
    if iteration < warmup:
        return peak * (iteration + 1) / warmup
    done = (iteration - warmup) / max(1, iterations - warmup)
    return floor + (peak - floor) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
