"""A published encoder into the registry: `python -m jobs.import_published FILE --backbone NAME [--variant PROJECT] [--k N]`.

FILE is a state dict saved by CrossPoint, CrossNet or AdaCrossNet (their `best_model.pth`). It is read strictly and without running code
of it; the encoder becomes a version of `adacrossnet-<backbone>` in the MLflow of MLFLOW_TRACKING_URI, tagged with where it came from.
A file does not hold how many neighbours its encoder takes: PROJECT or N says it.
"""
from __future__ import annotations

import argparse
import hashlib
import logging
import sys
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from jobs.config import names
from jobs.config.pipeline import WITH_NEIGHBOURS
from jobs.config.sections import Backbone
from jobs.models.published import NEIGHBOURS, Reading, fit, read_file
from jobs.models.tables import BACKBONES, build_backbone
from jobs.packaging import log_encoder, weights_digest


def main() -> None:
    cli = argparse.ArgumentParser(
        prog="python -m jobs.import_published", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cli.add_argument("file", type=Path)
    cli.add_argument("--backbone", required=True, choices=sorted(BACKBONES))
    cli.add_argument("--variant", choices=sorted(NEIGHBOURS), help="the project whose settings it was trained with (k)")
    cli.add_argument("--k", type=int, help="neighbours of an EdgeConv, where they are not the project's own")
    cli.add_argument("--experiment", default="adacrossnet")
    args = cli.parse_args()
    try:
        backbone = settings_of(args.backbone, args.variant, args.k)
        reading = fit(read_file(args.file), build_backbone(backbone.name, backbone.k))
        for line in reading.left_out:
            print(f"import: left out {line}")
        version = register(args.file, backbone, args.variant, reading, args.experiment)
    except ValueError as error:
        sys.exit(f"import: error: {error}")
    name = names.registered_name(backbone.name)
    registered = f"{name} version {version}" + (f", k = {backbone.k}" if backbone.name in WITH_NEIGHBOURS else "")
    print(f"import: {len(reading.weights)} tensors, {len(reading.left_out)} left out; registered as {registered}", flush=True)
    print(f"import: next: adacrossnet evaluate models:/{name}/{version} --data DIR", flush=True)


def settings_of(name: str, variant: str | None, k: int | None) -> Backbone:
    """What the state dict does not hold: the number of neighbours, the project's own unless given. ValueError when nothing tells it, or
    there is no such project."""
    if variant is not None and variant not in NEIGHBOURS:
        raise ValueError(f"--variant {variant}: there are {', '.join(NEIGHBOURS)}")
    if k is not None:
        return Backbone.model_validate({"name": name, "k": k})
    if name not in WITH_NEIGHBOURS:
        return Backbone.model_validate({"name": name})
    if variant is None:
        raise ValueError(f"{name} takes k neighbours and the file does not hold k: give --variant {'|'.join(NEIGHBOURS)}, or --k")
    return Backbone.model_validate({"name": name, "k": 30 if name == "rpc" else NEIGHBOURS[variant]})


def register(path: Path, backbone: Backbone, variant: str | None, reading: Reading, experiment: str) -> str:
    """The version under which these weights stand; the one that is there already, if they are. No alias moves."""
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it announces that it waits for the version
    client = MlflowClient()
    name = names.registered_name(backbone.name)
    tags = {"source": "published", "file": path.name, "file.sha256": _sha256(path), "variant": variant or "unknown", "k": str(backbone.k)}
    tags["weights.digest"] = weights_digest(reading.weights)
    try:
        client.create_registered_model(name, description="Point-cloud encoders pretrained without labels.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    same = ("weights.digest", "k")
    for found in client.search_model_versions(f"name = '{name}'"):
        if all(found.tags.get(key) == tags[key] for key in same):
            return str(found.version)
    run = client.create_run(_experiment(client, experiment), run_name=f"import-{path.stem}", tags={names.TAG_STAGE: "import", **tags})
    try:
        model_id = log_encoder(client, run.info.run_id, name="encoder", backbone=backbone, weights=reading.weights, step=0, tags=tags)
        client.log_text(run.info.run_id, "\n".join(reading.left_out) or "nothing", "left_out.txt")
        source = f"models:/{model_id}"
        version = client.create_model_version(name, source=source, run_id=run.info.run_id, tags=tags, model_id=model_id).version
    except BaseException:
        client.set_terminated(run.info.run_id, "FAILED")
        raise
    client.set_terminated(run.info.run_id, "FINISHED")
    return str(version)


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found is not None else client.create_experiment(name))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
