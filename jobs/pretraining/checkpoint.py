"""Checkpoints on disk: written whole or not trusted, read with `weights_only`, found newest-first."""
from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

MANIFEST, STATE, ENCODER = "checkpoint.json", "state.pt", "encoder.safetensors"
BEST = "best"
VALIDATED = "validated.json"  # the last epoch whose validation ended, well or not
MOST_WAITING = 2  # checkpoints that wait for validation: they are kept until then, so training waits rather than fill the disk
WAIT_S = 3600.0  # a validator that says nothing this long is not waited for


def write(
    folder: Path, state: dict[str, Any], encoder: torch.nn.Module, *, epoch: int, step: int, backbone: dict[str, Any] | None = None
) -> None:
    """The full training state and the encoder alone in `folder`, then a manifest with their checksums, written last.

    `backbone`: the encoder's section of the config, for whoever finds the folder later.
    """
    torch.save(state, folder / STATE)
    # A clone each: safetensors refuses tensors that share storage.
    save_file({name: value.detach().cpu().contiguous().clone() for name, value in encoder.state_dict().items()}, folder / ENCODER)
    files = {name: {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name)} for name in (STATE, ENCODER)}
    (folder / MANIFEST).write_text(json.dumps({"epoch": epoch, "step": step, "backbone": backbone, "files": files}, indent=1))


def fault(folder: Path) -> str | None:
    """Why `folder` is no complete checkpoint; None when it is one."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        return f"{folder / MANIFEST} cannot be read ({error})"
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing"
        if path.stat().st_size != expected["bytes"]:
            return f"{path} was cut short: {path.stat().st_size} bytes of {expected['bytes']}"
        if _sha256(path) != expected["sha256"]:
            return f"{path} does not match its checksum"
    return None


def read(folder: Path, device: torch.device) -> dict[str, Any]:
    """The training state, with `epoch` (epochs done). ValueError, naming the file, when the checkpoint is not complete."""
    reason = fault(folder)
    if reason is not None:
        raise ValueError(f"not a complete checkpoint: {reason}")
    state: dict[str, Any] = torch.load(folder / STATE, map_location=device, weights_only=True)
    return {**state, "epoch": facts(folder)["epoch"]}


def facts(folder: Path) -> dict[str, Any]:
    """The manifest: `epoch` (epochs done), `step`, `backbone` (its settings, where they were said), `files`."""
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    return manifest


def encoder_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The encoder's state dict, on the CPU."""
    return load_file(folder / ENCODER)


def usable(run_folder: Path, latest: Path | None) -> tuple[Path | None, list[str]]:
    """The checkpoint to resume from, and why newer ones were passed over.

    `latest` is tried first, then every other one in `run_folder`, newest first, then the best. None when no whole one is left.
    """
    passed_over: list[str] = []
    for folder in _candidates(run_folder, latest):
        reason = fault(folder)
        if reason is None:
            return folder, passed_over
        passed_over.append(reason)
    return None, passed_over


def keep_best(folder: Path, run_folder: Path, score: float) -> bool:
    """Copies `folder` to `<run_folder>/best` when `score` beats what stands there; whether it did. Equal scores keep the first."""
    _finish_replacing(run_folder)
    best = run_folder / BEST
    if best.exists() and json.loads((best / "score.json").read_text())["score"] >= score:
        return False
    fresh, old = run_folder / f".{BEST}.new", run_folder / f".{BEST}.old"
    for left_over in (fresh, old):
        shutil.rmtree(left_over, ignore_errors=True)
    shutil.copytree(folder, fresh)
    (fresh / "score.json").write_text(json.dumps({"score": score, "epoch": facts(folder)["epoch"]}))
    if best.exists():
        os.replace(best, old)
    os.replace(fresh, best)
    shutil.rmtree(old, ignore_errors=True)
    return True


def validation_over(run_folder: Path, epoch: int) -> None:
    """Says that the validation of `epoch` has ended."""
    temporary = run_folder / f".{VALIDATED}"
    temporary.write_text(json.dumps({"epoch": epoch}))
    os.replace(temporary, run_folder / VALIDATED)


def wait_for_validations(run_folder: Path, asked: list[int], say: Callable[[str], None]) -> None:
    """Returns when fewer than MOST_WAITING of the validations `asked` for (epochs) are still open; says once that it waits."""
    start, said = time.monotonic(), False
    while time.monotonic() - start < WAIT_S:
        path = run_folder / VALIDATED
        done = json.loads(path.read_text())["epoch"] if path.exists() else 0
        waiting = [epoch for epoch in asked if epoch > done]
        if len(waiting) < MOST_WAITING:
            return
        if not said:
            say(f"waiting for the validation of epoch {waiting[0]}: it takes longer than training; pretrain.validate_every makes it rarer")
            said = True
        time.sleep(0.2)


def best(run_folder: Path) -> tuple[Path, dict[str, Any]]:
    """The best checkpoint's folder and {"score", "epoch"}. ValueError when no validation finished."""
    _finish_replacing(run_folder)
    folder = run_folder / BEST
    if not (folder / "score.json").is_file():
        raise ValueError(f"{run_folder} holds no validated checkpoint: the validation failed on every epoch; see the job's log")
    chosen: dict[str, Any] = json.loads((folder / "score.json").read_text())
    return folder, chosen


def _finish_replacing(run_folder: Path) -> None:
    """A process killed between the two renames of `keep_best` leaves no best but a whole new one: it takes the place."""
    fresh, best = run_folder / f".{BEST}.new", run_folder / BEST
    if not best.exists() and (fresh / "score.json").is_file():  # written last
        os.replace(fresh, best)


def bytes_needed(model_bytes: int) -> int:
    """Bytes of storage that a run needs at its fullest: the last two, those that wait for validation, one being written, the best twice."""
    return (2 + MOST_WAITING + 1 + 2) * bytes_of_one(model_bytes)


def bytes_of_one(model_bytes: int) -> int:
    """Bytes of a checkpoint: the model, two moments of Adam, and the encoder once more (counted as a whole model)."""
    return 4 * model_bytes


def bytes_held(run_folder: Path) -> int:
    """Bytes that a run's folder holds already."""
    return sum(path.stat().st_size for path in run_folder.rglob("*") if path.is_file())


def _candidates(run_folder: Path, latest: Path | None) -> Iterator[Path]:
    if latest is not None:
        yield latest
    others = [path for path in run_folder.glob("epoch-*") if path.is_dir() and path != latest]
    yield from sorted(others, key=lambda path: (path.name.split("-")[1], path.stat().st_mtime), reverse=True)
    if (run_folder / BEST).is_dir():
        yield run_folder / BEST


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
