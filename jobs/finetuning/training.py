"""A supervised training of one rank: what it brings to the loop that all trainings share, and how it is judged."""
from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from jobs.config.evaluations import Tuning
from jobs.config.sections import Backbone
from jobs.data.draws import share
from jobs.data.prepared import PreparedDataset
from jobs.data.rooms import IN_ROOM
from jobs.evaluation.scenes import Votes, confusion_of, rooms_of
from jobs.finetuning.labelled import Labelled, evaluation_batch, evaluation_batches, nested_fraction, training_batches
from jobs.finetuning.tasks import PartSegmentation, SceneSegmentation, Task
from jobs.models.dropout import Place, spread
from jobs.models.tables import build_backbone
from jobs.models.tf32 import allow_tf32
from jobs.pretraining import checkpoint
from jobs.pretraining.ranks import Ranks
from jobs.pretraining.schedule import learning_rate
from jobs.training.loop import Outside, Pace
from jobs.training.loop import run as run_course

LOSS, RATE = "tune/loss", "tune/lr"
# Of the whole model, in a run's folder, an epoch's a file: one written by a run that went on after the checkpoint is never taken for it.
BEST = "best-{:05d}.safetensors"
JUDGED_AT_ONCE = 32  # clouds


@dataclass(frozen=True)
class Start:
    """Where a training begins: the encoder's settings and weights (None: random ones), and the share of the labels it sees."""

    backbone: Backbone
    weights: dict[str, torch.Tensor] | None
    fraction: float = 1.0


@dataclass(frozen=True)
class Tuned:
    """What a training came to."""

    val: dict[str, float]  # of the best epoch
    test: dict[str, float] | None  # of the same weights, looked at once
    epoch: int  # the best, counting from 1
    epochs: int  # trained
    shapes: int  # with labels
    test_rows: NDArray[np.float64] | None  # [shapes of test, M]: what the task keeps of each
    rooms: NDArray[np.float64] | None = None  # [rooms of test, K * K]: their voted confusion matrices, where there are rooms
    val_rows: NDArray[np.float64] | None = None  # as test_rows, on validation

    def facts(self) -> dict[str, Any]:
        """Without the rows."""
        return {"val": self.val, "test": self.test, "epoch": self.epoch, "epochs": self.epochs, "shapes": self.shapes}


class Supervised:
    """Batches of labelled clouds, a task's loss, and validation after every epoch that keeps the best and may end the training."""

    columns: tuple[str, ...] = (LOSS, RATE)

    def __init__(
        self, task: Task, start: Start, settings: Tuning, splits: dict[str, PreparedDataset], points: int, ranks: Ranks, folder: Path
    ) -> None:
        self.task, self.settings, self.splits, self.points, self.ranks, self.folder = task, settings, splits, points, ranks, folder
        self.backbone, self.random = start.backbone, start.weights is None
        self.chosen = nested_fraction(splits["train"], start.fraction, settings.seed)
        self.batch = min(settings.batch, len(self.chosen))
        steps = len(self.chosen) // self.batch
        self.pace = Pace(settings.seed, settings.epochs, steps, self.batch, accumulate=1, log_every=steps)
        allow_tf32(settings.precision == "tf32")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            encoder = build_backbone(start.backbone.name, start.backbone.k)
            if start.weights is not None:
                encoder.load_state_dict(start.weights)
            torch.manual_seed(settings.seed + 1)  # the same head whatever the encoder's weights
            self.model = task.model(encoder, start.backbone.name).to(ranks.device)
        self.forward: nn.Module = self.model
        if ranks.world > 1:
            devices = [ranks.device.index] if ranks.device.type == "cuda" else None
            self.forward = DistributedDataParallel(self.model, device_ids=devices, forward_sync_buffers=False, gradient_as_bucket_view=True)
        parameters = list(self.model.parameters())
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.SGD(parameters, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)
            if settings.optimizer == "sgd"
            else torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
        )
        self.taken = 0
        self.best: dict[str, Any] = {"score": -math.inf, "epoch": 0, "val": {}}
        self.epochs = 0

    @property
    def step(self) -> int:
        return self.taken

    def start_epoch(self) -> None:
        self.forward.train()

    def batches(self, epoch: int, first: int) -> Iterator[Labelled]:
        return training_batches(
            self.splits["train"], self.chosen, seed=self.settings.seed, epoch=epoch, batch=self.batch, rank=self.ranks.rank,
            world=self.ranks.world, points=self.points, augment=self.settings.augment, first=first,
        )  # fmt: skip

    def take(self, batches: list[Labelled]) -> torch.Tensor:
        (batch,) = batches
        settings = self.settings
        rate = learning_rate(
            self.taken, self.pace.steps * self.pace.epochs, peak=settings.lr, warmup=settings.warmup, floor=settings.min_lr
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        spread(self.model, Place(batch.before, len(batch.rows_B), batch.whole))
        own = self.task.loss(self._scores(self.forward, batch), batch)
        loss = self.ranks.sum(own)
        if not torch.isfinite(loss):
            raise FloatingPointError(self._stopped(f"its loss is {float(loss)}"))
        (own * self.ranks.world).backward()  # DDP takes the mean over the ranks
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), math.inf if settings.clip_norm is None else settings.clip_norm)
        if not torch.isfinite(norm):
            raise FloatingPointError(self._stopped(f"the gradient's norm is {float(norm)}"))
        self.optimizer.step()
        self.taken += 1
        return torch.stack([loss, torch.tensor(rate, device=loss.device)])

    def _stopped(self, what: str) -> str:
        start = "random weights" if self.random else "the pretrained encoder"
        return (
            f"the training from {start} on {len(self.chosen)} labelled shapes stopped at step {self.taken} of "
            f"{self.pace.steps * self.pace.epochs}: {what}. Lower lr, or set clip_norm or warmup"
        )

    def told(self, row: Sequence[float] | np.ndarray) -> str:
        best = f", best {self.task.selects} {self.best['score']:.3f}" if self.best["epoch"] else ""
        return f"loss {row[0]:.3f}{best}"

    def end_epoch(self, epoch: int) -> dict[str, float]:
        found = self.task.scores(self.judge("val"), self.splits["val"])
        self.epochs = epoch + 1
        if found[self.task.selects] > self.best["score"]:
            self.best = {"score": found[self.task.selects], "epoch": epoch + 1, "val": found}
            if self.ranks.rank == 0:
                self._keep()
        return {f"val/{name}": value for name, value in found.items()}

    def done(self, epoch: int) -> bool:
        return bool(self.settings.patience) and epoch + 1 - self.best["epoch"] >= self.settings.patience

    def validates(self, epoch: int) -> bool:
        return False  # it does so itself

    def write(self, folder: Path, epochs: int, begun: dict[str, Any] | None) -> None:
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.taken, "best": self.best}
        state["begun"] = begun
        encoder = self.model.get_submodule("encoder")
        checkpoint.write(folder, state, encoder, epoch=epochs, step=self.taken, backbone=self.backbone.model_dump())

    def load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.taken, self.best, self.epochs = int(state["step"]), dict(state["best"]), int(state["epoch"])

    @torch.no_grad()
    def predict(self, split: str, row: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        """(points [N, 3], true parts [N], predicted ones) of one shape, as it is judged."""
        self.model.eval()
        batch = evaluation_batch(self.splits[split], [row], self.points)
        assert batch.parts_BN is not None and isinstance(self.task, PartSegmentation)
        return batch.points_BNC[0].numpy(), batch.parts_BN[0].numpy(), self.task.predicted(self._scores(self.model, batch), batch)[0]

    @torch.no_grad()
    def judge(self, split: str) -> NDArray[np.float64]:
        """rows [shapes, M] of a split, in the dataset's order: each rank does its share, all get the whole."""
        dataset = self.splits[split]
        rows_RM = torch.zeros(len(dataset), self.task.kept, dtype=torch.float64)
        self.model.eval()
        for batch in evaluation_batches(
            dataset, batch=JUDGED_AT_ONCE, rank=self.ranks.rank, world=self.ranks.world, points=self.points
        ):
            rows_RM[torch.from_numpy(batch.rows_B)] = self.task.judged(self._scores(self.model, batch), batch).cpu()
        whole: NDArray[np.float64] = self.ranks.sum(rows_RM.to(self.ranks.device)).cpu().numpy()
        return whole

    def judge_rooms(self, split: str) -> NDArray[np.float64]:
        """[rooms, K * K] of a split, in their order: each room's confusion matrix, a point counted once, by the votes of all looks."""
        assert isinstance(self.task, SceneSegmentation)
        rooms = list(rooms_of(self.splits[split].ids))
        found_RM = torch.zeros(len(rooms), self.task.kept, dtype=torch.float64)
        for number in share(np.arange(len(rooms)), self.ranks.rank, self.ranks.world):
            _, truth, told = self.room(split, rooms[number])
            found_RM[number] = torch.from_numpy(confusion_of(told, truth, len(self.task.classes)).ravel())
        whole: NDArray[np.float64] = self.ranks.sum(found_RM.to(self.ranks.device)).cpu().numpy()
        return whole

    @torch.no_grad()
    def room(self, split: str, name: str) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        """(points [R, 3] in metres, z up, truth [R], prediction [R]) of one room, from the votes of its blocks."""
        self.model.eval()
        dataset, votes = self.splits[split], Votes()
        size_3 = np.zeros(3, np.float32)
        rows = rooms_of(dataset.ids)[name]
        for start in range(0, len(rows), JUDGED_AT_ONCE):
            batch = evaluation_batch(dataset, rows[start : start + JUDGED_AT_ONCE], self.points)
            assert batch.parts_BN is not None
            probabilities = self._scores(self.model, batch).softmax(2).cpu().numpy()
            for points, probability, truth in zip(batch.points_BNC.numpy(), probabilities, batch.parts_BN.numpy(), strict=True):
                votes.add(points[:, IN_ROOM], probability, truth)
                size_3 = np.maximum(size_3, np.ptp(points[:, :3], axis=0) / np.maximum(np.ptp(points[:, IN_ROOM], axis=0), 1e-3))
        places, truths, told = votes.counted()
        return places * size_3, truths, told

    def _scores(self, model: nn.Module, batch: Labelled) -> torch.Tensor:
        device = self.ranks.device
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.settings.precision == "bf16"):
            scores: torch.Tensor = model(batch.points_BNC.to(device), batch.labels_B.to(device))
        return scores.float()

    def _keep(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        place = self.folder / BEST.format(self.best["epoch"])
        temporary = place.with_name(f".{place.name}")
        save_file({name: value.detach().cpu().contiguous().clone() for name, value in self.model.state_dict().items()}, temporary)
        os.replace(temporary, place)

    def load_best(self) -> None:
        """The weights of the best epoch, on every rank."""
        self.ranks.sum(torch.zeros(1, device=self.ranks.device))  # rank 0 has written them by now
        self.model.load_state_dict(load_file(self.folder / BEST.format(self.best["epoch"])))


def tune(
    task: Task, start: Start, settings: Tuning, splits: dict[str, PreparedDataset], points: int, ranks: Ranks, outside: Outside,
    folder: Path, resume_from: Path | None,
) -> tuple[Tuned, Supervised]:  # fmt: skip
    """Trains, then judges the best epoch's weights on test, once; the same on every rank. `folder` keeps the best weights.

    Raises FloatingPointError when the loss is not finite, and ValueError when the encoder cannot serve the task.
    """
    course = Supervised(task, start, settings, splits, points, ranks, folder)
    run_course(course, course.pace, ranks, outside, resume_from)
    course.load_best()
    rows = course.judge("test") if "test" in splits else None
    rooms = course.judge_rooms("test") if rows is not None and isinstance(task, SceneSegmentation) else None
    val_rows = None if course.random else course.judge("val")  # of the encoder that other versions are compared with
    test = None if rows is None else task.scores(rows, splits["test"])
    best = course.best
    return Tuned(best["val"], test, best["epoch"], course.epochs, len(course.chosen), rows, rooms, val_rows), course
