"""The service's SQL database: opened by its URL, its tables made or brought up to date, sessions for reading and for writing."""
from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from service.tables import Table, Version

_BUSY_S = 30  # a writer waits this long for another process's lock
MIGRATION = "0001"  # the newest in service/migrations/versions: what the tables of this version stand at
_LOCK = 0x61636E  # a number that PostgreSQL's advisory lock is known by


class Database:
    """Any database SQLAlchemy knows, SQLite (WAL) by default; the tables are made, or those of an older version migrated, on opening.

    Raises ValueError, naming the URL without its password, when it is none, its driver is missing, no database answers there, or a newer
    version of this project has written it.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
            sqlite = parsed.get_backend_name() == "sqlite"
            if sqlite and parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            # Many short requests at once: a connection each is cheap in SQLite, and PostgreSQL's own limit is 100.
            options: dict[str, Any] = {"connect_args": {"timeout": _BUSY_S}} if sqlite else {"pool_pre_ping": True}
            self.engine = create_engine(url, pool_size=8, max_overflow=32, **options)
        except (SQLAlchemyError, ImportError, ValueError) as error:
            raise _unusable(url, error) from None
        # SQLite takes one writer at a time, and those who wait for its lock look for it ever more rarely: they queue here instead.
        self._writing = threading.Lock() if sqlite else nullcontext()
        if sqlite:
            event.listen(self.engine, "connect", _write_ahead)
        try:
            self._bring_up_to_date()
        except SQLAlchemyError as error:
            self.engine.dispose()
            raise _unusable(url, error) from None

    def close(self) -> None:
        """Closes every connection."""
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose changes are committed whole, or not at all when an exception leaves it."""
        with self._writing, Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def _bring_up_to_date(self) -> None:
        """One query where everything stands as it should, which is nearly always."""
        if self._stands_at() == MIGRATION:
            return
        with self.engine.begin() as connection:
            if connection.dialect.name == "postgresql":  # two services may open a new database at once
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            elif connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            stands_at = self._stands_at(connection)
            if stands_at == MIGRATION:
                return
            if stands_at is not None and stands_at > MIGRATION:
                raise SQLAlchemyError(f"a newer version of adacrossnet has written it (migration {stands_at}, this one knows {MIGRATION})")
            if inspect(connection).has_table("pipelines"):
                _migrate(connection)
            else:
                Table.metadata.create_all(connection)
                connection.execute(Version.__table__.insert().values(version_num=MIGRATION))  # type: ignore[attr-defined]

    def _stands_at(self, connection: Connection | None = None) -> str | None:
        if connection is None:
            with self.engine.connect() as own:
                return self._stands_at(own)
        if not inspect(connection).has_table(Version.__tablename__):
            return None
        found: str | None = connection.execute(text(f"SELECT version_num FROM {Version.__tablename__}")).scalar()
        return found


def _migrate(connection: Connection) -> None:
    from alembic import command  # 0.2 s
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, MIGRATION)


def _unusable(url: str, error: Exception) -> ValueError:
    shown = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)  # also of what SQLAlchemy cannot parse
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    missing = ", its driver, which is to be installed" if isinstance(error, ImportError) else ""
    reason = (str(cause).splitlines() or [type(cause).__name__])[0]
    return ValueError(
        f"the ledger {shown} cannot be opened ({reason}{missing}): ADACROSSNET_LEDGER takes the URL of a database as SQLAlchemy writes it, "
        "sqlite:////folder/ledger.sqlite or postgresql+psycopg://user@host/name; unset, the ledger is ledger.sqlite in the state folder"
    )


def _write_ahead(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")  # readers never wait for the writer
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA wal_autocheckpoint=8000")  # pages; a checkpoint waits for the disk, and the writers for it
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
