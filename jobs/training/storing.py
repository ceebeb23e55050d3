"""A report to Ray Train with a checkpoint."""
from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray.train
from ray.train import Checkpoint

from jobs.pretraining.ranks import Ranks


def report_checkpoint(metrics: dict[str, Any], write: Callable[[Path], None], validation: bool = False) -> None:
    """Rank 0's report, once `write` has written the checkpoint. `epoch` of the metrics counts epochs, a begun one by its share."""
    folder = Path(tempfile.mkdtemp(prefix="checkpoint-"))
    try:
        write(folder)
        # A name of its own each time: after a fallback to an older checkpoint the same epoch is written again.
        name = f"epoch-{int(metrics['epoch']):05d}-{uuid.uuid4().hex[:8]}"
        ray.train.report(metrics, checkpoint=Checkpoint(str(folder)), checkpoint_dir_name=name, validation=validation)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep(ranks: Ranks) -> Callable[[dict[str, Any], Callable[[Path], None]], None]:
    """What a loop calls on every rank to keep a checkpoint that nothing but a resume is for."""

    def kept(metrics: dict[str, Any], write: Callable[[Path], None]) -> None:
        if ranks.rank == 0:
            report_checkpoint(metrics, write)
        else:
            ray.train.report(metrics)

    return kept
