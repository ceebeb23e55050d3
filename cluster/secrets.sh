#!/usr/bin/env bash
# Writes the secrets of a cluster into FOLDER, one a file, readable by their owner alone. What is there already stays.
#
#   cluster/secrets.sh FOLDER [POSTGRES_HOST]        POSTGRES_HOST: where the servers find PostgreSQL; `postgres` unless given
#
# ray-token           the bearer token of the Ray cluster
# postgres-password   of the user adacrossnet
# ledger-url          the service's ledger
# mlflow.env          what the MLflow server reads: its database and the key of its sessions
# basic_auth.ini      its users' database, and the first user
# credentials         that user, as MLflow's clients read it (~/.mlflow/credentials): for the service and the Ray nodes
set -euo pipefail
folder=${1:?"usage: cluster/secrets.sh FOLDER [POSTGRES_HOST]"}
host=${2:-postgres}
umask 077
mkdir -p "$folder"
cd "$folder"

once() { # FILE: takes its text from standard input; a name that is there is whole, and stays
  if [ -s "$1" ]; then cat > /dev/null; else cat > "$1.new" && mv "$1.new" "$1"; fi
}
random() { head -c 32 /dev/urandom | od -An -vtx1 | tr -d ' \n'; } # 64 hex digits: no character that a URL or a shell would change

random | once ray-token
random | once postgres-password
printf 'postgresql+psycopg://adacrossnet:%s@%s:5432/adacrossnet' "$(cat postgres-password)" "$host" | once ledger-url
printf 'MLFLOW_BACKEND_STORE_URI=postgresql+psycopg://adacrossnet:%s@%s:5432/mlflow\nMLFLOW_FLASK_SERVER_SECRET_KEY=%s\n' \
  "$(cat postgres-password)" "$host" "$(random)" | once mlflow.env
printf '[mlflow]\nmlflow_tracking_username = adacrossnet\nmlflow_tracking_password = %s\n' "$(random)" | once credentials
password=$(sed -n 's/^mlflow_tracking_password = //p' credentials)
printf '[mlflow]\ndefault_permission = READ\ndatabase_uri = postgresql+psycopg://adacrossnet:%s@%s:5432/mlflow_auth\nadmin_username = adacrossnet\nadmin_password = %s\nauthorization_function = mlflow.server.auth:authenticate_request_basic_auth\n' \
  "$(cat postgres-password)" "$host" "$password" | once basic_auth.ini
