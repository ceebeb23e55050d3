"""What a run is asked to do. `load` reads a YAML file; `Pipeline` is the whole; `names` are MLflow's names."""
from jobs.config.datasets import Data
from jobs.config.evaluations import Evaluation
from jobs.config.loading import ConfigError, check, check_data, check_evaluation, load, parse_value
from jobs.config.pipeline import STAGES, SWEEP_STAGES, Pipeline, digest_of

__all__ = [
    "STAGES",
    "SWEEP_STAGES",
    "ConfigError",
    "Data",
    "Evaluation",
    "Pipeline",
    "check",
    "check_data",
    "check_evaluation",
    "digest_of",
    "load",
    "parse_value",
]
