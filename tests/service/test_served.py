"""The service with a real cluster: what is submitted over the API runs, is followed, cancelled and told of; two share a ledger."""
from __future__ import annotations

import hashlib
import hmac
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from cluster.local import LocalCluster
from service.commands.top import _there
from service.home import Home
from service.ledger import Ledger
from service.notices import SIGNATURE
from service.tables import CANCELLED, ENDED, FAILED, SUCCEEDED
from tests.service.conftest import ran
from tests.service.server import Served, serving

END_S = 90.0
AFTER = ["evaluate", "register"]
# What the tiny project runs after prepare: `broken` fails there, `killed` is tried again, `flaky` fails in pretrain.
JOBS = {"tiny": ["pretrain", *AFTER], "broken": [], "killed": ["pretrain", "pretrain", *AFTER], "flaky": ["pretrain"]}


class Receiver:
    """A web server that keeps what it is sent; the first answer to each notice is 500 where `stumbles`."""

    def __init__(self, stumbles: bool) -> None:
        self.got: list[tuple[str, bytes]] = []
        outer, seen = self, set()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                number = json.loads(body)["id"]
                first = number not in seen
                seen.add(number)
                self.send_response(500 if stumbles and first else 204)
                self.end_headers()
                if not (stumbles and first):
                    outer.got.append((self.headers[SIGNATURE], body))

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver(stumbles=True)
    yield one
    one.server.shutdown()
    one.server.server_close()


@pytest.fixture
def sent(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A config of the tiny project, as it is sent."""

    def make(name: str = "tiny", epochs: int = 1) -> dict[str, Any]:
        cluster = {"storage": str(tmp_path / "root" / "storage"), "min_free_gb": 0.0}
        return {
            "name": name, "data": {"kind": "synthetic"}, "pretrain": {"epochs": epochs}, "cluster": cluster, "limits": {"backoff_s": 0.5},
        }  # fmt: skip

    (tmp_path / "root" / "storage").mkdir(parents=True)
    return make


def submit(served: Served, config: dict[str, Any]) -> str:
    answer = served.ask("POST", "/v1/pipelines", json={"config": config}, headers={"Idempotency-Key": os.urandom(8).hex()})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["pipeline"])


def until_ended(served: Served, pipeline: str, seconds: float = END_S) -> dict[str, Any]:
    until = time.monotonic() + seconds
    while (facts := served.ask("GET", f"/v1/pipelines/{pipeline}").json())["state"] not in ENDED:
        assert time.monotonic() < until, facts
        time.sleep(0.3)
    return dict(facts)


def test_a_pipeline_is_submitted_followed_shown_and_told_of(
    shared: tuple[Home, LocalCluster], sent: Callable[..., dict[str, Any]], receiver: Receiver, tmp_path: Path
) -> None:
    home = shared[0]
    (tmp_path / "secret").write_text("s3cret\n")
    hooks = f"""
at_once: 4
webhook_first_wait_s: 1.0
webhooks:
- {{url: "{receiver.url}", secret_file: {tmp_path}/secret, private: true}}
- {{url: "{receiver.url}/refused", secret_file: {tmp_path}/secret}}
"""
    with serving(home.path, tmp_path / "root", hooks, "--json-log") as served:
        pipeline, stopped = submit(served, sent()), submit(served, sent("long", epochs=60))
        followed = served.ask("GET", f"/v1/pipelines/{pipeline}/logs?follow=true", stream=True)
        log = "".join(followed.iter_content(None, decode_unicode=True))
        assert "pretrain: epoch 1/1 loss 5.31" in log
        facts = until_ended(served, pipeline)
        assert (facts["state"], facts["summary"]["model"]["name"]) == (SUCCEEDED, "adacrossnet-tiny")
        assert served.ask("GET", "/v1/models").json()[0]["lineage"]["pipeline"] == pipeline
        version = facts["summary"]["model"]["version"]
        refused = served.ask("POST", f"/v1/models/adacrossnet-tiny/{version}/promote", json={})
        assert refused.status_code == 409
        assert "is not promoted" in refused.json()["detail"]

        until = time.monotonic() + 30
        while not (says := [one for one in served.ask("GET", "/v1/running").json() if one["says"]]):
            assert time.monotonic() < until
            time.sleep(0.3)
        assert says[0]["pipeline"] == stopped
        assert "epoch" in says[0]["says"]["pretrain"]
        assert 'adacrossnet_pipelines{state="running"} 1.0' in served.ask("GET", "/metrics").text
        assert 'adacrossnet_stage_seconds_count{stage="pretrain"}' in served.ask("GET", "/metrics").text
        served.ask("POST", f"/v1/pipelines/{stopped}/cancel")
        assert until_ended(served, stopped)["state"] == CANCELLED
        seen = _there(served.url)()
        assert seen["cluster"]["nodes"][0]["CPU"] == 2.0

        until = time.monotonic() + 20
        while len(receiver.got) < 2:
            assert time.monotonic() < until, served.log.read_text()[-3000:]
            time.sleep(0.2)
        told = {json.loads(body)["pipeline"]: (signature, body) for signature, body in receiver.got}
        assert {one: json.loads(body)["state"] for one, (_, body) in told.items()} == {pipeline: SUCCEEDED, stopped: CANCELLED}
        for signature, body in told.values():
            seconds, mark = (part.partition("=")[2] for part in signature.split(","))
            assert hmac.compare_digest(mark, hmac.new(b"s3cret", f"{seconds}.".encode() + body, hashlib.sha256).hexdigest())
        lines = [json.loads(line) for line in served.log.read_text().splitlines()]
        assert any("is 127.0.0.1, this machine or in a private network" in line["message"] for line in lines), "it was not sent there"
        assert any(line.get("pipeline") == pipeline and line["logger"] == "adacrossnet.submitter" for line in lines)
    assert served.process.returncode == 0


@pytest.mark.soak
def test_when_the_leading_service_is_killed_the_other_takes_over_and_the_pipeline_ends_once(
    shared: tuple[Home, LocalCluster], sent: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    home = shared[0]
    with ExitStack() as stack:
        first, second = (stack.enter_context(serving(home.path, tmp_path / "root")) for _ in range(2))
        until = time.monotonic() + 30
        while len(leads := [one for one in (first, second) if one.ask("GET", "/readyz").json()["leader"]]) != 1:
            assert time.monotonic() < until
            time.sleep(0.2)
        leader, other = leads[0], second if leads[0] is first else first
        pipeline = submit(leader, sent(epochs=4))
        until = time.monotonic() + 30
        while other.ask("GET", f"/v1/pipelines/{pipeline}").json()["state"] != "running":
            assert time.monotonic() < until
            time.sleep(0.2)
        leader.process.kill()
        killed = time.monotonic()
        while not other.ask("GET", "/readyz").json()["leader"]:
            assert time.monotonic() - killed < 30
            time.sleep(0.1)
        facts = until_ended(other, pipeline)
        assert facts["state"] == SUCCEEDED
        assert [len(stage["attempts"]) for stage in facts["stages"]] == [1, 1, 1, 1]


@pytest.mark.soak
def test_thirty_pipelines_end_once_and_rightly_while_two_services_are_killed_at_random(
    shared: tuple[Home, LocalCluster], sent: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    home, draw = shared[0], random.Random(20)
    settings = "at_once: 4\nquota: {unfinished: 100}\n"
    kinds = ["tiny", *JOBS]
    expected = {"tiny": SUCCEEDED, "broken": FAILED, "killed": SUCCEEDED, "flaky": FAILED}
    with ExitStack() as stack:
        living = [stack.enter_context(serving(home.path, tmp_path / "root", settings)) for _ in range(2)]
        pipelines = {}
        for number in range(30):
            name = kinds[number % len(kinds)]
            pipelines[submit(living[number % 2], sent(name))] = name
        kills, until = 0, time.monotonic() + 900
        ledger = Ledger(home.ledger_url)
        while any(ledger.get(one).state not in ENDED for one in pipelines):
            assert time.monotonic() < until, [(one, ledger.get(one).state, ledger.get(one).message) for one in pipelines]
            time.sleep(draw.uniform(1.0, 6.0))
            victim = draw.randrange(2)
            living[victim].process.send_signal(signal.SIGKILL)
            living[victim].process.wait()
            living[victim] = stack.enter_context(serving(home.path, tmp_path / "root", settings))
            kills += 1
        assert kills >= 10
        rows = [ledger.get(one) for one in pipelines]
        assert {row.id: row.state for row in rows} == {one: expected[name] for one, name in pipelines.items()}
        assert not [row.id for row in rows if row.records_open]
        for row in rows:
            stages = ["prepare", *JOBS[pipelines[row.id]]]
            assert sorted(ran(row)) == sorted(stages), "each job ran once"
        ledger.close()


def test_the_queue_is_there_again_soon_after_a_kill(tmp_path: Path) -> None:
    home = tmp_path / "home"
    ledger = Ledger(f"sqlite:///{home}/ledger.sqlite")
    config = {"name": "tiny", "data": {"kind": "synthetic"}, "cluster": {"min_free_gb": 0}}
    with serving(home, tmp_path / "root") as served:
        submit(served, config)
        row = ledger.recent(1)[0]
        for _ in range(999):
            ledger.add_new("tiny", row.config, ("prepare", "pretrain"), row.cluster, row.tracking)
        served.process.kill()
    began = time.monotonic()
    with serving(home, tmp_path / "root") as served:
        assert served.ask("GET", "/v1/queue").json()["length"] == 1000
        while not served.ask("GET", "/readyz").json()["leader"]:
            time.sleep(0.1)
        assert time.monotonic() - began < 10
        first = requests.get(f"{served.url}/v1/queue", params={"limit": 1}, timeout=5).json()["first"][0]
        assert first["pipeline"] == row.id
    ledger.close()
