"""What a run is asked to do. `load` reads a YAML file; `Pipeline` is the whole; `names` are MLflow's names."""
from jobs.config.loading import ConfigError, check, check_data, load
from jobs.config.pipeline import STAGES, SWEEP_STAGES, Pipeline, digest_of
from jobs.config.sections import Data

__all__ = ["STAGES", "SWEEP_STAGES", "ConfigError", "Data", "Pipeline", "check", "check_data", "digest_of", "load"]
