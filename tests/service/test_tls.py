"""https, and a proxy in front: whose address the trail holds."""
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import requests

from tests.service.server import serving

openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here, which makes the certificate")


@openssl
def test_https_is_served_with_a_certificate_of_ones_own(tmp_path: Path) -> None:
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    make += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(chain)]
    subprocess.run(make, check=True, capture_output=True)
    with serving(tmp_path / "home", tmp_path / "root", "", "--tls-cert", str(chain), "--tls-key", str(key)) as served:
        assert served.url.startswith("https://")
        assert requests.get(f"{served.url}/healthz", verify=str(chain), timeout=10).json() == {"status": "ok"}
        with pytest.raises(requests.RequestException):
            requests.get(f"{served.url}/healthz", timeout=10)
        with pytest.raises(requests.RequestException):
            requests.get(served.url.replace("https", "http") + "/healthz", timeout=10)


@pytest.mark.parametrize(("proxies", "address"), [("[127.0.0.1/32]", "203.0.113.9"), ("[]", "127.0.0.1")])
def test_the_address_that_a_proxy_tells_is_believed_of_proxies_alone(proxies: str, address: str, tmp_path: Path) -> None:
    with serving(tmp_path / "home", tmp_path / "root", f"proxies: {proxies}") as served:
        token = served.token("root", "admin")
        served.ask("POST", "/v1/pipelines/none/cancel", token, headers={"X-Forwarded-For": "203.0.113.9"})
        assert [one["address"] for one in served.ask("GET", "/v1/audit", token).json()] == [address]
