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


def published_learning_rate(paper: str, iteration: int, steps_an_epoch: int, epochs: int, *, peak: float, floor: float) -> float:
    """The rate as the published code has it: a cosine whose period is counted in epochs.

    CrossPoint steps it at the start of each epoch, so epoch 1 trains at the second value and the last epoch at `floor`. CrossNet and
    AdaCrossNet step it after every iteration: it falls to `floor` in as many iterations as there are epochs, rises again in as many, and
    goes on so.
    """
    at = iteration // steps_an_epoch + 1 if paper == "crosspoint" else iteration
    return floor + (peak - floor) * 0.5 * (1.0 + math.cos(math.pi * at / epochs))
