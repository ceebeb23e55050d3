"""The REST API from the other side: what `--server URL` calls. The token comes from the file that ADACROSSNET_TOKEN_FILE names."""
from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

_TIMEOUT_S = (5, 60)
_PAGE = 100  # pipelines
TOKEN_FILE = "ADACROSSNET_TOKEN_FILE"


class ServerAway(RuntimeError):
    """No service answers there."""


class Declined(ValueError):
    """The service answered that it does not do that; the message is its own."""


class Remote:
    """A service. ValueError for a URL that is none, or a token file that cannot be read."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"--server is {url!r}: it must be the URL of `adacrossnet serve`, https://host:8000")
        if parts.username or parts.password:
            raise ValueError(f"--server holds a password: name a file that holds the token in {TOKEN_FILE}")
        self.url = url.rstrip("/")
        self._session = requests.Session()
        token = _token()
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, **params: Any) -> Any:
        """The JSON under a path. Raises ServerAway, Declined."""
        return self._ask("GET", path, params={key: value for key, value in params.items() if value is not None}).json()

    def pipelines(self) -> Iterator[dict[str, Any]]:
        """Every pipeline, newest first, a page at a time."""
        before = None
        while True:
            page = self.get("/v1/pipelines", limit=_PAGE, before=before)
            yield from page["pipelines"]
            if (before := page["next"]) is None:
                return

    def post(self, path: str, body: dict[str, Any] | None = None, once: bool = False) -> Any:
        """The JSON answer to a POST; `once`: with an idempotency key, so that asking again after a broken connection is safe."""
        headers = {"Idempotency-Key": secrets.token_hex(16)} if once else {}
        try:
            return self._ask("POST", path, json=body, headers=headers).json()
        except ServerAway:
            if not once:
                raise
            return self._ask("POST", path, json=body, headers=headers).json()

    def lines(self, path: str, **params: Any) -> Iterator[str]:
        """A text as it comes."""
        params = {key: value for key, value in params.items() if value is not None}
        answer = self._ask("GET", path, params=params, stream=True, timeout=(5, 600))
        answer.encoding = "utf-8"
        try:
            yield from answer.iter_content(chunk_size=None, decode_unicode=True)
        except requests.RequestException as error:
            raise ServerAway(f"the connection to {self.url} broke ({type(error).__name__}): ask again") from None

    def _ask(self, method: str, path: str, timeout: tuple[float, float] = _TIMEOUT_S, **options: Any) -> requests.Response:
        try:
            answer = self._session.request(method, self.url + path, timeout=timeout, **options)
        except requests.RequestException as error:
            raise ServerAway(f"no service answers at {self.url} ({type(error).__name__}): is `adacrossnet serve` up?") from None
        if answer.ok:
            return answer
        try:
            detail = str(answer.json()["detail"])
        except (ValueError, KeyError, TypeError):
            detail = f"it answered {answer.status_code}, which is not this service's way: {answer.text[:200]}"
        if answer.status_code == 401:
            detail += f" (the token comes from the file that {TOKEN_FILE} names)"
        raise Declined(f"{self.url}: {detail}")


def _token() -> str | None:
    path = os.environ.get(TOKEN_FILE)
    if not path:
        return None
    try:
        token = Path(path).expanduser().read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{TOKEN_FILE} names {path}, which cannot be read ({getattr(error, 'strerror', 'it is no text')})") from None
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise ValueError(f"{TOKEN_FILE} names {path}, which holds no token: that is one word, as `adacrossnet token create` prints it")
    return token
