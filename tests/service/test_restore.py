"""A copy of the ledger, made while the service takes submissions, brings everything back that was in it."""
from __future__ import annotations

import threading
from pathlib import Path

from cluster.backup import backup
from tests.service.server import serving

CONFIG = {"name": "kept", "data": {"kind": "synthetic"}, "cluster": {"min_free_gb": 0}}


def test_what_was_in_the_backup_is_queued_again_after_the_ledger_was_lost(tmp_path: Path) -> None:
    home, kept = tmp_path / "home", tmp_path / "backup"
    with serving(home, tmp_path / "root") as served:
        token = served.token("anna")
        before = [served.ask("POST", "/v1/pipelines", token, json={"config": CONFIG}).json()["pipeline"] for _ in range(20)]
        later: list[str] = []

        def more() -> None:
            for _ in range(40):
                later.append(served.ask("POST", "/v1/pipelines", token, json={"config": CONFIG}).json()["pipeline"])

        writing = threading.Thread(target=more)
        writing.start()
        assert [path.name for path in backup(home, kept)] == ["ledger.sqlite"]
        writing.join()
    for path in home.glob("ledger.sqlite*"):
        path.unlink()
    (kept / "ledger.sqlite").rename(home / "ledger.sqlite")
    with serving(home, tmp_path / "root") as served:
        found = served.ask("GET", "/v1/queue?limit=1000", token).json()["first"]
        restored = [one["pipeline"] for one in found]
        assert restored[:20] == before, "in the order in which they came"
        assert set(restored) <= {*before, *later}
        assert served.ask("GET", f"/v1/pipelines/{before[0]}", token).json()["owner"] == "anna"
