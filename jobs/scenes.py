"""The semantic segmentation evaluation: every point of a room a class, from the registered encoder and from random weights. A stage of a
pipeline."""
from __future__ import annotations

from jobs.supervised import supervised_stage
from jobs.tracking import run_stage

if __name__ == "__main__":
    run_stage("scenes", supervised_stage)
