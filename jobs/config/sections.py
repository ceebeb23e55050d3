"""The sections of a configuration, field by field. Units stand in each comment; nothing here imports torch, ray or mlflow."""
from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from jobs.config.published import PUBLISHED

NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class Strict(BaseModel):
    """A section: an unknown key is an error, values are never coerced silently, and a loaded config does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=False)


Folder = Annotated[Path, Field(strict=False)]


class Prepared(Strict):
    """A dataset that `adacrossnet data prepare` already wrote: the prepare stage only checks it."""

    kind: Literal["prepared"]
    target: Folder  # the folder that holds manifest.json


class Preparing(Strict):
    """What every raw dataset needs to become a prepared one."""

    # the dataset's name in metrics (svm/<name>/accuracy), such as modelnet40; none: the source folder's, or the kind
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")] | None = None
    target: Folder | None = None  # where the prepared dataset goes; none: <storage>/data/<kind>-<digest of this section>
    points: Count = 2048  # points stored a shape; a shape with fewer is resampled, and counted
    shard_rows: Count = 64  # shapes a shard (of rooms one for every 64): the unit of work, of restart and of checksums
    seed: int = Field(default=0, ge=0)  # of every draw that preparing makes (sampling, synthetic shapes, resampling, turning)
    turned: bool = False  # each stored cloud turned about its up axis by an angle of its own, so that no pose tells its class
    val_share: Share = 0.1  # of a class's shapes, where the source has no validation split
    test_share: Share = 0.1  # of a class's shapes, where the source has no splits at all

    @model_validator(mode="after")
    def _leaves_train(self) -> Preparing:
        if self.val_share + self.test_share >= 1:
            raise ValueError(f"val_share {self.val_share:g} and test_share {self.test_share:g} leave nothing to train on: lower one")
        return self


class Synthetic(Preparing):
    """Parametric CAD-like objects made from the seed: everything runs with no download."""

    kind: Literal["synthetic"]
    shapes: Count = 400  # how many, spread evenly over the categories
    views: Count = 4  # rendered views a shape
    image_size: Annotated[int, Field(ge=16, le=1024)] = 64  # pixels a side of a view


class Meshes(Preparing):
    """Any folder <class>/[<split>/]*.{off,obj,ply,stl,glb}."""

    kind: Literal["meshes"]
    source: Folder  # the folder that holds one folder a class
    views: Annotated[int, Field(ge=0)] = 4  # rendered views a shape, evenly spaced azimuths; 0: none (evaluation only)
    image_size: Annotated[int, Field(ge=16, le=1024)] = 137  # pixels a side of a view
    up: Literal["y", "z"] = "y"  # the meshes' up axis; stored clouds have y up


class ShapenetRender(Preparing):
    """ShapeNet/<synset>/<id>.ply with ShapeNetRendering/<synset>/<id>/rendering/NN.png."""

    kind: Literal["shapenet-render"]
    source: Folder  # the folder that holds ShapeNet/ and ShapeNetRendering/
    views: Count = 24  # views kept a shape, the first in name order


class ModelNet(Preparing):
    """ModelNet40, or its ten-class subset: the HDF5 release with shape_names.txt, or the .off folders."""

    kind: Literal["modelnet40", "modelnet10"]
    source: Folder  # the folder that holds ply_data_{train,test}*.h5, or one folder a class


class ScanObjectNN(Preparing):
    """ScanObjectNN's HDF5 files."""

    kind: Literal["scanobjectnn"]
    source: Folder  # the folder that holds main_split/ (and main_split_nobg/), or that folder itself
    # obj_bg: with background; obj_only: without; pb_t50_rs: moved, turned and scaled, the hardest
    variant: Literal["obj_bg", "obj_only", "pb_t50_rs"]


class ShapeNetPart(Preparing):
    """ShapeNetPart: the HDF5 release, or the text release with normals; also other shapes with parts in either form."""

    kind: Literal["shapenetpart"]
    source: Folder  # the folder that holds ply_data_{train,val,test}*.h5, or synsetoffset2category.txt
    # {"classes": [...], "parts": ["Chair/leg", ...]}; none: SOURCE/categories.json, else the release's own, else ShapeNetPart's 16 and 50
    table: Folder | None = None


class Rooms(Preparing):
    """What every dataset of rooms in six areas has."""

    test_area: Annotated[int, Field(ge=1, le=6)] = 5  # whose rooms are test; val_share of each other area's rooms are validation
    stride: Annotated[float, Field(gt=0, le=1)] = 0.5  # metres between the blocks of a room; 1 m blocks overlap below 1

    @model_validator(mode="after")
    def _upright(self) -> Rooms:
        if self.turned:
            raise ValueError("turned is not for rooms, whose axes mean something: leave it out")
        return self


class S3DIS(Rooms):
    """S3DIS: the HDF5 release of blocks, or raw rooms that are cut into such blocks. Six areas, of which one is held out."""

    kind: Literal["s3dis"]
    source: Folder  # the folder that holds ply_data_all_*.h5 and room_filelist.txt, or Area_*/<room>/Annotations/*.txt
    points: Count = 4096  # points stored a block

class SyntheticRooms(Rooms):
    """Made-up furnished rooms in the form of S3DIS, from the seed."""

    kind: Literal["synthetic-rooms"]
    rooms: Annotated[int, Field(ge=12)] = 24  # how many, spread evenly over six areas, two at least in each
    points: Count = 1024  # points stored a block


Data = Annotated[
    Prepared | Synthetic | SyntheticRooms | Meshes | ShapenetRender | ModelNet | ScanObjectNN | ShapeNetPart | S3DIS,
    Field(discriminator="kind"),
]


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


class Evaluate(Strict):
    """Linear SVM on frozen features."""

    points: Annotated[int, Field(ge=2)] = 1024  # points a cloud
    fixed_c: Positive = 0.01  # the published C, shown beside the chosen one
    # C is chosen on validation from this grid, widened by decades while the best lies at its edge
    c_grid: Annotated[tuple[Positive, ...], Field(min_length=1, strict=False)] = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
    batch: Count = 32  # clouds a forward pass


class Fewshot(Strict):
    """Few-shot classification by a linear SVM on frozen features, as Afham et al. 2022 (CrossPoint) evaluate it."""

    task: Literal["fewshot"]
    data: Data | None = None  # none: the probe
    points: Annotated[int, Field(ge=2)] | None = None  # points a cloud; none: evaluate.points
    ways: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1, strict=False)] = (5, 10)  # classes an episode
    shots: Annotated[tuple[Count, ...], Field(min_length=1, strict=False)] = (10, 20)  # shapes of each class to learn from
    queries: Count = 20  # other shapes of each class to tell
    episodes: Annotated[int, Field(ge=2)] = 10  # of each number of ways and shots
    seed: int = Field(default=0, ge=0)  # of the episodes: the same ones whatever the pretraining's seed
    c: Positive = 1.0  # of the SVM, published; features are standardised on what is learned from


class Tuning(Strict):
    """What every supervised training has: from the pretrained encoder, and the same from random weights."""

    data: Data | None = None  # none: the probe
    points: Annotated[int, Field(ge=2)] | None = None  # points a cloud; none: evaluate.points
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Positive = 0.1  # peak learning rate
    momentum: Fraction = 0.9  # of sgd
    weight_decay: NonNegative = 1e-4
    min_lr: NonNegative = 1e-3  # where the cosine ends
    warmup: Annotated[int, Field(ge=0)] = 0  # iterations
    clip_norm: Positive | None = None  # largest global gradient norm; none: no clipping
    epochs: Count = 250
    batch: Annotated[int, Field(ge=2)] = 32  # shapes a global batch, whatever the number of workers
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.2  # of the cross-entropy, spread over the other classes
    augment: bool  # scale each axis by U(2/3, 3/2) and shift it by U(-0.2, 0.2)
    patience: Annotated[int, Field(ge=0)] = 0  # epochs without a better validation after which it stops; 0: it never does
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    seed: int = Field(default=0, ge=0)  # of order, augmentation, dropout, heads and the random weights beside

    @model_validator(mode="after")
    def _falls(self) -> Tuning:
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr is {self.min_lr:g}, above lr {self.lr:g}, and the rate would rise: lower min_lr too")
        return self


class Finetune(Tuning):
    """Supervised classification, as Wang et al. 2019 train DGCNN and as it is fine-tuned after pretraining."""

    task: Literal["finetune"]
    # of each category's training shapes; a smaller share lies within a larger one
    fractions: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1, strict=False)] = (1.0,)
    augment: bool = True

    @model_validator(mode="after")
    def _once(self) -> Finetune:
        if len(set(self.fractions)) < len(self.fractions):
            raise ValueError(f"fractions {', '.join(map(str, self.fractions))}: each once")
        return self


class Parts(Tuning):
    """Part segmentation, every point of a shape; the shape's category is given, as published."""

    task: Literal["parts"]
    augment: bool = False


Evaluation = Annotated[Fewshot | Finetune | Parts, Field(discriminator="task")]


class Cluster(Strict):
    """Where the jobs run and with what. Empty: an embedded one-node cluster, started and stopped by the command."""

    address: str | None = None  # job server of an existing cluster, http://host:8265; RAY_ADDRESS goes before it
    workers: Count = 1  # Ray Train workers (ranks)
    cpus_per_worker: Positive = 1.0  # cores a worker
    gpus_per_worker: NonNegative = 0.0  # GPUs a worker; more than 0: NCCL, else gloo
    threads_per_worker: Count = 1  # torch threads a worker
    validator_gpus: Annotated[float, Field(ge=0, le=1)] = 0.0  # share of a GPU for the validation beside training; 0: on the CPU
    collective_timeout_s: Positive = 1800.0  # seconds until a stuck NCCL or gloo collective fails
    max_failures: Annotated[int, Field(ge=0)] = 3  # lost workers survived before the run fails
    storage: Folder = Path("runs/storage")  # checkpoints and default datasets; every node must reach it
    min_free_gb: NonNegative = 1.0  # GB left free on storage after the checkpoints; less: refused before the start


class Tracking(Strict):
    """MLflow."""

    uri: str | None = None  # of an existing server, http://host:5000; MLFLOW_TRACKING_URI goes before it
    experiment: Annotated[str, Field(min_length=1)] = "adacrossnet"
