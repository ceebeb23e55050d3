"""Nodes that are about to be taken away: the word that Ray Train has of them, and how a training ends for it."""
from __future__ import annotations

import time

import ray.train
import torch
from ray.exceptions import RayActorError

from jobs.pretraining.ranks import Ranks

EVERY_S = 1.0  # seconds between two questions
MOST_STEPS = 1000  # between two questions, however short they are


class Notices:
    """Whether a node of this training is about to be taken away, asked after every step and answered alike on every rank.

    Ray Train's answer is rank 0's, for all, and costs a visit of every rank to one actor: milliseconds, so it is asked about once a second.
    Clocks differ, and a rank that asked one step before the others would wait for them while they wait for it in the next step's
    collectives: rank 0's clock says after which step all of them ask next.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.asked: tuple[int, float] | None = None  # the step and the time of the last question
        self.next = 0  # the step after which the next is due

    def called_away(self, step: int) -> bool:
        """Whether to keep what is done and end, `step` steps being taken."""
        if step < self.next:
            return False
        told = ray.train.get_preemption_info() is not None
        now = time.monotonic()
        pause = 1 if self.asked is None else int(EVERY_S * (step - self.asked[0]) / max(1e-6, now - self.asked[1]))
        of_rank_0 = min(MOST_STEPS, max(1, pause)) if self.ranks.rank == 0 else 0
        self.asked = step, now
        self.next = step + int(self.ranks.sum(torch.tensor([of_rank_0], device=self.ranks.device)))
        return told


def taken_away(why: Exception) -> RayActorError:
    """What a rank raises to end for a notice.

    Ray Train counts a worker's own exception as a failure, of which `cluster.max_failures` are survived, and the death of an actor whose
    node was taken away as a preemption, which are survived without end. This is the second, said before it happens: what the node could
    still do until its deadline would be done again after it, while the other nodes could go on at once.
    """
    return RayActorError(error_msg=f"a node is about to be taken away: {why}", preempted=True)
