#!/usr/bin/env bash
# Makes a fresh Ubuntu machine a node: the shared folder mounted, the pinned packages installed. Run again, it does what is missing.
#
#   cluster/node_setup.sh EXPORT OPTIONS [PACKAGE ...]     EXPORT: host:/path over NFS, mounted at /mnt/adacrossnet with OPTIONS
#                                                          PACKAGE: further ones, of the versions in constraints.txt
set -euo pipefail
export_=${1:?"usage: cluster/node_setup.sh EXPORT OPTIONS [PACKAGE ...]"} options=${2:?"OPTIONS of the mount are missing"}
shift 2
tree=$(cd "$(dirname "$0")/.." && pwd)
shared=/mnt/adacrossnet

chmod 600 "$HOME/.adacrossnet/ray-token" "$HOME/.mlflow/credentials"
command -v cloud-init > /dev/null && { cloud-init status --wait > /dev/null || true; } # a new machine still installs by itself
sudo apt-get -o DPkg::Lock::Timeout=300 update -q
sudo DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends \
  nfs-common python3-venv python3-dev gcc libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri libxrender1

sudo mkdir -p "$shared"
mountpoint -q "$shared" || sudo mount -t nfs -o "$options" "$export_" "$shared"
sudo install -d -o "$(id -u)" -g "$(id -g)" "$shared/storage" "$shared/data" "$shared/artifacts" "$shared/backup"

[ -x "$HOME/venv/bin/python" ] || python3 -m venv "$HOME/venv"
# torch first and pinned: what follows finds its requirement met and cannot replace it.
"$HOME/venv/bin/pip" install --quiet --disable-pip-version-check -c "$tree/constraints.txt" torch
"$HOME/venv/bin/pip" install --quiet --disable-pip-version-check -c "$tree/constraints.txt" -e "$tree[tracking-server]" "$@"
grep -qF adacrossnet/cluster/node_env.sh "$HOME/.bashrc" || echo ". ~/adacrossnet/cluster/node_env.sh" >> "$HOME/.bashrc"
