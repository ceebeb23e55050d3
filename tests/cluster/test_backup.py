"""Copies of databases that are in use: complete, whole, and for their owner alone."""
from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from cluster.backup import backup


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM shapes").fetchone()[0]


def test_a_copy_holds_what_was_committed_though_it_lies_in_the_write_ahead_log(tmp_path: Path) -> None:
    source, target = tmp_path / "state", tmp_path / "shared" / "backup"
    source.mkdir()
    with closing(sqlite3.connect(source / "ledger.sqlite")) as live:
        live.execute("PRAGMA journal_mode=WAL")
        live.execute("CREATE TABLE shapes (id INTEGER)")
        live.executemany("INSERT INTO shapes VALUES (?)", [(one,) for one in range(100)])
        live.commit()
        live.execute("INSERT INTO shapes VALUES (100)")  # not committed
        assert (source / "ledger.sqlite-wal").stat().st_size
        assert backup(source, target) == [target / "ledger.sqlite"]
    assert rows(target / "ledger.sqlite") == 100
    assert stat.S_IMODE((target / "ledger.sqlite").stat().st_mode) == 0o600
    assert [path.name for path in target.iterdir()] == ["ledger.sqlite"]


def test_a_copy_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    target = tmp_path / "backup"
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as live:
        live.execute("CREATE TABLE shapes (id INTEGER)")
        live.commit()
    backup(tmp_path, target)
    (tmp_path / "a.sqlite").write_text("this is no database, " * 50)
    with pytest.raises(sqlite3.DatabaseError):
        backup(tmp_path, target)
    assert rows(target / "a.sqlite") == 0
