"""`python -m tests.jobs.sweeping.stopped_trial DATASET FOLDER`: two trials of two workers on two cores, the first stopped early.

Stopping a trial kills the process that trains, and with it Ray Train's controller; its workers' cores must come free for the next.
"""
import sys
from pathlib import Path

import ray
from mlflow import MlflowClient
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator

from jobs.config import check
from jobs.sweeping import phases
from jobs.sweeping.trial import SCORE, Sweeping, search_trial
from jobs.sweeping.watching import Watcher
from tests.pipeline.test_sweep import SWEEP

ROOT = Path(__file__).resolve().parents[3]


class StopsTheFirst(FIFOScheduler):
    """Stops the first trial at its first result."""

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict) -> str:
        return TrialScheduler.STOP if trial.trial_id.endswith("00000") else TrialScheduler.CONTINUE


def main(dataset: Path, folder: Path) -> None:
    import yaml

    values = yaml.safe_load(SWEEP) | {"data": {"kind": "prepared", "target": str(dataset)}}
    values["cluster"] |= {"workers": 2, "storage": str(folder)}
    config = check(values, "test").resolved(folder)
    uri = f"sqlite:///{folder / 'mlflow.sqlite'}"
    client = MlflowClient(uri)
    run = client.create_run(client.create_experiment("test")).info.run_id
    ray.init(num_cpus=2, include_dashboard=True, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}})
    sweeping = Sweeping(config.to_json(), str(folder / "sweep"), run, uri)
    tune_config = tune.TuneConfig(
        metric=SCORE,
        mode="max",
        scheduler=StopsTheFirst(),
        search_alg=BasicVariantGenerator(max_concurrent=1),
        trial_dirname_creator=lambda trial: str(trial.trial_id),
    )
    trials = [{"strategy": "static", "seed": 0, "values": {"cross": cross}} for cross in (1.0, 0.5)]
    space = {"trial": tune.grid_search(trials)}
    ended = phases._run("test", search_trial, space, tune_config, config, sweeping, Watcher("test", 2, 3, run, sweeping.folder))
    for one in ended:
        print(f"{one.values['cross']} {one.outcome} {one.epochs}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
