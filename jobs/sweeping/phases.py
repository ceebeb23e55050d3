"""The two phases of a sweep as Ray Tune runs: built anew or restored, and read when they have ended."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule, PopulationBasedTraining, TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchAlgorithm, Searcher
from ray.tune.search.optuna import OptunaSearch

from jobs.config import Pipeline
from jobs.config.sweep import Distribution, Search, Space
from jobs.sweeping import children
from jobs.sweeping.trial import EPOCH, SCORE, Sweeping, confirm_trial, key_of, search_trial
from jobs.sweeping.trial_folder import tidy, told_before
from jobs.sweeping.watching import RETRIES, Watcher, last_line

DOMAINS: dict[str, Callable[..., Any]] = {
    "loguniform": lambda values: tune.loguniform(*values),
    "uniform": lambda values: tune.uniform(*values),
    "randint": lambda values: tune.randint(*values),
    "choice": lambda values: tune.choice(list(values)),
    "grid": lambda values: tune.grid_search(list(values)),
}


@dataclass(frozen=True)
class Ended:
    """What one trial came to."""

    key: str
    strategy: str
    values: dict[str, Any]
    seed: int
    curve: list[tuple[int, float]]  # (epoch, score), in order
    outcome: str  # done, stopped early, failed
    error: str | None
    seconds: float  # in which it ran

    @property
    def best(self) -> float:
        """Its best score; minus infinity without one."""
        return max((score for _, score in self.curve), default=float("-inf"))

    @property
    def epochs(self) -> int:
        """How far it came."""
        return max((epoch for epoch, _ in self.curve), default=0)


def search(config: Pipeline, strategy: str, sweeping: Sweeping, at_once: int | None) -> list[Ended]:
    """Runs or goes on with the trials of one strategy."""
    assert config.sweep is not None
    settings = config.sweep.search
    space = {**settings.shared, **settings.strategies[strategy]}
    values = {key: _domain(one, settings) for key, one in space.items()}
    tune_config = tune.TuneConfig(
        metric=SCORE,
        mode="max",
        num_samples=1 if _gridded(settings, space) else trials_of(settings, strategy),
        search_alg=_searcher(settings, space, config.seed, at_once),
        scheduler=_scheduler(settings, space, config.pretrain.epochs),
        reuse_actors=config.cluster.most == 1,  # a process's start and imports are half of what a short trial costs
        trial_dirname_creator=lambda trial: str(trial.trial_id),
    )
    expected, epochs = trials_of(settings, strategy), config.pretrain.epochs
    watcher = Watcher(f"search {strategy}", expected, epochs, sweeping.run_id, sweeping.folder, keeps=sweeping.point)
    trial = {"strategy": strategy, "seed": config.seed, "values": values}
    ended = _run(f"search-{strategy}", search_trial, {"trial": trial}, tune_config, config, sweeping, watcher)
    for one in ended:
        tidy(sweeping.trial_folder(one.key))
    return ended


def confirm(config: Pipeline, trials: list[dict[str, Any]], sweeping: Sweeping, at_once: int | None) -> list[Ended]:
    """Runs or goes on with the confirming trials, each to its end."""
    tune_config = tune.TuneConfig(
        metric=SCORE,
        mode="max",
        search_alg=BasicVariantGenerator(max_concurrent=at_once or 0),
        reuse_actors=config.cluster.most == 1,
        trial_dirname_creator=lambda trial: str(trial.trial_id),
    )
    watcher = Watcher("confirm", len(trials), config.pretrain.epochs, sweeping.run_id, sweeping.folder)
    return _run("confirm", confirm_trial, {"trial": tune.grid_search(trials)}, tune_config, config, sweeping, watcher)


def trials_of(settings: Search, strategy: str) -> int:
    """How many trials a strategy gets: the config's number, or one where nothing is searched, or as many as its grid has."""
    space = {**settings.shared, **settings.strategies[strategy]}
    if not space:
        return 1
    product = 1
    for one in _gridded(settings, space):
        product *= len(one.values)
    return product if _gridded(settings, space) else settings.trials


def _gridded(settings: Search, space: Space) -> list[Distribution]:
    return [one for one in space.values() if one.kind == "grid" or settings.method == "grid"]


def _run(
    phase: str,
    trainable: Callable[..., None],
    space: dict[str, Any],
    tune_config: tune.TuneConfig,
    config: Pipeline,
    sweeping: Sweeping,
    watcher: Watcher,
) -> list[Ended]:
    """Runs a phase, or goes on where it stands: finished trials are kept, running ones go on, the searcher knows its history."""
    cluster = config.cluster
    # A trial of several workers asks for nothing itself: its workers do. Tune wants some resource named all the same.
    alone: dict[str, float] = {"CPU": cluster.cpus_per_worker, "GPU": cluster.gpus_per_worker}
    prepared = tune.with_resources(
        tune.with_parameters(trainable, sweeping=sweeping), alone if cluster.most == 1 else {"CPU": 0, "memory": 10_000_000}
    )
    place = Path(sweeping.folder) / "tune"
    path = str(place / phase)
    if tune.Tuner.can_restore(path):
        tuner = tune.Tuner.restore(path, prepared, resume_unfinished=True, param_space=space)
    else:
        run_config = tune.RunConfig(
            name=phase,
            storage_path=str(place),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            callbacks=[watcher],
        )
        tuner = tune.Tuner(prepared, param_space=space, tune_config=tune_config, run_config=run_config)
    grid = tuner.fit()
    return [_ended(grid[number], config.pretrain.epochs, sweeping) for number in range(len(grid))]


def _ended(result: tune.Result, epochs: int, sweeping: Sweeping) -> Ended:
    assert result.config is not None
    trial = result.config["trial"]
    frame = result.metrics_dataframe
    told = [] if frame is None or SCORE not in frame else frame.dropna(subset=[SCORE]).to_dict("records")
    seconds = sum(float(row["time_this_iter_s"]) for row in told)
    key = key_of(trial, Path(result.path).name)
    if sweeping.point:  # Tune's own record begins anew whenever a trial is moved to another setting
        told = [row for row in told_before(sweeping.trial_folder(key)) if SCORE in row]
    curve = sorted({int(row[EPOCH]): float(row[SCORE]) for row in told}.items())
    reached = curve[-1][0] if curve else 0
    outcome = children.FAILED if result.error else children.DONE if reached >= epochs else children.STOPPED
    return Ended(
        key=key,
        strategy=trial["strategy"],
        values=dict(trial["values"]),
        seed=int(trial["seed"]),
        curve=curve,
        outcome=outcome,
        error=last_line(str(result.error)) if result.error else None,
        seconds=seconds,
    )


def _domain(one: Distribution, settings: Search) -> Any:
    kind = "grid" if settings.method == "grid" else one.kind
    return DOMAINS[kind](one.values)


class FirstOfEquals(ASHAScheduler):
    """ASHA (Li et al. 2020), but of equal scores only the earlier trial's goes on: on a few dozen validation shapes most trials tie, and
    each tie would be trained to the next rung."""

    TIE = 1e-6  # less than two scores that differ lie apart

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._order: dict[str, int] = {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return str(super().on_trial_result(tune_controller, trial, self._untied(trial, result)))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        super().on_trial_complete(tune_controller, trial, self._untied(trial, result))

    def _untied(self, trial: Any, result: dict[str, Any]) -> dict[str, Any]:
        place = self._order.setdefault(trial.trial_id, len(self._order))
        return {**result, SCORE: result[SCORE] - self.TIE * place} if SCORE in result else result


def _searcher(settings: Search, space: Space, seed: int, at_once: int | None) -> Searcher | SearchAlgorithm:
    """What suggests values, with at most `at_once` trials open (None: as many as the resources allow)."""
    if settings.method == "optuna" and space:
        found = OptunaSearch(metric=SCORE, mode="max", seed=seed)
        return ConcurrencyLimiter(found, max_concurrent=at_once) if at_once else found
    return BasicVariantGenerator(random_state=seed, max_concurrent=at_once or 0)


def _scheduler(settings: Search, space: Space, epochs: int) -> TrialScheduler | None:
    if settings.scheduler == "asha":
        return FirstOfEquals(time_attr=EPOCH, max_t=epochs, grace_period=settings.grace_epochs, reduction_factor=settings.reduction)
    if settings.scheduler == "median":
        return MedianStoppingRule(time_attr=EPOCH, grace_period=settings.grace_epochs, min_samples_required=2)
    if settings.scheduler == "pbt" and space:
        mutations: dict[str, Any] = {"trial": {"values": {key: _domain(one, settings) for key, one in space.items()}}}
        return PopulationBasedTraining(time_attr=EPOCH, perturbation_interval=settings.grace_epochs, hyperparam_mutations=mutations)
    return None

