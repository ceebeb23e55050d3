"""A sweep's section is checked against the trainings that it would make, before one is made."""
import copy
from typing import Any

import pytest

from jobs.config import ConfigError, check
from jobs.config.sweep import Distribution, grid_of, samples, setting

VALUES: dict[str, Any] = {
    "data": {"kind": "synthetic"},
    "pretrain": {"epochs": 6},
    "sweep": {
        "search": {
            "strategies": {
                "static": {"cross": {"loguniform": [0.1, 10]}},
                "adacrossnet": {"alpha": {"loguniform": [0.01, 100]}, "cadence": {"choice": ["step", "epoch"]}},
            },
            "shared": {"objective.temperature": {"loguniform": [0.05, 0.5]}},
        }
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    values = copy.deepcopy(VALUES)
    section: dict[str, Any] = values
    *parents, last = path.split("/")
    for part in parents:
        section = section[part]
    section[last] = value
    return values


def test_a_sweep_has_stages_of_its_own() -> None:
    assert check(VALUES, "test").stages == ("prepare", "sweep")
    assert check({"data": {"kind": "synthetic"}}, "test").stages == ("prepare", "pretrain", "evaluate", "register")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sweep/search/strategies/adacrossnet/alfa", {"uniform": [0, 1]}, "adacrossnet: unknown field 'alfa'; did you mean 'alpha'"),
        ("sweep/search/strategies/adacross", {}, "unknown field 'adacross'; did you mean 'adacrossnet'"),
        ("sweep/search/shared/objective.temprature", {"uniform": [0.1, 0.2]}, "did you mean 'objective.temperature'"),
        ("sweep/search/shared/weighting.alpha", {"uniform": [0.1, 0.2]}, "stand under strategies"),
        ("sweep/search/strategies/adacrossnet/beta", {"uniform": [0.3, 1.5]}, "beta': 1.5.* is impossible: .*less than 1"),
        ("sweep/search/strategies/adacrossnet/cadence", {"choice": ["step", "week"]}, "'week'.* is impossible"),
        ("sweep/search/strategies/static/cross", {"loguniform": [5, 1]}, r"loguniform \[5, 1\] is an impossible range"),
        ("sweep/search/strategies/static/cross", {"loguniform": [0, 1]}, "the first above 0"),
        ("sweep/search/strategies/static/cross", {"uniform": [0, 1], "choice": [1.0]}, "one of loguniform, uniform"),
        ("sweep/search/trials", 0, "greater than or equal to 1"),
        ("sweep/confirm", {"seeds": 1}, "greater than or equal to 2"),
        ("sweep/search/method", "grid", "static has cross, objective.temperature as a range"),
        ("sweep/search/strategies", {"adacrossnet": {}}, "needs static: it is the baseline"),
        ("pretrain/validate_every", 2, "grace_epochs is 1, before the first validation"),
        ("sweep/search/grace_epochs", 6, "grace_epochs is 6 of pretrain.epochs 6: no trial could be stopped before its end"),
        ("sweep/search/strategies", {"statik": {}}, "unknown field 'statik'; did you mean 'static'"),
        ("sweep/serch", {}, "unknown key; did you mean 'search'"),
    ],
)
def test_what_cannot_be_swept_is_refused_with_the_way_out(path: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(changed(path, value), "test")


def test_population_based_training_takes_one_worker_a_trial() -> None:
    values = changed("sweep/search/scheduler", "pbt") | {"cluster": {"workers": 2}}
    with pytest.raises(ConfigError, match="pbt takes one worker a trial"):
        check(values, "test")


def test_trials_beside_each_other_take_a_fixed_number_of_workers() -> None:
    with pytest.raises(ConfigError, match=r"a fixed number of workers a trial: set cluster\.workers to a number"):
        check(VALUES | {"cluster": {"workers": {"min": 1, "max": 2}}}, "test")


def test_a_setting_changes_what_it_names_and_nothing_else() -> None:
    config = check(VALUES, "test")
    assert config.sweep is not None
    plain = config.pretrain.model_dump()
    found = setting(plain, "adacrossnet", {"alpha": 3.0, "objective.temperature": 0.07}, config.sweep)
    assert found["weighting"] == {"name": "adacrossnet", "normalise": True, "alpha": 3.0}
    assert found["objective"] == {**plain["objective"], "temperature": 0.07}
    assert {key: value for key, value in found.items() if key not in ("weighting", "objective")} == {
        key: value for key, value in plain.items() if key not in ("weighting", "objective")
    }
    assert plain == config.pretrain.model_dump(), "the original is left alone"


def test_samples_hold_every_end_of_every_range_and_a_grid_every_combination() -> None:
    config = check(VALUES, "test")
    assert config.sweep is not None
    seen = samples(config.sweep, "adacrossnet")
    assert {one["alpha"] for one in seen} == {0.01, 100}
    assert {one["cadence"] for one in seen} == {"step", "epoch"}
    assert {one["objective.temperature"] for one in seen} == {0.05, 0.5}
    space = {"a": Distribution(grid=(1, 2)), "b": Distribution(choice=("x", "y", "z"))}
    assert len(grid_of(space)) == 6
    assert Distribution(randint=(2, 5)).extremes == (2, 4)
