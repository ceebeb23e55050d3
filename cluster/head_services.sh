#!/usr/bin/env bash
# MLflow and the service beside Ray's head, as units of systemd: they start again when they end, and `journalctl -u NAME` shows their logs.
#
#   cluster/head_services.sh [MLFLOW]     MLFLOW: the URL of one that there is; without it, one starts here
#
# The service listens on loopback. MLflow's users and records, and the ledger, lie on this machine's disk, which goes with the machine: every
# hour they are copied to the shared folder, and a new head begins with the last copy.
set -euo pipefail
. "$(dirname "$0")/node_env.sh"
mlflow=${1:-} state="$ADACROSSNET_HOME" shared=/mnt/adacrossnet
umask 077
mkdir -p "$state"
for name in ledger mlflow users; do
  [ -e "$state/$name.sqlite" ] || [ ! -e "$shared/backup/$name.sqlite" ] || cp "$shared/backup/$name.sqlite" "$state/$name.sqlite"
done

unit() { # NAME, then systemd-run's options and the command
  local name=$1
  shift
  sudo systemctl stop "$name" "$name.timer" 2> /dev/null || true
  sudo systemctl reset-failed "$name" 2> /dev/null || true
  sudo systemd-run --quiet --unit="$name" --uid="$(id -u)" --gid="$(id -g)" --setenv=HOME="$HOME" --setenv=PATH="$PATH" \
    --working-directory="$HOME/adacrossnet" "$@"
}

if [ -z "$mlflow" ]; then
  mlflow="http://$(hostname -I | cut -d' ' -f1):5000" # the nodes read it too, so not loopback; the firewall keeps others out
  [ -s "$state/session-key" ] || head -c 32 /dev/urandom | od -An -vtx1 | tr -d ' \n' > "$state/session-key"
  printf 'MLFLOW_FLASK_SERVER_SECRET_KEY=%s\n' "$(cat "$state/session-key")" > "$state/mlflow.env"
  printf '[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///%s\nadmin_username = %s\nadmin_password = %s\nauthorization_function = mlflow.server.auth:authenticate_request_basic_auth\n' \
    "$state/users.sqlite" \
    "$(sed -n 's/^mlflow_tracking_username = //p' "$HOME/.mlflow/credentials")" \
    "$(sed -n 's/^mlflow_tracking_password = //p' "$HOME/.mlflow/credentials")" > "$state/basic_auth.ini"
  unit adacrossnet-mlflow --property=Restart=always --property=RestartSec=5 --property=EnvironmentFile="$state/mlflow.env" \
    --setenv=MLFLOW_AUTH_CONFIG_PATH="$state/basic_auth.ini" --setenv=MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
    "$HOME/venv/bin/mlflow" server --host 0.0.0.0 --port 5000 --workers 2 --app-name basic-auth \
    --backend-store-uri "sqlite:///$state/mlflow.sqlite" --serve-artifacts --artifacts-destination "$shared/artifacts"
fi

# Quotas, webhooks and the rest of it (service/settings.py) are yours to add: the file is made once.
[ -e "$state/service.yaml" ] || printf 'roots: [%s/storage, %s/data]  # the folders that pipelines may name: neither backups nor artifacts\n' "$shared" "$shared" > "$state/service.yaml"
unit adacrossnet-service --property=Restart=always --property=RestartSec=5 \
  --setenv=RAY_ADDRESS=http://127.0.0.1:8265 --setenv=RAY_AUTH_MODE=token --setenv=RAY_AUTH_TOKEN_PATH="$RAY_AUTH_TOKEN_PATH" \
  --setenv=MLFLOW_TRACKING_URI="$mlflow" --setenv=ADACROSSNET_HOME="$state" \
  "$HOME/venv/bin/adacrossnet" serve --host 127.0.0.1 --port 8000 --config "$state/service.yaml"

# SQLite's own copy of a database that is in use: a file copy could catch it in the middle of a write.
unit adacrossnet-backup --on-calendar=hourly "$HOME/venv/bin/python" -m cluster.backup "$state" "$shared/backup"
