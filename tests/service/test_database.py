"""Opening a database: tables that an older version made are brought up to date with what they hold, those of a newer one are refused."""
from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from service.database import MIGRATION, Database
from service.ledger import Ledger
from service.tables import EMBEDDED, LOCAL, RUNNING, UP, Table
from tests.service.conftest import environment

FIRST = """
CREATE TABLE pipelines (id VARCHAR(80) NOT NULL PRIMARY KEY, name VARCHAR(80) NOT NULL, config JSON NOT NULL, state VARCHAR(16) NOT NULL,
    created DOUBLE NOT NULL, ended DOUBLE, run_id VARCHAR(64), cancel_requested BOOLEAN NOT NULL, records_open BOOLEAN NOT NULL,
    message VARCHAR, cluster VARCHAR NOT NULL, tracking VARCHAR NOT NULL);
CREATE INDEX ix_pipelines_state ON pipelines (state);
CREATE TABLE stages (id INTEGER NOT NULL PRIMARY KEY, pipeline_id VARCHAR(80) NOT NULL REFERENCES pipelines (id), name VARCHAR(40) NOT NULL,
    position INTEGER NOT NULL, state VARCHAR(16) NOT NULL, run_id VARCHAR(64), message VARCHAR, seconds DOUBLE, UNIQUE (pipeline_id, name));
CREATE INDEX ix_stages_pipeline_id ON stages (pipeline_id);
CREATE TABLE attempts (id INTEGER NOT NULL PRIMARY KEY, stage_id INTEGER NOT NULL REFERENCES stages (id), number INTEGER NOT NULL,
    job_id VARCHAR(160) NOT NULL, state VARCHAR(16) NOT NULL, started DOUBLE, ended DOUBLE, message VARCHAR,
    UNIQUE (stage_id, number), UNIQUE (job_id));
CREATE INDEX ix_attempts_stage_id ON attempts (stage_id);
CREATE TABLE lease (scope VARCHAR(100) NOT NULL PRIMARY KEY, holder VARCHAR(300) NOT NULL, expires DOUBLE NOT NULL);
INSERT INTO pipelines VALUES ('old-1', 'old', '{"seed": 3}', 'running', 1.0, NULL, 'r', 0, 0, NULL, 'up', 'embedded');
INSERT INTO pipelines VALUES ('old-2', 'old', '{"seed": 4}', 'queued', 2.0, NULL, NULL, 0, 0, NULL, 'up', 'embedded');
INSERT INTO stages VALUES (1, 'old-1', 'prepare', 0, 'running', 'r2', NULL, NULL);
INSERT INTO attempts VALUES (1, 1, 1, 'old-1-prepare-1', 'running', 1.5, NULL, NULL);
"""


def test_a_ledger_of_the_first_version_is_brought_up_to_date_and_keeps_what_it_holds(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:
        connection.executescript(FIRST)
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    row = ledger.get("old-1")
    assert (row.state, row.owner, row.priority, row.admitted) == (RUNNING, LOCAL, 0, True)
    assert row.stages[0].attempts[0].job_id == "old-1-prepare-1"
    assert [one.id for one in ledger.waiting()] == ["old-2"]
    ledger.add("new-1", "new", {}, ("prepare",), UP, EMBEDDED, owner="anna", priority=3)
    with ledger.database.engine.connect() as open_connection:
        differences = compare_metadata(MigrationContext.configure(open_connection), Table.metadata)
    assert differences == [], "migrated tables are those that a new ledger gets"
    ledger.close()
    again = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    assert len(again.recent(10)) == 3
    again.close()


def test_a_ledger_that_a_newer_version_has_written_is_refused_and_left_alone(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/ledger.sqlite")
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(ValueError, match=f"a newer version of adacrossnet has written it .migration 9999, this one knows {MIGRATION}"):
        Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")


def test_many_processes_that_open_a_new_ledger_at_once_all_find_it_whole(tmp_path: Path) -> None:
    code = "import sys; from service.ledger import Ledger; print(len(Ledger(sys.argv[1]).recent(5)))"
    command = [sys.executable, "-c", code, f"sqlite:///{tmp_path}/ledger.sqlite"]
    running = [subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(6)]
    said = [one.communicate(timeout=60)[0] for one in running]
    assert said == ["0\n"] * 6
