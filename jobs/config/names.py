"""The names that stand in MLflow and in a job's environment, in one place."""

LOSS = "train/loss"
LOSS_INTRA = "train/loss_intra"
LOSS_CROSS = "train/loss_cross"
WEIGHT_INTRA = "train/weight_intra"
WEIGHT_CROSS = "train/weight_cross"
LEARNING_RATE = "train/lr"
CLOUDS_PER_S = "train/clouds_per_s"
EPOCH = "train/epoch"
VALIDATION_SCORE = "val/svm_balanced_accuracy"
TEST_SELECTION = "test_selected/svm_accuracy"  # in place of it where a faithful mode selects on the test split, as published

TAG_PIPELINE = "pipeline"
TAG_STAGE = "stage"
TAG_RAY_JOB = "ray.job_id"
TAG_CODE = "code.digest"
TAG_DATA = "data.digest"
TAG_CONFIG = "config.digest"
TAG_RETRIED = "retried"  # why the stage's last attempt was made again

ALIAS_CANDIDATE = "candidate"
ALIAS_CHAMPION = "champion"
ALIAS_PREVIOUS = "previous"  # the champion before

# Environment of a job: its whole resolved config as JSON, and where it stands in the pipeline.
ENV_CONFIG = "ADACROSSNET_CONFIG"
ENV_STAGE = "ADACROSSNET_STAGE"  # the stage's name
ENV_PIPELINE = "ADACROSSNET_PIPELINE"
ENV_STAGE_RUNS = "ADACROSSNET_STAGE_RUNS"  # JSON: stage name -> MLflow run id, of this pipeline's stages
ENV_CODE_DIGEST = "ADACROSSNET_CODE_DIGEST"
ENV_DATA_CONFIG = "ADACROSSNET_DATA_CONFIG"  # JSON of one data section, for preparing it alone
# A node's copy of datasets on shared storage; a pipeline's jobs get them from its cluster section.
ENV_CACHE = "ADACROSSNET_CACHE"  # the folder
ENV_CACHE_GB = "ADACROSSNET_CACHE_GB"  # GB that it may hold
ENV_STAGE_MOUNTS = "ADACROSSNET_STAGE_MOUNTS"  # 1: datasets in folders are copied there too


ITEMS = "items.json"  # of an evaluation's run: a result for each item (shape, episode, room) that a score is the mean of
TAG_ITEMS = "run"  # under `task/dataset/` of a version: the run that holds them


def evaluation_metric(task: str, dataset: str, metric: str) -> str:
    """`svm/modelnet40/accuracy` and its like."""
    return f"{task}/{dataset}/{metric}"


def selection_score(paper_compat: str | None) -> str:
    """The metric that the best checkpoint is selected by."""
    return VALIDATION_SCORE if paper_compat is None else TEST_SELECTION


def registered_name(backbone: str) -> str:
    """The registered model of a backbone: `adacrossnet-dgcnn`."""
    return f"adacrossnet-{backbone}"
