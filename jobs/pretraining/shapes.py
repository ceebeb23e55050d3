"""What a pretraining trains on and is judged on, and whether it can be."""
from __future__ import annotations

from jobs.config import Pipeline
from jobs.data.loading import check_evaluable, check_trainable
from jobs.data.prepared import PreparedDataset


def training_shapes(config: Pipeline) -> PreparedDataset:
    """The training split without shapes whose geometry stands in the validation or test split of another dataset that judges it."""
    assert config.data.target is not None
    held_out: set[str] = set()
    for name, one in config.datasets.items():
        if name != "data" and one.target != config.data.target:
            assert one.target is not None
            judging = PreparedDataset(one.target, None)
            held_out |= {content for content, split in zip(judging.contents, judging.splits, strict=True) if split != "train"}
    return PreparedDataset(config.data.target, "train", keep=lambda content: content not in held_out)


def check_points(config: Pipeline) -> None:
    """ValueError when either dataset cannot serve: too few points, views or categories, or a split that is empty."""
    assert config.data.target is not None and config.probe_data.target is not None
    check_trainable(PreparedDataset(config.data.target, "train"), config.pretrain.points)
    check_evaluable(config.probe_data.target, config.evaluate.points)
    if config.pretrain.paper_compat is not None and not len(PreparedDataset(config.probe_data.target, "test")):
        raise ValueError(
            f"pretrain.paper_compat {config.pretrain.paper_compat} selects on the probe's test split, as published, and "
            f"{config.probe_data.target} has no test shape: name a probe that has, or drop paper_compat"
        )
