"""The REST API of a real server process, without a cluster: what it takes, what it refuses, and in which words."""
from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from service.ledger import Ledger
from service.tables import Token
from tests.service.server import Served, serving

CONFIG: dict[str, Any] = {"name": "tiny", "data": {"kind": "synthetic"}, "cluster": {"min_free_gb": 0}}
SETTINGS = """
body_kb: 64
quotas: {few: {unfinished: 2}}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with serving(folder / "home", folder / "root", SETTINGS) as one:
        yield one


@pytest.fixture(scope="module")
def tokens(served: Served) -> dict[str, str]:
    return {
        "anna": served.token("anna"), "bert": served.token("bert"), "viewer": served.token("vera", "viewer"),
        "admin": served.token("root", "admin"), "few": served.token("few"),
    }  # fmt: skip


def submit(served: Served, token: str, config: Any = CONFIG, **options: Any) -> requests.Response:
    return served.ask("POST", "/v1/pipelines", token, json={"config": config, **options.pop("more", {})}, **options)


def problem(answer: requests.Response, status: int) -> str:
    """The detail of a problem of this status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert set(told) == {"type", "title", "status", "detail", "instance"}
    assert told["status"] == status
    return str(told["detail"])


def test_a_submission_while_the_cluster_is_down_is_queued_and_says_so(served: Served, tokens: dict[str, str]) -> None:
    answer = submit(served, tokens["anna"], more={"priority": 4})
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert told["stages"] == ["prepare", "pretrain", "evaluate", "register"]
    assert told["message"] == "its cluster does not run: it is queued, and goes on once that is up"
    shown = served.ask("GET", answer.headers["location"], tokens["viewer"]).json()
    assert (shown["state"], shown["owner"], shown["priority"]) == ("queued", "anna", 4)
    assert shown["config"]["cluster"]["storage"] == str((served.log.parent / "runs" / "storage").resolve()), "paths start at the root"
    assert shown["pipeline"] in [one["pipeline"] for one in served.ask("GET", "/v1/queue", tokens["viewer"]).json()["first"]]


def test_yaml_text_is_a_config_too(served: Served, tokens: dict[str, str]) -> None:
    assert submit(served, tokens["anna"], "name: as-yaml\ndata: {kind: synthetic}\ncluster: {min_free_gb: 0.0}").status_code == 201


def test_the_same_key_with_the_same_body_makes_one_pipeline_also_at_the_same_time(served: Served, tokens: dict[str, str]) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: submit(served, tokens["anna"], headers={"Idempotency-Key": "once"}), range(24)))
    assert sorted({one.status_code for one in answers}) == [200, 201]
    assert sum(one.status_code == 201 for one in answers) == 1
    assert len({one.json()["pipeline"] for one in answers}) == 1
    other = submit(served, tokens["anna"], {**CONFIG, "seed": 5}, headers={"Idempotency-Key": "once"})
    assert "came before with another request" in problem(other, 422)
    assert submit(served, tokens["bert"], headers={"Idempotency-Key": "once"}).status_code == 201, "another person's key is another key"


def test_a_token_is_needed_and_each_way_to_have_none_is_told(served: Served, tokens: dict[str, str]) -> None:
    assert "needs a bearer token" in problem(served.ask("GET", "/v1/pipelines"), 401)
    assert served.ask("GET", "/v1/pipelines").headers["www-authenticate"] == "Bearer"
    assert "no token of this service" in problem(served.ask("GET", "/v1/pipelines", "secret"), 401)
    wrong = tokens["anna"][:-1] + ("A" if tokens["anna"][-1] != "A" else "B")
    assert problem(served.ask("GET", "/v1/pipelines", wrong), 401) == "the token is not known here"
    ended = served.token("late", days=1)
    ledger = Ledger(f"sqlite:///{served.home}/ledger.sqlite")
    with ledger.database.write() as session:
        session.get_one(Token, ended[4:12]).expires = time.time() - 1
    ledger.close()
    assert "expired on" in problem(served.ask("GET", "/v1/pipelines", ended), 401)


def test_a_revoked_token_ends_with_the_next_request(served: Served, tokens: dict[str, str]) -> None:
    from service.tokens import revoke

    token = served.token("gone")
    assert served.ask("GET", "/v1/me", token).json() == {"name": "gone", "role": "submitter"}
    ledger = Ledger(f"sqlite:///{served.home}/ledger.sqlite")
    revoke(ledger.database, "gone")
    ledger.close()
    assert "was revoked" in problem(served.ask("GET", "/v1/me", token), 401)


def test_a_viewer_reads_and_changes_nothing_and_only_admins_see_the_trail(served: Served, tokens: dict[str, str]) -> None:
    assert "needs the role submitter, and vera is viewer" in problem(submit(served, tokens["viewer"]), 403)
    assert "needs the role admin" in problem(served.ask("GET", "/v1/audit", tokens["anna"]), 403)
    assert served.ask("GET", "/v1/pipelines", tokens["viewer"]).status_code == 200


def test_another_persons_pipeline_is_not_to_be_cancelled_or_resumed_but_by_admins(served: Served, tokens: dict[str, str]) -> None:
    pipeline = submit(served, tokens["anna"]).json()["pipeline"]
    for act in ("cancel", "resume"):
        assert "is anna's" in problem(served.ask("POST", f"/v1/pipelines/{pipeline}/{act}", tokens["bert"]), 403)
    told = served.ask("POST", f"/v1/pipelines/{pipeline}/cancel", tokens["admin"])
    assert (told.status_code, told.json()["state"]) == (202, "cancelled"), "nothing of it had begun"
    assert "has ended already" in problem(served.ask("POST", f"/v1/pipelines/{pipeline}/cancel", tokens["anna"]), 409)
    assert served.ask("POST", f"/v1/pipelines/{pipeline}/resume", tokens["anna"]).json()["state"] == "queued"
    assert "has not ended" in problem(served.ask("POST", f"/v1/pipelines/{pipeline}/resume", tokens["anna"]), 409)


def test_who_did_what_stands_in_the_trail_with_what_was_refused(served: Served, tokens: dict[str, str]) -> None:
    pipeline = submit(served, tokens["bert"]).json()["pipeline"]
    served.ask("POST", f"/v1/pipelines/{pipeline}/cancel", tokens["anna"])
    served.ask("POST", f"/v1/pipelines/{pipeline}/cancel")
    lines = served.ask("GET", "/v1/audit?limit=3", tokens["admin"]).json()
    assert [(one["who"], one["status"], one["object"]) for one in lines] == [
        ("-", 401, f"/v1/pipelines/{pipeline}/cancel"), ("anna", 403, pipeline), ("bert", 201, pipeline),
    ]  # fmt: skip
    assert lines[0]["address"] == "127.0.0.1"
    assert [one["action"] for one in lines[1:]] == ["POST /v1/pipelines/{pipeline}/cancel", "POST /v1/pipelines"]
    assert served.ask("GET", f"/v1/audit?before={lines[0]['number']}&limit=1", tokens["admin"]).json() == lines[1:2]


@pytest.mark.parametrize(
    ("config", "status", "said"),
    [
        ({**CONFIG, "pretrain": {"epoch": 5}}, 422, "config: pretrain.epoch: unknown key; did you mean 'epochs'?"),
        ({"data": {"kind": "meshes", "source": "/etc"}}, 403, "data.source is /etc: configs sent to this server name paths below"),
        ({"data": {"kind": "meshes", "source": "../../x"}}, 403, "data.source is "),
        ({**CONFIG, "cluster": {"storage": "/var/lib"}}, 403, "cluster.storage is /var/lib"),
        ({**CONFIG, "cluster": {"storage": "link/below"}}, 403, "cluster.storage is "),
        ({**CONFIG, "cluster": {"address": "http://elsewhere:8265"}}, 403, "the server decides where pipelines run"),
        ({**CONFIG, "tracking": {"uri": "http://elsewhere:5000"}}, 403, "the server decides where pipelines run"),
        ({"data": {"kind": "meshes", "source": "nowhere"}}, 422, "data.source: there is no folder"),
        ({"suite": {"model": "/etc/passwd.pth"}, **CONFIG, "evaluations": [{"task": "svm"}]}, 403, "suite.model is /etc/passwd.pth"),
        ({**CONFIG, "name": "../../etc"}, 422, "name: String should match pattern"),
        ({**CONFIG, "tracking": {"experiment": "a\0b"}}, 422, "no file name and no database takes"),
        ({**CONFIG, "tracking": {"experiment": "\ud800"}}, 422, "no file name and no database takes"),
        ("a: [1, 2", 422, "is not valid YAML"),
        ("- 1", 422, "holds list, not a mapping"),
        ("a: &x [1]\nb: *x", 422, "YAML sent here has no anchors"),
        ("a: 1\na: 2", 422, "written twice"),
        ("[" * 5000, 422, "config: is n"),
        ("1: a\nb: 2", 422, "the key 1 is no name"),
        ("2024-01-01: a", 422, "is no name"),
        ("seed: 0x" + "f" * 4000, 422, "a number in it is too large"),
        ({**CONFIG, "cluster": {"storage": "~nosuchuser/x"}}, 422, "a path in it cannot be used"),
        ({"data": {"kind": "meshes", "source": "x" * 300}}, 422, ""),
        ({"suite": {"model": "x/" + "y" * 300}, **CONFIG, "evaluations": [{"task": "svm"}]}, 403, "suite.model is x/yyy"),
        ({**CONFIG, "evaluations": [{"task": "fewshot"}] * 100}, 422, "evaluations"),
        ({**CONFIG, "evaluations_at_once": 50}, 422, "evaluations_at_once is 50, and here at most 4 run"),
        ({**CONFIG, "cluster": {"cpus_per_worker": 1e-320}}, 201, ""),
        ({**CONFIG, "cluster": {"autoscales": True}}, 403, "cluster.autoscales is the server's to say"),
        ({**CONFIG, "cluster": {"storage": "../home/cluster"}}, 403, "cluster.storage is"),
        ({**CONFIG, "tracking": {"experiment": "x" * 300}}, 422, "tracking.experiment"),
        ({"data": {"kind": "synthetic"}, "x": json.loads("[" * 60 + "]" * 60)}, 422, "nested too deeply"),
    ],
)
def test_a_config_that_cannot_be_taken_is_refused_with_the_reason(
    served: Served, tokens: dict[str, str], config: Any, status: int, said: str
) -> None:
    link = served.log.parent / "link"
    if not link.exists():
        link.symlink_to("/var")
    if status == 201:
        assert submit(served, tokens["anna"], config).status_code == 201
        return
    before = len(served.ask("GET", "/v1/pipelines?limit=200", tokens["anna"]).json()["pipelines"])
    assert said in problem(submit(served, tokens["anna"], config), status)
    assert len(served.ask("GET", "/v1/pipelines?limit=200", tokens["anna"]).json()["pipelines"]) == before


def test_a_yaml_bomb_is_refused_at_once(served: Served, tokens: dict[str, str]) -> None:
    levels = [f"{name}: &{name} [{', '.join(['*' + before] * 9)}]" for before, name in zip("abcdefgh", "bcdefghi", strict=True)]
    began = time.monotonic()
    assert "no anchors" in problem(submit(served, tokens["anna"], "\n".join(["a: &a [lol]", *levels])), 422)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"\xff\xfe", b"[" * 60_000, b'{"config": {}, "config": 1, "more": 2}', b'{"config": 5}', b"null",
        b'{"config": {"seed": NaN}}',
    ],
)
def test_a_body_that_is_no_submission_is_a_problem_and_never_a_fault_of_the_server(
    served: Served, tokens: dict[str, str], body: bytes
) -> None:
    answer = served.ask("POST", "/v1/pipelines", tokens["anna"], data=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500, answer.text
    problem(answer, answer.status_code)


def test_a_body_over_the_limit_is_refused_whether_its_length_is_told_or_not(served: Served, tokens: dict[str, str]) -> None:
    large = b'{"config": "' + b"x" * 70_000 + b'"}'
    assert "larger than 64 kB" in problem(served.ask("POST", "/v1/pipelines", tokens["anna"], data=large), 413)
    chunks = (large[first : first + 1000] for first in range(0, len(large), 1000))
    told = served.ask("POST", "/v1/pipelines", tokens["anna"], data=chunks, headers={"Content-Type": "application/json"})
    assert "larger than 64 kB" in problem(told, 413)


@pytest.mark.parametrize("path", ["/v1/pipelines/..%2F..%2Fetc", "/v1/pipelines/a%00b", "/v1/pipelines/" + "x" * 300,
                                  "/v1/pipelines/none/logs?stage=../x", "/v1/models/..%2Fx/1", "/v1/sweeps/%2e%2e"])  # fmt: skip
def test_names_that_lead_elsewhere_lead_nowhere(served: Served, tokens: dict[str, str], path: str) -> None:
    answer = served.ask("GET", path, tokens["viewer"])
    assert answer.status_code in (404, 422)
    assert "root:" not in answer.text


def test_what_is_away_is_503_with_a_time_to_come_back(served: Served, tokens: dict[str, str]) -> None:
    answer = served.ask("GET", "/v1/models", tokens["viewer"])
    assert "MLflow is down" in problem(answer, 503)
    assert int(answer.headers["retry-after"]) > 0
    ready = served.ask("GET", "/readyz")
    assert (ready.status_code, ready.json()["ledger"], ready.json()["leader"]) == (200, "ok", True)


def test_a_persons_share_of_the_queue_is_the_most_they_can_have(served: Served, tokens: dict[str, str]) -> None:
    made = [submit(served, tokens["few"]).status_code for _ in range(2)]
    assert made == [201, 201]
    assert "few has 2 pipelines that have not ended" in problem(submit(served, tokens["few"]), 429)
    first = served.ask("GET", "/v1/pipelines?owner=few&limit=1", tokens["few"]).json()["pipelines"][0]["pipeline"]
    served.ask("POST", f"/v1/pipelines/{first}/cancel", tokens["few"])
    assert submit(served, tokens["few"]).status_code == 201


def test_pages_follow_each_other_and_filters_hold(served: Served, tokens: dict[str, str]) -> None:
    seen: list[str] = []
    query, following = "limit=7", ""
    while True:
        page = served.ask("GET", f"/v1/pipelines?{query}{following}", tokens["viewer"]).json()
        seen += [one["pipeline"] for one in page["pipelines"]]
        if page["next"] is None:
            break
        following = f"&before={page['next']}"
    everything = served.ask("GET", "/v1/pipelines?limit=200", tokens["viewer"]).json()["pipelines"]
    assert seen == [one["pipeline"] for one in everything]
    mine = served.ask("GET", "/v1/pipelines?owner=anna&state=queued&limit=200", tokens["viewer"]).json()["pipelines"]
    assert {(one["owner"], one["state"]) for one in mine} == {("anna", "queued")}


def test_the_schema_the_check_and_the_documents_are_there(served: Served, tokens: dict[str, str]) -> None:
    assert "pretrain" in served.ask("GET", "/v1/config/schema", tokens["viewer"]).json()["properties"]
    checked = served.ask("POST", "/v1/config/check", tokens["viewer"], json={"config": CONFIG}).json()
    assert (checked["name"], len(checked["digest"])) == ("tiny", 16)
    document = served.ask("GET", "/openapi.json").json()
    assert document["paths"]["/v1/pipelines"]["post"]["requestBody"]
    page = served.ask("GET", "/docs").text
    assert "https://" not in page, "it comes without the internet"
    script = re.search(r'src="([^"]*swagger-ui-bundle.js)"', page)
    assert script is not None
    assert len(served.ask("GET", script[1]).content) > 1e6
    assert "adacrossnet_queue_length" in served.ask("GET", "/metrics").text


def test_the_log_names_who_asked_and_never_a_token(served: Served, tokens: dict[str, str]) -> None:
    served.ask("GET", "/v1/me", tokens["anna"])
    text = served.log.read_text()
    assert "GET /v1/me 200" in text
    assert not [name for name, token in tokens.items() if token[13:] in text]
