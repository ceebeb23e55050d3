"""One rank of a training over gloo, as a process of its own: `python -m tests.jobs.pretraining.rank_process RANK WORLD JOB.json`.

JOB.json: config (resolved JSON), rendezvous (a fresh file), folder (results), die_after (epochs; the process kills itself, or null),
resume (a checkpoint or null). Rank 0 leaves curve.json (step -> metrics) and features.npy in the folder, and a checkpoint an epoch.
"""
import datetime
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from jobs.config import Pipeline
from jobs.data.prepared import PreparedDataset
from jobs.evaluation.features import encode_with, split_features
from jobs.pretraining.loop import run
from jobs.pretraining.ranks import Ranks
from jobs.training.loop import Outside


def main(rank: int, world: int, job: dict) -> None:
    torch.set_num_threads(1)
    config, folder = Pipeline.model_validate_json(job["config"]), Path(job["folder"])
    device = torch.device("cpu")
    if world > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{job['rendezvous']}", rank=rank, world_size=world, timeout=datetime.timedelta(seconds=120)
        )
    curve: dict[int, dict[str, float]] = {}

    def report(metrics: dict, write, validated: bool) -> None:
        if rank == 0:
            checkpoint = folder / f"epoch-{metrics['epoch']:05d}-{world}"
            checkpoint.mkdir(parents=True)
            write(checkpoint)
            (folder / "curve.json").write_text(json.dumps(curve))
        if world > 1:
            dist.barrier()
        if job["die_after"] == metrics["epoch"]:
            os.kill(os.getpid(), signal.SIGKILL)

    outside = Outside(report=report, log=lambda rows: curve.update(dict(rows)), say=lambda line: None)
    assert config.data.target is not None
    training = run(
        config,
        PreparedDataset(config.data.target, "train"),
        Ranks(rank, world, device),
        outside,
        Path(job["resume"]) if job["resume"] else None,
    )
    if rank == 0:
        encode = encode_with(training.model.encoder, device)
        features = split_features(encode, PreparedDataset(config.data.target, "val"), points=config.evaluate.points, batch=8).features
        np.save(folder / "features.npy", features)
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text()))
