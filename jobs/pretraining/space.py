"""Whether the disks hold the checkpoints, asked before any work is done."""
from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path

from jobs.config import Pipeline
from jobs.pretraining.checkpoint import bytes_held, bytes_needed, bytes_of_one
from jobs.pretraining.step import build_model


def check_space(config: Pipeline, run_folder: Path, trainings: int = 1) -> None:
    """ValueError when the storage cannot hold the checkpoints of `trainings` at once beside those that a resumed run has there already."""
    run_folder.mkdir(parents=True, exist_ok=True)
    needed = max(0, trainings * bytes_needed(_model_bytes(config)) - bytes_held(run_folder)) / 1e9 + config.cluster.min_free_gb
    free = shutil.disk_usage(run_folder).free / 1e9
    if free < needed:
        raise ValueError(
            f"{config.cluster.storage} has {free:.1f} GB free and the checkpoints need {needed:.1f} GB "
            f"({config.cluster.min_free_gb:g} GB of it kept free): free some space or set cluster.storage elsewhere"
        )


def check_temporary(config: Pipeline) -> None:
    """ValueError when this process's folder for temporary files, where every checkpoint is written first, cannot hold one."""
    folder = tempfile.gettempdir()
    needed, free = bytes_of_one(_model_bytes(config)) / 1e9, shutil.disk_usage(folder).free / 1e9
    if free < needed:
        raise ValueError(
            f"{folder} on {socket.gethostname()} has {free:.2f} GB free and a checkpoint, which is written there first, needs "
            f"{needed:.2f} GB: free some space, or set TMPDIR to a folder on a larger disk before Ray starts there"
        )


def _model_bytes(config: Pipeline) -> int:
    return sum(value.numel() * value.element_size() for value in build_model(config.pretrain, config.seed).state_dict().values())
