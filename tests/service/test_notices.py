"""Where webhooks may lead, how often they are tried, and that the address that was checked is the one that is called."""
from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from service.ledger import Ledger
from service.notices import Undeliverable, _address, deliver_due, signature
from service.settings import Settings, Webhook
from service.tables import Notice


def hook(url: str = "http://127.0.0.1:9/x", private: bool = False, **more: Any) -> Webhook:
    return Webhook(url=url, secret_file=Path(__file__), private=private, **more)


def answers(*addresses: str) -> Any:
    return lambda *_: [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 80)) for address in addresses]


PRIVATE = (
    "127.0.0.1", "10.1.2.3", "192.168.0.9", "169.254.169.254", "::1", "fd00::1", "0.0.0.0", "100.64.0.1", "::ffff:127.0.0.1",
    "64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1",  # wrapped for translation; multicast
)


@pytest.mark.parametrize("address", PRIVATE)
def test_no_private_address_is_called_whatever_name_leads_there(address: str) -> None:
    with pytest.raises(Undeliverable, match="this machine or in a private network"):
        _address(hook("https://hook.example.org/x"), answers(address))
    with pytest.raises(Undeliverable, match="private network"):
        _address(hook("https://hook.example.org/x"), answers("93.184.216.34", address))
    assert _address(hook("https://hook.example.org/x", private=True), answers(address)) == address


def test_a_public_address_is_called() -> None:
    assert _address(hook("https://hook.example.org/x"), answers("93.184.216.34")) == "93.184.216.34"


def test_a_notice_is_tried_so_often_and_given_up(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    settings = Settings(webhooks=(hook(private=True),), webhook_tries=3, webhook_first_wait_s=0.001)
    ledger.webhooks = settings.webhooks
    ledger.note("promoted", {"version": "m/1"})
    for expected in (1, 2, 3, 3):
        assert deliver_due(ledger.database, settings) == 0
        with ledger.database.read() as session:
            row = session.get_one(Notice, 1)
            assert row.tries == expected
            assert "no answer" in str(row.message)
        time.sleep(0.01)
    assert row.next_try is None
    ledger.close()


def test_only_events_that_a_hook_asks_for_are_written_down(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    ledger.webhooks = (hook("http://a.example.org", events=("failed",)), hook("http://b.example.org"))
    ledger.note("succeeded", {})
    ledger.note("failed", {})
    with ledger.database.read() as session:
        assert [(row.target, row.event) for row in session.query(Notice).order_by(Notice.id)] == [
            ("http://b.example.org", "succeeded"), ("http://a.example.org", "failed"), ("http://b.example.org", "failed"),
        ]  # fmt: skip
    ledger.close()


def test_the_signature_is_of_the_time_and_the_body() -> None:
    known = "t=1700000000,v1=6cb9ad5e8d4a7a5f3d2b8f6f6b3f6a7d"
    made = signature(b"key", 1_700_000_000, b'{"id": 1}')
    assert made.startswith("t=1700000000,v1=")
    assert len(made) == len(known) + 32
    assert made != signature(b"key", 1_700_000_001, b'{"id": 1}')
    assert made != signature(b"other", 1_700_000_000, b'{"id": 1}')
