"""One iteration of the pretraining: losses over the global batch, weights from the global losses, gradients, update."""
from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from jobs.config import Pipeline
from jobs.config.sections import Pretrain
from jobs.data.draws import share
from jobs.data.loading import Batch
from jobs.losses.objective import needs_grey, pretraining_losses
from jobs.losses.weighting.protocol import FollowsGradients, Learned, LooksAgain, Weighting, to_constant_sum
from jobs.losses.weighting.tables import Setting, build_weighting
from jobs.models.crossmodal import CrossModal
from jobs.models.tf32 import allow_tf32
from jobs.pretraining.ranks import Ranks
from jobs.pretraining.schedule import learning_rate, published_learning_rate

LOSS_NAMES = ("intra", "cross")
OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bf16": torch.float32, "float64": torch.float64}  # of weights


@dataclass
class Training:
    """Everything that a step changes, and what it needs to know."""

    config: Pretrain
    ranks: Ranks
    iterations: int  # optimizer steps of the whole run
    model: CrossModal
    forward: nn.Module  # the model, wrapped by DDP where there are several ranks
    optimizer: torch.optim.Optimizer
    weighting: Weighting
    dtype: torch.dtype
    step: int = 0  # optimizer steps taken

    def state(self) -> dict[str, Any]:
        """Tensors and plain numbers that, with the config, continue this run exactly."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "weighting": self.weighting.state_dict(),
            "step": self.step,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.weighting.load_state_dict(state["weighting"])
        self.step = int(state["step"])


def build_model(config: Pretrain, seed: int) -> CrossModal:
    """The untrained model; `seed` alone decides its weights."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        return CrossModal(
            backbone=config.backbone.name, k=config.backbone.k, tower=config.image.tower, grey=needs_grey(config.objective.cross)
        )


def build_training(config: Pipeline, ranks: Ranks, iterations: int) -> Training:
    """A training at step 0, the same on every rank."""
    pretrain = config.pretrain
    dtype = DTYPES[pretrain.precision]
    allow_tf32(pretrain.precision == "tf32")
    model = build_model(pretrain, config.seed).to(device=ranks.device, dtype=dtype)
    for tower in (model.rgb, model.grey):
        if tower is not None and pretrain.image.channels_last:
            tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # convolutions pass the layout on to all that follows
        if tower is not None and pretrain.image.compile:
            tower.compile()
    forward: nn.Module = model
    if ranks.world > 1:
        devices = [ranks.device.index] if ranks.device.type == "cuda" else None
        # The gradient of a 1 x 1 convolution has two valid layouts, of which its kernel picks the other one: harmless.
        warnings.filterwarnings("ignore", message="Grad strides do not match", category=UserWarning)
        # Buffers are BatchNorm's statistics, which the synchronised BatchNorm already keeps equal.
        forward = DistributedDataParallel(model, device_ids=devices, forward_sync_buffers=False, gradient_as_bucket_view=True)
    setting = Setting(
        losses=LOSS_NAMES,
        epoch_batches=max(1, iterations // pretrain.epochs) * pretrain.accumulate,
        seed=config.seed,
        device=ranks.device,
        dtype=dtype,
    )
    weighting = build_weighting(pretrain.weighting.name, setting, **pretrain.weighting.model_dump(exclude={"name", "normalise"}))
    settings = pretrain.optimizer
    groups: list[dict[str, Any]] = [{"params": list(model.parameters())}]
    if isinstance(weighting, Learned):
        groups.append({"params": weighting.parameters(), "weight_decay": 0.0})
    optimizer = OPTIMIZERS[settings.name](groups, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
    return Training(pretrain, ranks, iterations, model, forward, optimizer, weighting, dtype)


def train_step(training: Training, batches: list[Batch]) -> torch.Tensor:
    """One optimizer step over `batches` (more than one: gradient accumulation, each contrasting within itself).

    Returns a row of numbers on the device: weighted loss, losses, weights, learning rate (means over the batches).
    Raises FloatingPointError, on every rank alike and before the optimizer moves, when a loss, a weight or the gradient is not finite.
    """
    rate = rate_at(training.config, training.step, training.iterations)
    for group in training.optimizer.param_groups:
        group["lr"] = rate
    training.optimizer.zero_grad(set_to_none=True)
    rows = []
    for number, batch in enumerate(batches):
        with _synchronised(training.forward, last=number == len(batches) - 1):
            own_losses_K = batch_losses(training, batch)
            losses_K = training.ranks.sum(own_losses_K)
            weights_K = training.weighting.weigh(losses_K)
            if training.config.weighting.normalise:
                weights_K = to_constant_sum(weights_K)
            _refuse_non_finite(training, losses_K, own_losses_K, weights_K)
            if isinstance(training.weighting, FollowsGradients):
                training.weighting.on_gradients(gradient_norms(training, own_losses_K))
            # Own rows over the global count: their sum over the ranks is the loss, so DDP's mean is undone by the world size.
            total = (weights_K * own_losses_K).sum() * training.ranks.world / len(batches)
            total.backward()
        rows.append(torch.cat([(weights_K * losses_K).sum()[None], losses_K, weights_K]))
    if isinstance(training.weighting, Learned):
        for value in training.weighting.parameters():
            assert value.grad is not None
            value.grad /= len(batches)
    clip = training.config.optimizer.clip_norm
    norm = torch.nn.utils.clip_grad_norm_(training.model.parameters(), math.inf if clip is None else clip)
    if not torch.isfinite(norm):
        raise FloatingPointError(_stop_message(training, f"the gradient's norm is {float(norm)}"))
    training.optimizer.step()
    if isinstance(training.weighting, LooksAgain):
        training.weighting.after_step(_losses_again(training, batches))
    training.step += 1
    return torch.cat([torch.stack(rows).mean(0), torch.tensor([rate], device=training.ranks.device, dtype=training.dtype)])


def rate_at(config: Pretrain, iteration: int, iterations: int) -> float:
    """The learning rate of an iteration, by the schedule of the config or, in a faithful mode, of the paper."""
    settings = config.optimizer
    if config.paper_compat is not None:
        steps = max(1, iterations // config.epochs)
        return published_learning_rate(config.paper_compat, iteration, steps, config.epochs, peak=settings.lr, floor=settings.min_lr)
    return learning_rate(iteration, iterations, peak=settings.lr, warmup=settings.warmup, floor=settings.min_lr)


def gradient_norms(training: Training, own_losses_K: torch.Tensor) -> torch.Tensor:
    """norms_K: of each loss's gradient over all ranks at the projection's last layer, the last one that both losses share.

    Each rank's part is the gradient of its own rows with respect to all ranks' losses, so the parts add up.
    """
    weight = training.model.inv_head[-1].get_parameter("weight")
    parts = [torch.autograd.grad(loss, weight, retain_graph=True)[0] for loss in own_losses_K.unbind()]
    return training.ranks.sum(torch.stack(parts)).flatten(1).norm(dim=1)


@torch.no_grad()
def _losses_again(training: Training, batches: list[Batch]) -> torch.Tensor:
    """losses_K of the same batches under the moved weights, in training mode, with BatchNorm's running statistics left as they were."""
    buffers = [(buffer, buffer.clone()) for buffer in training.model.buffers()]
    losses_K = torch.stack([training.ranks.sum(batch_losses(training, batch)) for batch in batches]).mean(0)
    for buffer, before in buffers:
        buffer.copy_(before)
    return losses_K


def batch_losses(training: Training, batch: Batch) -> torch.Tensor:
    """losses_K of this rank's rows, each divided by the global count: summed over the ranks they are the batch's losses."""
    device, dtype = training.ranks.device, training.dtype
    points_2BNC = batch.points_2BNC.to(device=device, dtype=dtype, non_blocking=True)
    rgb_B3HW = batch.rgb_B3HW.to(device=device, dtype=dtype, non_blocking=True)
    grey_B1HW = None if batch.grey_B1HW is None else batch.grey_B1HW.to(device=device, dtype=dtype, non_blocking=True)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=training.config.precision == "bf16"):
        z_points_2BE, z_rgb_BE, z_grey_BE = training.forward(points_2BNC, rgb_B3HW, grey_B1HW)
    objective = training.config.objective
    losses_K: torch.Tensor = pretraining_losses(
        z_points_2BE,
        z_rgb_BE,
        z_grey_BE,
        cross=objective.cross,
        temperature=objective.temperature,
        same_sample_negatives=objective.same_sample_negatives,
        ids_B=batch.ids_B.to(device),
        counts=[len(share(np.arange(training.config.batch), rank, training.ranks.world)) for rank in range(training.ranks.world)],
    )
    return losses_K


@contextlib.contextmanager
def _synchronised(forward: nn.Module, last: bool) -> Iterator[None]:
    """Gradients are averaged over the ranks once a step, on its last batch."""
    if last or not isinstance(forward, DistributedDataParallel):
        yield
    else:
        with forward.no_sync():
            yield


def _refuse_non_finite(training: Training, losses_K: torch.Tensor, own_losses_K: torch.Tensor, weights_K: torch.Tensor) -> None:
    if torch.isfinite(torch.cat([losses_K, weights_K])).all():
        return
    if torch.isfinite(losses_K).all():
        name = training.config.weighting.name
        raise FloatingPointError(_stop_message(training, f"the {name} weighting gives {_said(weights_K)} for the losses {_said(losses_K)}"))
    flags = torch.zeros(training.ranks.world, device=own_losses_K.device)
    flags[training.ranks.rank] = float(not torch.isfinite(own_losses_K).all())
    bad = torch.nonzero(training.ranks.sum(flags)).flatten().tolist()  # every rank sees the sum, so every rank comes here
    where = ", ".join(map(str, bad))
    raise FloatingPointError(_stop_message(training, f"the global losses are {_said(losses_K)} (not finite on rank {where})"))


def _said(values_K: torch.Tensor) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in zip(LOSS_NAMES, values_K.tolist(), strict=True))


def _stop_message(training: Training, what: str) -> str:
    return (
        f"pretraining stopped at step {training.step}: {what}. The optimizer did not move. Lower pretrain.optimizer.lr, set "
        "pretrain.optimizer.clip_norm, or check the data with `adacrossnet data verify`; the last complete checkpoint is kept."
    )
