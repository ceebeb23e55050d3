"""Where the state folder is and what lies where in it."""
from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """The state folder (`runs/` unless --state or ADACROSSNET_HOME says otherwise): ledger, embedded cluster, results."""

    path: Path

    @classmethod
    def find(cls, state: Path | None = None) -> Home:
        """--state goes before ADACROSSNET_HOME, which goes before `runs/` in the current folder."""
        return cls(Path(state or os.environ.get("ADACROSSNET_HOME") or "runs").expanduser().resolve())

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy's URL of the ledger: ADACROSSNET_LEDGER, or what stands in the file that ADACROSSNET_LEDGER_FILE names.

        ValueError when that file cannot be read.
        """
        if url := os.environ.get("ADACROSSNET_LEDGER"):
            return url
        path = os.environ.get("ADACROSSNET_LEDGER_FILE")  # a URL with a password belongs into no environment
        if not path:
            return f"sqlite:///{self.path / 'ledger.sqlite'}"
        try:
            return Path(path).expanduser().read_text().strip()
        except OSError as error:
            raise ValueError(f"ADACROSSNET_LEDGER_FILE names {path}, which cannot be read ({error.strerror})") from None

    @property
    def shared_ledger(self) -> bool:
        """Whether the ledger may serve several machines: any database but SQLite's file."""
        return not self.ledger_url.startswith("sqlite")

    @property
    def settings_file(self) -> Path:
        """The settings of the service that was last started here: commands that act in its place act by them."""
        return self.path / "service.json"

    def results(self, pipeline: str) -> Path:
        """The folder of a pipeline's summary, pictures and logs."""
        return self.path / "pipelines" / pipeline

    def log(self, pipeline: str, stage: str, attempt: int) -> Path:
        """Where the log of an ended job is kept: the job server forgets it when its head stops."""
        return self.results(pipeline) / "logs" / f"{stage}-{attempt}.log"

    def keep_log(self, pipeline: str, stage: str, attempt: int, text: str) -> None:
        """Writes a job's log to its place."""
        path = self.log(pipeline, stage, attempt)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def project_tree() -> Path:
    """The folder that holds `jobs/`, whose copy every job runs in; ADACROSSNET_PROJECT overrides it.

    Raises ValueError when there is no `jobs/` in it.
    """
    tree = Path(os.environ.get("ADACROSSNET_PROJECT") or Path(__file__).parents[1]).resolve()
    if not (tree / "jobs").is_dir():
        raise ValueError(f"{tree} holds no jobs/ folder: set ADACROSSNET_PROJECT to a checkout of the project")
    return tree
