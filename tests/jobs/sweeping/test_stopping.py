"""Who is stopped early."""
from __future__ import annotations

from types import SimpleNamespace

from ray.tune.schedulers import TrialScheduler

from jobs.sweeping.phases import FirstOfEquals
from jobs.sweeping.trial import EPOCH, SCORE


def test_of_equal_scores_the_earlier_trial_goes_on_and_a_better_one_always_does() -> None:
    scheduler = FirstOfEquals(time_attr=EPOCH, max_t=9, grace_period=1, reduction_factor=3)
    assert scheduler.set_search_properties(SCORE, "max")
    told = []
    for number, score in enumerate((0.479, 0.479, 0.479, 0.500, 0.479, 0.400)):
        trial = SimpleNamespace(trial_id=f"search_{number:05d}")
        scheduler.on_trial_add(None, trial)
        told.append(scheduler.on_trial_result(None, trial, {EPOCH: 1, SCORE: score}))
    stop, goes_on = TrialScheduler.STOP, TrialScheduler.CONTINUE
    assert told == [goes_on, stop, stop, goes_on, stop, stop]
    assert scheduler.on_trial_result(None, SimpleNamespace(trial_id="search_00000"), {EPOCH: 2}) == goes_on, "an epoch without a score"
