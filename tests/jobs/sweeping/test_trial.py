"""A trial's folder is the truth of how far it got: what it told, what it keeps, what is left when it has ended."""
import shutil
from pathlib import Path

import pytest
import torch

from jobs.config import Pipeline, check
from jobs.pretraining import checkpoint
from jobs.sweeping.pace import trials_at_once
from jobs.sweeping.trial import EPOCH, SCORE, key_of, trial_config
from jobs.sweeping.trial_folder import KEPT, keep, note, taken_over, tidy, told_before


def pipeline(**cluster: float) -> Pipeline:
    strategies = {"static": {}, "adacrossnet": {"alpha": {"uniform": [1.0, 9.0]}}}
    search = {"strategies": strategies, "shared": {"objective.temperature": {"choice": [0.1]}}}
    values = {"data": {"kind": "synthetic"}, "seed": 3, "sweep": {"search": search}, "cluster": cluster}
    return check(values, "test")


def test_what_was_told_is_known_again_in_order(tmp_path: Path) -> None:
    assert told_before(tmp_path) == []
    for epoch in (1, 2, 3):
        note(tmp_path, {EPOCH: epoch, SCORE: epoch / 10})
    assert told_before(tmp_path) == [{EPOCH: epoch, SCORE: epoch / 10} for epoch in (1, 2, 3)]


def test_the_newest_checkpoints_are_kept_and_the_best_encoder_alone_when_it_has_ended(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / checkpoint.STATE).write_text("state")
        (folder / checkpoint.ENCODER).write_text("encoder")

    for epoch in (1, 2, 3, 3):  # the last again, as after a restart
        written = keep(tmp_path, epoch, write)
    assert [path.name for path in sorted(tmp_path.glob("epoch-*"))] == [f"epoch-{epoch:05d}" for epoch in (2, 3)]
    assert KEPT == 2
    written.rename(tmp_path / "best")
    tidy(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == ["best/encoder.safetensors"]


def test_a_checkpoint_that_is_taken_over_stays_when_its_trial_removes_it(tmp_path: Path) -> None:
    donor, own = tmp_path / "donor", tmp_path / "own"
    for folder, epochs in ((donor, (2, 3)), (own, (1, 4))):
        for epoch in epochs:
            (folder / f"epoch-{epoch:05d}").mkdir(parents=True)
            checkpoint.write(folder / f"epoch-{epoch:05d}", {"of": folder.name}, torch.nn.Linear(2, 1), epoch=epoch, step=epoch)
    taken = taken_over(own, donor / "epoch-00001")  # gone by now: the newest it has
    assert taken == own / "epoch-00003" and [path.name for path in own.iterdir()] == ["epoch-00003"], "its own were of another setting"
    shutil.rmtree(donor)
    assert checkpoint.fault(taken) is None and checkpoint.read(taken, torch.device("cpu"))["of"] == "donor"
    assert taken_over(own, donor / "epoch-00009") is None


def test_a_trials_config_is_the_sweeps_with_its_strategy_values_and_seed() -> None:
    trial = {"strategy": "adacrossnet", "values": {"alpha": 4.0, "objective.temperature": 0.1}, "seed": 1003}
    found = trial_config(pipeline(), trial)
    assert found.sweep is None
    assert found.seed == 1003
    assert found.pretrain.weighting.model_dump() == {
        "name": "adacrossnet", "normalise": True, "alpha": 4.0, "beta": 0.95, "cadence": "step", "change": "raw",
    }  # fmt: skip
    assert found.pretrain.objective.temperature == 0.1
    untrained = trial_config(pipeline(), {"strategy": "untrained", "values": {}, "seed": 5})
    assert untrained.pretrain == pipeline().pretrain


def test_keys_tell_confirming_trials_by_what_they_are_and_searching_ones_by_their_id() -> None:
    assert key_of({"strategy": "famo", "seed": 1001, "confirms": True}, "x") == "confirm-famo-seed-1001"
    assert key_of({"strategy": "famo", "seed": 0}, "ab_00003") == "search-famo-ab_00003"


@pytest.mark.parametrize(
    ("cluster", "nodes", "expected"),
    [
        ({"workers": 1, "cpus_per_worker": 1}, [{"CPU": 2.0}], 2),
        ({"workers": 1, "cpus_per_worker": 1, "gpus_per_worker": 0.5}, [{"CPU": 16.0, "GPU": 2.0}], 4),
        ({"workers": 2, "cpus_per_worker": 2}, [{"CPU": 3.0}, {"CPU": 4.0}], 1),
        ({"workers": 1, "cpus_per_worker": 0.5}, [{"CPU": 2.0}, {"GPU": 1.0}], 4),
    ],
)
def test_trials_at_once_are_what_the_living_nodes_hold(cluster: dict[str, float], nodes: list[dict[str, float]], expected: int) -> None:
    listed = [{"Alive": True, "Resources": node} for node in nodes] + [{"Alive": False, "Resources": {"CPU": 99.0, "GPU": 9.0}}]
    assert trials_at_once(pipeline(**cluster), listed) == expected


def test_a_trial_that_fits_nowhere_is_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match="asks for 3 workers x 1 CPU, and the cluster has room for 2"):
        trials_at_once(pipeline(workers=3), [{"Alive": True, "Resources": {"CPU": 2.0}}])
