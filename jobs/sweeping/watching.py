"""What the driver of a phase does as its trials speak and end: says how far it is, closes their runs, frees their disk.

A restored phase gets the watcher that was pickled with it, so it holds plain values and finds MLflow through the environment.
"""
from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from ray import tune
from ray.tune.experiment import Trial

from jobs.sweeping import children
from jobs.sweeping.trial import EPOCH, SCORE, key_of
from jobs.sweeping.trial_folder import tidy

RETRIES = 1  # of a trial whose process was lost; it goes on from its checkpoint


class Watcher(tune.Callback):
    """Of one phase: `expected` trials of up to `epochs` epochs, their runs under `run_id`, their folders in `folder`."""

    def __init__(self, phase: str, expected: int, epochs: int, run_id: str, folder: str, keeps: bool = False) -> None:
        self.phase, self.expected, self.epochs, self.run_id, self.folder = phase, expected, epochs, run_id, folder
        self.keeps = keeps  # checkpoints of ended trials, from which others may go on
        self.seen: dict[str, int] = {}  # trial -> its last epoch
        self.ended = 0
        self.best = float("-inf")
        self.start, self.progress = time.time(), 0  # since when, and epochs since then: a restored phase counts anew

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, start=time.time(), progress=0)

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any) -> None:
        if SCORE not in result:
            return
        self.progress += max(1, int(result[EPOCH]) - self.seen.get(trial.trial_id, 0))
        self.seen[trial.trial_id] = int(result[EPOCH])
        self.best = max(self.best, float(result[SCORE]))
        left = (self.expected * self.epochs - sum(self.seen.values())) * (time.time() - self.start) / self.progress
        self._say(
            f"{_key(trial)} epoch {result[EPOCH]}/{self.epochs} score {result[SCORE]:.3f} (best {self.best:.3f}); "
            f"{self.ended}/{self.expected} trials ended, at most {max(1, round(left / 60))} min left in this phase"
        )

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.ended += 1
        whole = self.seen.get(trial.trial_id, 0) >= self.epochs
        self._close(trial, children.DONE if whole else children.STOPPED, None)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.ended += 1
        error = last_line(str(trial.get_error() or trial.get_pickled_error() or "no reason given"))
        self._say(f"{_key(trial)} failed: {error}")
        self._close(trial, children.FAILED, error)

    def _close(self, trial: Trial, outcome: str, error: str | None) -> None:
        children.close(MlflowClient(), self.run_id, _key(trial), outcome, error)
        if not self.keeps:
            tidy(Path(self.folder) / "trials" / _key(trial))

    def _say(self, line: str) -> None:
        print(f"sweep: {self.phase}: {line}", flush=True)


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def _key(trial: Trial) -> str:
    return key_of(trial.config["trial"], trial.trial_id)
