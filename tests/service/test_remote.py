"""The command line over --server: the same words as without, the token out of a file, and what each fault says."""
from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.home import Home
from service.ledger import Ledger
from service.submitter import Submitter
from tests.service.conftest import environment
from tests.service.server import Served, serving

CONFIG = "name: remote\ndata: {kind: synthetic}\ncluster: {min_free_gb: 0.0}\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("remote")
    with serving(folder / "home", folder / "root") as one:
        (folder / "root" / "token").write_text(one.token("anna") + "\n")
        (folder / "root" / "admin").write_text(one.token("root", "admin"))
        (folder / "root" / "config.yaml").write_text(CONFIG)
        yield one


def command(served: Served, *arguments: str, token: str = "token", server: str | None = None) -> subprocess.CompletedProcess[str]:
    folder = served.log.parent
    env = environment(ADACROSSNET_SERVER=server or served.url, ADACROSSNET_TOKEN_FILE=str(folder / token))
    line = [sys.executable, "-m", "service.cli", *arguments]
    return subprocess.run(line, cwd=folder, env={**env, "PYTHONPATH": str(Path(__file__).parents[2])}, capture_output=True, text=True)


def test_submit_list_show_cancel_and_resume_over_a_server(served: Served) -> None:
    done = command(served, "submit", "config.yaml", "--set", "pretrain.epochs=3", "--priority", "5")
    assert (done.returncode, done.stderr) == (0, "its cluster does not run: it is queued, and goes on once that is up\n")
    pipeline = done.stdout.strip()
    facts = json.loads(command(served, "show", pipeline, "--json").stdout)
    assert (facts["owner"], facts["priority"], facts["config"]["pretrain"]["epochs"]) == ("anna", 5, 3)
    assert facts["config"]["cluster"]["storage"] == str(served.log.parent / "runs" / "storage"), "a path of the server, not of the client"
    assert pipeline in command(served, "list").stdout
    assert "prepare" in command(served, "show", pipeline).stdout
    assert "is cancelled" in command(served, "cancel", pipeline).stdout
    again = command(served, "cancel", pipeline)
    assert (again.returncode, again.stderr) == (1, f"error: {served.url}: {pipeline} has ended already (cancelled)\n")
    assert "is queued" in command(served, "resume", pipeline).stdout
    assert command(served, "logs", pipeline).returncode == 0


def test_status_top_data_and_the_trail_over_a_server(served: Served) -> None:
    assert "the embedded cluster is down" in command(served, "status").stdout
    assert "Waiting" in command(served, "top", "--once").stdout
    assert json.loads(command(served, "data", "list", "--json").stdout) == []
    assert "needs the role admin" in command(served, "audit").stderr
    assert "POST /v1/pipelines" in command(served, "audit", token="admin").stdout


@pytest.mark.parametrize(
    ("arguments", "server", "token", "said"),
    [
        (["list"], "http://127.0.0.1:9", "token", "no service answers at http://127.0.0.1:9"),
        (["list"], "127.0.0.1:8000", "token", "--server is '127.0.0.1:8000': it must be the URL"),
        (["list"], "http://a:b@127.0.0.1:8000", "token", "--server holds a password"),
        (["list"], None, "missing", "ADACROSSNET_TOKEN_FILE names"),
        (["list"], None, "config.yaml", "which holds no token"),
        (["show", "none-such"], None, "token", "no pipeline 'none-such'"),
        (["models", "list"], None, "token", "MLflow is down"),
        (["models", "show", "../x"], None, "token", "names no model version"),
        (["submit", "nowhere.yaml"], None, "token", "nowhere.yaml: cannot be read"),
    ],
)
def test_what_goes_wrong_is_said_in_a_line(served: Served, arguments: list[str], server: str | None, token: str, said: str) -> None:
    done = command(served, *arguments, server=server, token=token)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_tokens_are_made_listed_and_revoked_where_the_ledger_is(served: Served) -> None:
    def here(*arguments: str) -> subprocess.CompletedProcess[str]:
        return command(served, *arguments, "--state", str(served.home))

    made = here("token", "create", "carl", "--role", "viewer", "--days", "2")
    token = made.stdout.strip()
    assert "not shown again" in made.stderr
    assert served.ask("GET", "/v1/me", token).json() == {"name": "carl", "role": "viewer"}
    assert "carl" in here("token", "list").stdout
    assert token not in here("token", "list", "--json").stdout
    assert here("token", "revoke", "carl").stdout == f"revoked {token[4:12]}\n"
    assert served.ask("GET", "/v1/me", token).status_code == 401
    assert "no token 'carl' that is not revoked" in here("token", "revoke", "carl").stderr
    for wrong, said in ((("create", "a b"), "names nobody"), (("create", "dora", "--role", "king"), "one of viewer, submitter, admin"),
                        (("create", "local"), "choose another name"), (("create", "dora", "--days", "-1"), "a token lives")):  # fmt: skip
        assert said in here("token", *wrong).stderr


def test_a_service_that_others_can_reach_needs_a_token_first(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "service.cli", "serve", "--host", "0.0.0.0", "--port", "0", "--state", str(tmp_path)]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "no token exists, so everyone might do everything" in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("at_one: 2", "at_one: Extra inputs are not permitted"),
        ("at_once: 0", "at_once: Input should be greater than or equal to 1"),
        ("webhooks: [{url: 'ftp://x', secret_file: s}]", "webhooks.0.url: Value error, must be an http:// or https:// URL"),
        ("proxies: [here]", "proxies: Value error, 'here' is no network"),
        ("promotion: nowhere.yaml", "there is no rule"),
        ("{", "is not YAML"),
    ],
)
def test_settings_that_are_none_are_refused_before_anything_is_served(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "service.yaml").write_text(text)
    options = ["--port", "0", "--state", str(tmp_path), "--config", str(tmp_path / "service.yaml")]
    line = [sys.executable, "-m", "service.cli", "serve", *options]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_said(served: Served, tmp_path: Path) -> None:
    port = served.url.rpartition(":")[2]
    line = [sys.executable, "-m", "service.cli", "serve", "--port", port, "--state", str(tmp_path)]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, "cannot be listened on (Address already in use)" in done.stderr) == (1, True)


def test_a_command_that_acts_in_the_services_place_acts_by_its_settings(tmp_path: Path) -> None:
    with serving(tmp_path / "home", tmp_path / "root", "at_once: 7\nquotas: {anna: {running: 1}}\n"):
        pass
    home = Home(tmp_path / "home")
    ledger = Ledger(home.ledger_url)
    submitter = Submitter(ledger, home)
    assert (submitter.settings.at_once, submitter.settings.quota_of("anna").running) == (7, 1)
    home.settings_file.write_text("{")
    assert Submitter(ledger, home).settings.at_once == 2
    ledger.close()
