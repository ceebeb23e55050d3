"""The secrets of a cluster: written once, whole, for their owner's eyes, agreeing with one another."""
from __future__ import annotations

import configparser
import re
import stat
import subprocess
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from tests.cluster.tree import CLUSTER


def write(folder: Path, *more: str) -> None:
    subprocess.run([str(CLUSTER / "secrets.sh"), str(folder), *more], check=True, timeout=30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "secrets")
    return tmp_path / "secrets"


def test_each_named_file_is_written_and_only_its_owner_reads_it(folder: Path) -> None:
    named = set(re.findall(r"^# ([\w.-]+)  ", (CLUSTER / "secrets.sh").read_text(), re.MULTILINE))
    assert {path.name for path in folder.iterdir()} == named
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 and path.stat().st_size for path in folder.iterdir())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_second_run_changes_nothing(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_two_clusters_share_no_secret(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "other")
    for path in folder.iterdir():
        assert path.read_bytes() != (tmp_path / "other" / path.name).read_bytes()


def test_a_token_has_256_bits_and_no_end_of_line(folder: Path) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", (folder / "ray-token").read_text())


def test_urls_hold_the_databases_password_and_the_host_that_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path, "db.example.com")
    password = (tmp_path / "postgres-password").read_text()
    users = configparser.ConfigParser()
    users.read(tmp_path / "basic_auth.ini")
    backend = re.search(r"^MLFLOW_BACKEND_STORE_URI=(.*)$", (tmp_path / "mlflow.env").read_text(), re.MULTILINE)
    assert backend is not None
    urls = [make_url(one) for one in ((tmp_path / "ledger-url").read_text(), backend[1], users["mlflow"]["database_uri"])]
    assert {(url.host, url.password, url.username) for url in urls} == {("db.example.com", password, "adacrossnet")}
    assert [url.database for url in urls] == ["adacrossnet", "mlflow", "mlflow_auth"]


def test_the_first_user_of_mlflow_is_the_one_whose_credentials_the_nodes_get(folder: Path) -> None:
    users, credentials = configparser.ConfigParser(), configparser.ConfigParser()
    users.read(folder / "basic_auth.ini")
    credentials.read(folder / "credentials")
    assert users["mlflow"]["admin_username"] == credentials["mlflow"]["mlflow_tracking_username"]
    assert users["mlflow"]["admin_password"] == credentials["mlflow"]["mlflow_tracking_password"]
