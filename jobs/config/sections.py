"""The pretraining and where it runs, field by field. Units stand in each comment."""
from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Discriminator, Field, Tag, model_validator

from jobs.config.places import Folder
from jobs.config.published import PUBLISHED
from jobs.config.strict import Count, NonNegative, Positive, Strict


class Backbone(Strict):
    """The point-cloud encoder."""

    # dgcnn: Wang et al. 2019; pointnet: Qi et al. 2017; rpc: Ren et al. 2022, clouds of 256 points or more, published with k = 30;
    # _partseg, _semseg: the variants that segmentation fine-tunes
    name: Literal["dgcnn", "dgcnn_partseg", "dgcnn_semseg", "pointnet", "pointnet_partseg", "rpc"] = "dgcnn"
    k: Annotated[int, Field(ge=1)] = 20  # nearest neighbours of an EdgeConv (dgcnn, dgcnn_partseg, dgcnn_semseg, rpc)


class Image(Strict):
    """The image towers (RGB and, where the objective needs it, grey)."""

    tower: Literal["resnet18", "resnet50"] = "resnet50"
    size: Annotated[int, Field(ge=32, le=512)] = 224  # pixels a side that the towers see
    # memory layout of the towers: faster on GPUs and at 224 pixels; slower at 32 to 64 on CPUs, where rounding depends more on the batch
    channels_last: bool = False
    compile: bool = False  # torch.compile of the towers, a minute or more at the start; the point encoders bring kernels of their own


class Objective(Strict):
    """Which contrastive losses, after which paper."""

    # crosspoint: mean of both projections against RGB. crossnet-con: [v1; v2] against [RGB; grey].
    # crossnet-ave: the mean against RGB plus the mean against grey.
    cross: Literal["crosspoint", "crossnet-con", "crossnet-ave"] = "crossnet-con"
    temperature: Positive = 0.2  # of NT-Xent
    # crossnet-con stacks two rows a shape, so each anchor meets two false negatives (its own shape). False masks them.
    same_sample_negatives: bool = False


class Weighted(Strict):
    """What every weighting of the losses has."""

    normalise: bool = False  # scale the weights to sum to their number, so that balance alone changes and not the scale of the loss


class StaticWeighting(Weighted):
    """Constant weights."""

    name: Literal["static"]
    intra: NonNegative = 1.0
    cross: NonNegative = 1.0


class AdaCrossNetWeighting(Weighted):
    """w_k <- beta w_k + (1 - beta) sigmoid(alpha (L_k(t) - L_k(t-1))), Putra et al. 2025; w_0 = 1, L(0) = 0."""

    name: Literal["adacrossnet"]
    alpha: NonNegative = 0.05  # slope of the sigmoid, per unit of loss (of relative change, where change is relative)
    beta: Annotated[float, Field(ge=0, lt=1)] = 0.95  # momentum of the weights
    cadence: Literal["step", "epoch"] = "step"  # when the rule moves; published: every step. epoch: by the epochs' mean losses
    change: Literal["raw", "relative"] = "raw"  # L(t) - L(t-1), or the same over L(t-1)


class DwaWeighting(Weighted):
    """Dynamic Weight Average, Liu et al. 2019: a softmax of how slowly each loss fell over the last two epochs."""

    name: Literal["dwa"]
    temperature: Positive = 2.0  # of the softmax; the larger, the more even


class UncertaintyWeighting(Weighted):
    """Learned log-variances, Kendall et al. 2018; they move with the network's own optimizer and rate, without decay."""

    name: Literal["uncertainty"]


class GradNormWeighting(Weighted):
    """GradNorm, Chen et al. 2018: gradient norms at the projection's last layer, which both losses share."""

    name: Literal["gradnorm"]
    alpha: NonNegative = 1.5  # how strongly losses that train slower are favoured
    rate: Positive = 0.025  # Adam's learning rate of the weights


class FamoWeighting(Weighted):
    """FAMO, Liu et al. 2023: equal rates of decrease; a second forward pass of each batch after the step."""

    name: Literal["famo"]
    rate: Positive = 0.025  # Adam's learning rate of the logits
    decay: NonNegative = 0.001  # weight decay of the logits, back towards even weights


class RandomWeighting(Weighted):
    """Random loss weighting, Lin et al. 2022: a softmax of normal draws, anew each batch."""

    name: Literal["random"]


Weighting = Annotated[
    StaticWeighting
    | AdaCrossNetWeighting
    | DwaWeighting
    | UncertaintyWeighting
    | GradNormWeighting
    | FamoWeighting
    | RandomWeighting,
    Field(discriminator="name"),
]


class Optimizer(Strict):
    """Adam with L2 decay as published, or AdamW with decoupled decay."""

    name: Literal["adam", "adamw"] = "adam"
    lr: Positive = 1e-3  # peak learning rate
    weight_decay: NonNegative = 1e-5
    clip_norm: Positive | None = None  # largest global gradient norm; none: no clipping
    warmup: Annotated[int, Field(ge=0)] = 0  # iterations of linear warm-up
    min_lr: NonNegative = 0.0  # where the cosine ends; its period is all iterations after the warm-up


class Pretrain(Strict):
    """The self-supervised training."""

    # reproduces a paper's published training where it is odd (docs/faithful.md): its schedule's stepping, its false negatives, and
    # selection on the probe's TEST split, so that its scores are not comparable with others; none: training as it should be
    paper_compat: Literal["crosspoint", "crossnet", "adacrossnet"] | None = None
    backbone: Backbone = Backbone()
    image: Image = Image()
    objective: Objective = Objective()
    weighting: Weighting = AdaCrossNetWeighting(name="adacrossnet")
    optimizer: Optimizer = Optimizer()
    epochs: Count = 250
    batch: Annotated[int, Field(ge=2)] = 32  # shapes a global batch, whatever the number of workers
    accumulate: Count = 1  # global batches an optimizer step; adds no negatives: each contrasts within itself and moves the weighting rule
    points: Annotated[int, Field(ge=2)] = 2048  # points a view
    # float32: strictly, also on GPUs; tf32: their products and convolutions in TF32, but not what finds neighbours; bf16: autocast
    precision: Literal["float32", "tf32", "bf16", "float64"] = "float32"
    loader_workers: Annotated[int, Field(ge=0)] = 2  # processes a rank that read and augment; 0: in the training process
    log_every: Count = 10  # iterations between two progress lines; every iteration's metrics are sent then
    validate_every: Count = 1  # epochs between two validations (linear SVM on the validation split)
    keep_every: Annotated[int, Field(ge=0)] = 0  # every n-th epoch is validated and its encoder logged to MLflow too; 0: the best alone
    checkpoint_every: Count = 1  # epochs between two checkpoints, beside those that are validated: what a crash loses at most

    @model_validator(mode="after")
    def _faithful(self) -> Pretrain:
        if self.paper_compat is not None:
            wrong = [
                f"{key} must be {value!r} (is {found!r})"
                for key, value in PUBLISHED[self.paper_compat].items()
                if (found := _at(self, key)) != value
            ]
            if wrong:
                raise ValueError(f"pretrain.paper_compat {self.paper_compat}: {'; '.join(wrong)}; correct these or drop paper_compat")
        return self


def _at(section: BaseModel, key: str) -> object:
    value: object = section
    for part in key.split("."):
        value = getattr(value, part, None)
    return value


class Driver(Strict):
    """What the driver of a stage reserves on the node that it runs on. Nothing: it may run anywhere, and does so on the head."""

    cpus: NonNegative = 0.0
    gpus: NonNegative = 0.0
    accelerator_type: str | None = None  # as Ray calls it: H100, A10G


class Elastic(Strict):
    """As many workers as there is room for, between two bounds; the training goes on with more or fewer when nodes come or go."""

    min: Count  # workers without which the training waits
    max: Count  # workers at most; an autoscaler is asked for so many
    # seconds between two looks for more room; the training starts again to take it, from its last checkpoint: rarer where epochs are long
    look_every_s: Positive = 60.0

    @model_validator(mode="after")
    def _in_order(self) -> Elastic:
        if self.max < self.min:
            raise ValueError(f"cluster.workers: max is {self.max}, less than min, {self.min}; raise max or lower min")
        return self


FORMS = NUMBER, RANGE = "a number", "a range"  # no keys of a config


def _form(value: object) -> str:
    return RANGE if isinstance(value, (dict, Elastic)) else NUMBER


# 4, or {min: 2, max: 16}: told apart by form, so that a fault is said of the one that was written.
Workers = Annotated[Annotated[Count, Tag(NUMBER)] | Annotated[Elastic, Tag(RANGE)], Discriminator(_form)]


class Cluster(Strict):
    """Where the jobs run and with what. Empty: an embedded one-node cluster, started and stopped by the command."""

    address: str | None = None  # job server of an existing cluster, http://host:8265; RAY_ADDRESS goes before it
    workers: Workers = 1  # Ray Train workers (ranks), or {min: 2, max: 16}: as many as there is room for
    cpus_per_worker: Positive = 1.0  # cores a worker
    gpus_per_worker: NonNegative = 0.0  # GPUs a worker; more than 0: NCCL, else gloo
    accelerator_type: str | None = None  # of the workers' GPUs, as Ray calls it (H100, A10G); none: any
    drivers: dict[str, Driver] = {}  # by stage: {svm: {gpus: 1}} puts svm's, which extracts features itself, on a node with a GPU
    threads_per_worker: Count = 1  # torch threads a worker
    autoscales: bool | None = None  # nodes come when they are asked for; none: as the job server tells (Ray's second autoscaler does not)
    validator_gpus: Annotated[float, Field(ge=0, le=1)] = 0.0  # share of a GPU for the validation beside training; 0: on the CPU
    collective_timeout_s: Positive = 1800.0  # seconds until a stuck NCCL or gloo collective fails
    max_failures: Annotated[int, Field(ge=0)] = 3  # lost workers survived before the run fails
    storage: Folder = Path("runs/storage")  # checkpoints and default datasets; every node must reach it
    min_free_gb: NonNegative = 1.0  # GB left free on storage after the checkpoints; less: refused before the start
    # where each node keeps its copy of datasets at a URI, on a disk of its own; none: the node's ADACROSSNET_CACHE, else a folder of the
    # user's below the node's temporary one. A dataset in a folder is read where it lies
    cache: Folder | None = None
    cache_gb: Positive = 50.0  # GB that the cache may hold on a node; what was not used for longest goes first, never what is open
    stage_mounts: bool = False  # datasets in folders are copied to the cache too: for a network mount that is slow to read

    @property
    def fewest(self) -> int:
        """Workers without which no training starts."""
        return self.workers.min if isinstance(self.workers, Elastic) else self.workers

    @property
    def most(self) -> int:
        """Workers that a training has at most."""
        return self.workers.max if isinstance(self.workers, Elastic) else self.workers

    @property
    def elastic(self) -> bool:
        """Whether the number of workers may change while a training goes on."""
        return isinstance(self.workers, Elastic)

    @property
    def workers_said(self) -> str:
        """`1 worker`, `4 workers`, `2 to 16 workers`."""
        count = f"{self.fewest} to {self.most}" if self.elastic else str(self.most)
        return f"{count} worker{'s'[: count != '1']}"


class Limits(Strict):
    """What the submitter allows the stages of a pipeline."""

    # further attempts of a stage that lost its node, its driver or its memory, beside those Ray Train makes; bad configs and data get none
    retries: Annotated[int, Field(ge=0, le=20)] = 2
    backoff_s: Positive = 30.0  # seconds before the first of them; twice as long before each next one, at most 15 minutes
    smaller_batch: bool = False  # where a GPU's memory ran out, go on with half the batch, which changes the numbers; else the stage fails
    stage_hours: Positive | None = None  # a stage that takes longer, its wait in Ray included, is stopped and fails; none: no limit


class Tracking(Strict):
    """MLflow."""

    uri: str | None = None  # of an existing server, http://host:5000; MLFLOW_TRACKING_URI goes before it
    experiment: Annotated[str, Field(min_length=1, max_length=200)] = "adacrossnet"
