"""How a pretrained encoder is judged: the linear SVM, and the further evaluations of a pipeline. Units stand in each comment."""
from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from jobs.config.datasets import Data
from jobs.config.strict import Count, Fraction, NonNegative, Positive, Share, Strict


class Evaluate(Strict):
    """Linear SVM on frozen features."""

    points: Annotated[int, Field(ge=2)] = 1024  # points a cloud
    fixed_c: Positive = 0.01  # the published C, shown beside the chosen one
    # C is chosen on validation from this grid, widened by decades while the best lies at its edge
    c_grid: Annotated[tuple[Positive, ...], Field(min_length=1, strict=False)] = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
    batch: Count = 32  # clouds a forward pass


class Svm(Strict):
    """The linear SVM on a further dataset, by the protocol of `evaluate`."""

    task: Literal["svm"]
    data: Data | None = None  # none: the probe
    points: Annotated[int, Field(ge=2)] | None = None  # points a cloud; none: evaluate.points


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


class Scenes(Tuning):
    """Semantic segmentation of rooms in blocks, as Wang et al. 2019 train DGCNN on S3DIS; whole areas are held out."""

    task: Literal["scenes"]
    # 3: the place in the block alone, as pretraining is published; 9: all numbers of S3DIS's blocks, for dgcnn_semseg, whose first layer's
    # columns for colour and place in the room then start untrained
    channels: Literal[3, 9] = 3
    # held out one after another, each with trainings of its own (all six: six-fold); none: the dataset's own splits
    areas: Annotated[tuple[Annotated[int, Field(ge=1, le=6)], ...], Field(strict=False)] = ()
    val_share: Share = 0.1  # of each other area's rooms, where areas are named
    points: Annotated[int, Field(ge=2)] | None = None  # points a block; none: all that are stored
    epochs: Count = 100
    augment: Literal[False] = False

    @model_validator(mode="after")
    def _each_once(self) -> Scenes:
        if len(set(self.areas)) < len(self.areas):
            raise ValueError(f"areas {', '.join(map(str, self.areas))}: each once")
        return self


SUPERVISED = ("finetune", "parts", "scenes")  # tasks that train
Evaluation = Annotated[Svm | Fewshot | Finetune | Parts | Scenes, Field(discriminator="task")]


class Suite(Strict):
    """An encoder that there is, judged by the evaluations in place of training one."""

    model: Annotated[str, Field(min_length=1)]  # models:/NAME@ALIAS, models:/NAME/VERSION, a run's id, a checkpoint's folder, a .pth file
    backbone: str | None = None  # what a published file or an older checkpoint holds
    variant: Literal["crosspoint", "crossnet", "adacrossnet"] | None = None  # the project that published the file: sets k
    k: Count | None = None  # neighbours of an EdgeConv
    own_points: bool = False  # tasks that name no points take as many as the encoder was judged on, not evaluate.points
