"""PostgreSQL itself, as a group's cluster uses it: the ledger over it from several threads, and an MLflow server with users."""
from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow import MlflowClient
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

from cluster.ports import free_ports
from cluster.server import start, wait_until
from service.ledger import Ledger
from service.tables import EMBEDDED, LOCAL, QUEUED, SUCCEEDED, UP
from tests.service.test_database import FIRST

pytestmark = pytest.mark.soak
ROOT = Path(__file__).parents[2]


@dataclass
class Postgres:
    """A running server, and the folder with the secrets of its cluster."""

    port: int
    folder: Path

    def run(self, statement: str, database: str = "adacrossnet") -> None:
        import psycopg

        password = (self.folder / "postgres-password").read_text()
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="adacrossnet", password=password, dbname=database, autocommit=True
        ) as connection:
            connection.execute(statement)

    def url(self, database: str) -> str:
        """Of a database, made by the script that makes the secrets."""
        return (self.folder / "ledger-url").read_text().removesuffix("adacrossnet") + database


def programs() -> Path:
    """The newest server that the system's packages brought. Skips, saying so, without one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    program = shutil.which("initdb")
    if program is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    return Path(program).resolve().parent


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server of its own on a free port, its data in a temporary folder, started as the user `postgres` where we are root."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (the extra `postgres`)")
    bin_ = programs()
    as_whom: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="acn-pg-", dir="/tmp"))  # not below pytest's own, which another user cannot enter
    try:
        (port,) = free_ports(1)
        made = folder / "secrets"
        subprocess.run([str(ROOT / "cluster" / "secrets.sh"), str(made), "127.0.0.1"], check=True, timeout=30)
        for path in made.iterdir():  # the script names PostgreSQL's own port
            path.write_text(path.read_text().replace("127.0.0.1:5432/", f"127.0.0.1:{port}/"))
        password = folder / "password"
        password.write_text((made / "postgres-password").read_text())
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            try:
                owner = pwd.getpwnam("postgres")
            except KeyError:
                pytest.skip("PostgreSQL does not run as root, and there is no user `postgres`")
            for path in (folder, password):
                os.chown(path, owner.pw_uid, owner.pw_gid)
            as_whom = ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
        data = folder / "data"
        init = [str(bin_ / "initdb"), "-D", str(data), "-U", "adacrossnet", "-A", "scram-sha-256", f"--pwfile={password}", "-E", "UTF8"]
        subprocess.run([*as_whom, *init], check=True, capture_output=True, timeout=120, cwd=folder)
        command = [*as_whom, str(bin_ / "postgres"), "-D", str(data), "-k", str(folder), "-h", "127.0.0.1", "-p", str(port)]
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
        try:
            found = Postgres(port, made)
            _until_it_answers(found, server, folder / "log")
            for database in ("adacrossnet", "mlflow", "mlflow_auth"):
                found.run(f"CREATE DATABASE {database}", "postgres")
            yield found
        finally:
            server.send_signal(2)  # SIGINT: connections are closed, nothing is waited for
            server.wait(30)
    finally:
        shutil.rmtree(folder)


def _until_it_answers(found: Postgres, server: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    until = time.monotonic() + 60
    while True:
        try:
            return found.run("SELECT 1", "postgres")
        except psycopg.OperationalError:
            assert server.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.1)


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database."""
    name = f"ledger_{secrets.token_hex(4)}"
    postgres.run(f"CREATE DATABASE {name}")
    yield postgres.url(name)
    postgres.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    opened = Ledger(url)
    yield opened
    opened.close()


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What each of `count` threads returned or raised, all let go at one moment."""
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count

    def one(number: int) -> None:
        barrier.wait()
        try:
            results[number] = work(number)
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_a_pipeline_is_stored_whole_and_found_again_by_another_connection(ledger: Ledger, url: str) -> None:
    ledger.add("p-1", "p", {"seed": 3, "nested": {"ä": [1.5, None]}}, ("prepare", "pretrain"), UP, EMBEDDED)
    ledger.add("p-2", "p", {}, ("prepare",), UP, EMBEDDED)
    other = Ledger(url)
    try:
        row = other.get("p-1")
        assert (row.config, row.state) == ({"seed": 3, "nested": {"ä": [1.5, None]}}, QUEUED)
        assert [stage.name for stage in row.stages] == ["prepare", "pretrain"]
        assert [one.id for one in other.recent(5)] == ["p-2", "p-1"]
        assert [one.id for one in other.waiting()] == ["p-1", "p-2"]
    finally:
        other.close()


def test_a_taken_id_is_refused_and_the_first_pipeline_stays(ledger: Ledger) -> None:
    ledger.add("p-1", "p", {"seed": 3}, ("prepare",), UP, EMBEDDED)
    with pytest.raises(ValueError, match="p-1 is taken"):
        ledger.add("p-1", "p", {"seed": 4}, ("prepare",), UP, EMBEDDED)
    assert ledger.get("p-1").config == {"seed": 3}
    with pytest.raises(ValueError, match="did you mean p-1"):
        ledger.get("p-11")


def test_one_id_that_many_add_at_once_is_added_once(ledger: Ledger) -> None:
    results = at_once(8, lambda number: ledger.add("p-1", "p", {"by": number}, ("prepare",), UP, EMBEDDED))
    assert sum(one is None for one in results) == 1
    assert all("p-1 is taken" in str(one) for one in results if one is not None)
    assert ledger.get("p-1").config == {"by": results.index(None)}


def test_an_attempt_that_two_submitters_record_at_once_is_recorded_once(ledger: Ledger) -> None:
    ledger.add("p-1", "p", {}, ("prepare",), UP, EMBEDDED)
    stage = ledger.get("p-1").stages[0]
    results = at_once(2, lambda _: ledger.start_attempt(stage))
    assert [type(one) for one in results if one is not None] == [IntegrityError]
    assert [one.job_id for one in ledger.get("p-1").stages[0].attempts] == ["p-1-prepare-1"]


def test_an_attempt_and_its_stage_end_together(ledger: Ledger) -> None:
    ledger.add("p-1", "p", {}, ("prepare",), UP, EMBEDDED)
    ledger.start_attempt(ledger.get("p-1").stages[0])
    ledger.end_attempt(ledger.get("p-1").stages[0].attempts[0], SUCCEEDED, SUCCEEDED, None)
    (stage,) = ledger.get("p-1").stages
    assert (stage.state, stage.attempts[0].state) == (SUCCEEDED, SUCCEEDED)


def test_one_of_many_holders_gets_the_lease_and_keeps_it(ledger: Ledger) -> None:
    results = at_once(8, lambda number: ledger.leases.acquire("shared", str(number), 60))
    assert sorted(results) == [False] * 7 + [True]
    winner = str(results.index(True))
    assert ledger.leases.holder("shared") == winner
    again = at_once(8, lambda number: ledger.leases.acquire("shared", str(number), 60))
    assert again == results, "its holder renews it, the others still get none"


def test_two_holders_that_come_and_go_are_never_inside_together(ledger: Ledger) -> None:
    inside: list[int] = []
    most: list[int] = []

    def come_and_go(number: int) -> int:
        entered = 0
        until = time.monotonic() + 3
        while time.monotonic() < until:
            if ledger.leases.acquire("shared", str(number), 30):
                inside.append(number)
                most.append(len(inside))
                time.sleep(0.01)
                inside.remove(number)
                ledger.leases.release("shared", str(number))
                entered += 1
            time.sleep(0.002)
        return entered

    entered = at_once(2, come_and_go)
    assert min(entered) > 3, f"both came in: {entered}"
    assert max(most) == 1


def test_a_lease_whose_holder_died_goes_to_one_of_those_who_wait(ledger: Ledger) -> None:
    assert ledger.leases.acquire("shared", "dead", -1)
    results = at_once(8, lambda number: ledger.leases.acquire("shared", str(number), 60))
    assert sum(one is True for one in results) == 1


def test_replicas_that_open_an_empty_database_at_once_all_open_it(url: str) -> None:
    opened = at_once(4, lambda _: Ledger(url))
    try:
        assert [one for one in opened if not isinstance(one, Ledger)] == []
    finally:
        for one in opened:
            if isinstance(one, Ledger):
                one.close()


def test_tables_of_the_first_version_are_brought_up_to_date_with_what_they_hold(url: str) -> None:
    old = FIRST.replace(" DOUBLE", " DOUBLE PRECISION").replace("0, 0, NULL, 'up'", "false, false, NULL, 'up'")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(old)
    engine.dispose()
    results = at_once(3, lambda _: Ledger(url))
    ledgers = [one for one in results if isinstance(one, Ledger)]
    assert len(ledgers) == 3, results
    row = ledgers[0].get("old-1")
    assert (row.owner, row.admitted, row.stages[0].attempts[0].job_id) == (LOCAL, True, "old-1-prepare-1")
    assert [one.id for one in ledgers[0].waiting()] == ["old-2"]
    for one in ledgers:
        one.close()


def test_a_wrong_password_is_named_without_it(url: str) -> None:
    with pytest.raises(ValueError, match="cannot be opened") as raised:
        Ledger(re.sub(r"(adacrossnet):\w+@", r"\1:wrongsecret@", url))
    assert "wrongsecret" not in str(raised.value)
    assert "password authentication failed" in str(raised.value)


def test_mlflow_keeps_its_records_and_its_users_in_postgresql(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started as the manifests start it, over the files that the script of secrets wrote."""
    pytest.importorskip("flask_wtf", reason="MLflow's users need Flask-WTF (the extra `tracking-server`)")
    (port,) = free_ports(1)
    where = postgres.folder
    program = f"{sys.executable} -P -m mlflow server --host 127.0.0.1 --port {port} --workers 1 --app-name basic-auth"
    serve = f"exec {program} --serve-artifacts --artifacts-destination {tmp_path}"
    env = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    env |= {"MLFLOW_AUTH_CONFIG_PATH": str(where / "basic_auth.ini"), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    env |= {"MLFLOW_DISABLE_TELEMETRY": "true"}
    command = ["sh", "-c", f"set -a && . {where}/mlflow.env && set +a && {serve}"]
    server = start("the MLflow server", command, env, tmp_path / "log", port, survives=False, grace=5.0)
    base = f"http://127.0.0.1:{port}"
    try:
        wait_until(server, lambda: requests.get(f"{base}/health", timeout=5).status_code == 200, 120)
        assert requests.get(f"{base}/api/2.0/mlflow/experiments/get?experiment_id=0", timeout=30).status_code == 401
        monkeypatch.setenv("HOME", str(tmp_path))  # a node's: the file lies where MLflow's clients look for it
        (tmp_path / ".mlflow").mkdir()
        (tmp_path / ".mlflow" / "credentials").write_text((where / "credentials").read_text())
        client = MlflowClient(base)
        experiment = client.create_experiment("shapes")
        run = client.create_run(experiment, tags={"stage": "pretrain"}).info.run_id
        client.log_metric(run, "train/loss", 0.25, step=7)
        client.set_terminated(run, "FINISHED")
        found = MlflowClient(base).search_runs([experiment], "tags.stage = 'pretrain'")
        assert [(one.info.run_id, one.info.status, one.data.metrics) for one in found] == [(run, "FINISHED", {"train/loss": 0.25})]
    finally:
        server.ask_to_stop()
        server.wait_stopped()
    engine = create_engine(postgres.url("mlflow"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT run_uuid FROM runs")).scalars().all() == [run]
    engine.dispose()


def test_of_two_services_over_postgresql_one_leads_and_when_it_dies_the_other_does(postgres: Postgres, url: str, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ADACROSSNET_", "RAY_", "MLFLOW_"))}
    environment |= {
        "ADACROSSNET_LEDGER": url, "ADACROSSNET_HOME": str(tmp_path / "state"),
        "RAY_ADDRESS": "http://127.0.0.1:9", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",  # nobody is there, and nothing is queued
    }  # fmt: skip
    program = [sys.executable, "-m", "service.cli"]
    create = [*program, "token", "create", "anna", "--role", "admin"]
    made = subprocess.run(create, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert made.returncode == 0, made.stderr
    ports = free_ports(2)
    running = []
    try:
        for port in ports:
            command = [*program, "serve", "--host", "0.0.0.0", "--port", str(port)]
            with (tmp_path / f"log-{port}").open("w") as log:
                running.append(subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT))
        first = _leader(ports, 60)
        running[first].kill()
        assert _leader([ports[1 - first]], 90) == 0
        answer = requests.get(
            f"http://127.0.0.1:{ports[1 - first]}/metrics", headers={"Authorization": f"Bearer {made.stdout.strip()}"}, timeout=10
        )
        assert answer.status_code == 200, answer.text
        assert "adacrossnet_leader 1.0" in answer.text
    finally:
        for one in running:
            one.kill()
            one.wait()


def _leader(ports: list[int], seconds: float) -> int:
    """Which of the services says that it leads, once all answer and exactly one does."""
    until = time.monotonic() + seconds
    said: list[Any] = []
    while time.monotonic() < until:
        try:
            said = [requests.get(f"http://127.0.0.1:{port}/readyz", timeout=10).json() for port in ports]
        except requests.RequestException as error:
            said = [error]
        else:
            leading = [number for number, one in enumerate(said) if one["leader"]]
            assert len(leading) <= 1, said
            if leading:
                return leading[0]
        time.sleep(0.5)
    raise AssertionError(f"nobody leads: {said}")
