# Sourced on every node that `ray up` starts: where the packages and the token are.
export PATH="$HOME/venv/bin:$PATH"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$HOME/.adacrossnet/ray-token"
export RAY_USAGE_STATS_ENABLED=0 RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0
export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT=true
export ADACROSSNET_HOME="$HOME/state" # on the head: what the service and `adacrossnet token create` share
