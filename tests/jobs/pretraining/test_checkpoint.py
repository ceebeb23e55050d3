"""A checkpoint is whole or it is passed over, with the reason."""
import json
from pathlib import Path

import pytest
import torch

from jobs.pretraining import checkpoint


@pytest.fixture
def encoder() -> torch.nn.Module:
    return torch.nn.Linear(3, 2)


def write(folder: Path, encoder: torch.nn.Module, epoch: int) -> Path:
    folder.mkdir(parents=True)
    checkpoint.write(folder, {"model": encoder.state_dict(), "step": 10 * epoch}, encoder, epoch=epoch, step=10 * epoch)
    return folder


def test_what_is_written_is_read_back(tmp_path: Path, encoder: torch.nn.Module) -> None:
    state = checkpoint.read(write(tmp_path / "epoch-00003-a", encoder, 3), torch.device("cpu"))
    assert (state["epoch"], state["step"]) == (3, 30)
    assert torch.equal(state["model"]["weight"], encoder.weight)
    assert torch.equal(checkpoint.encoder_weights(tmp_path / "epoch-00003-a")["bias"], encoder.bias)


@pytest.mark.parametrize("damage", ["cut", "flip", "lose", "unwritten"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, encoder: torch.nn.Module, damage: str) -> None:
    before, latest = write(tmp_path / "epoch-00001-a", encoder, 1), write(tmp_path / "epoch-00002-b", encoder, 2)
    state = latest / checkpoint.STATE
    content = state.read_bytes()
    if damage == "cut":
        state.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        state.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "lose":
        state.unlink()
    else:
        (latest / checkpoint.MANIFEST).unlink()
    found, passed_over = checkpoint.usable(tmp_path, latest)
    assert found == before
    assert len(passed_over) == 1
    assert str(latest) in passed_over[0]
    with pytest.raises(ValueError, match="not a complete checkpoint"):
        checkpoint.read(latest, torch.device("cpu"))


def test_a_run_with_no_whole_checkpoint_starts_anew(tmp_path: Path) -> None:
    assert checkpoint.usable(tmp_path, None) == (None, [])


def test_the_best_is_kept_and_an_equal_score_does_not_replace_it(tmp_path: Path, encoder: torch.nn.Module) -> None:
    folders = [write(tmp_path / f"epoch-0000{epoch}-x", encoder, epoch) for epoch in (1, 2, 3, 4)]
    kept = [checkpoint.keep_best(folder, tmp_path, score) for folder, score in zip(folders, (0.5, 0.7, 0.7, 0.6), strict=True)]
    assert kept == [True, True, False, False]
    folder, chosen = checkpoint.best(tmp_path)
    assert chosen == {"score": 0.7, "epoch": 2}
    assert checkpoint.fault(folder) is None
    assert json.loads((folder / checkpoint.MANIFEST).read_text())["epoch"] == 2


def test_a_run_without_a_validated_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no validated checkpoint"):
        checkpoint.best(tmp_path)


def test_a_kill_between_the_two_renames_loses_no_best(tmp_path: Path, encoder: torch.nn.Module) -> None:
    checkpoint.keep_best(write(tmp_path / "epoch-00001-x", encoder, 1), tmp_path, 0.5)
    (tmp_path / "best").rename(tmp_path / ".best.new")  # the new one copied whole, the old one moved away, nothing in place
    assert checkpoint.best(tmp_path)[1] == {"score": 0.5, "epoch": 1}
    assert not checkpoint.keep_best(write(tmp_path / "epoch-00002-y", encoder, 2), tmp_path, 0.4)
