"""Registers a version that points to the pretraining's run."""
import contextlib

import requests
from jobs.stage import PIPELINE, STAGE_RUNS, artifact_uri, leave, mark, post

NAME = "adacrossnet-tiny"

if __name__ == "__main__":
    mark("register")
    with contextlib.suppress(requests.HTTPError):  # it is there already
        post("registered-models/create", name=NAME)
    run = STAGE_RUNS["pretrain"]
    tags = [{"key": "pipeline", "value": PIPELINE}]
    version = post("model-versions/create", name=NAME, source=artifact_uri(run), run_id=run, tags=tags)["model_version"]["version"]
    leave("register", {"name": NAME, "version": str(version)})
