"""What the platform's people decide for everybody: how much runs at once, whose share is how large, which paths jobs may name."""
from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import Field, ValidationError, field_validator

from jobs.config.places import Folder, PlaceField, Uri
from jobs.config.strict import Count, Positive, Strict

RULE = Path(__file__).parents[1] / "configs" / "promotion.yaml"
AT_ONCE = 2  # pipelines that run on a cluster together: every driver holds torch in memory


class Quota(Strict):
    """One person's share. None: no limit but `at_once`."""

    running: Count | None = None  # pipelines of theirs that run at once
    unfinished: Count | None = 1000  # that wait or run: more are refused
    priority: int = 100  # the highest that they may give; admins give any


class Webhook(Strict):
    """Somebody who is told: a POST of JSON, signed with HMAC-SHA256."""

    url: str  # http or https
    secret_file: Folder  # its content is the key of the signature
    events: Annotated[tuple[Literal["succeeded", "failed", "cancelled", "promoted"], ...], Field(strict=False)] = (
        "succeeded", "failed", "cancelled", "promoted",
    )  # fmt: skip
    private: bool = False  # may lie on this machine or in a private network; else such an address is refused, whatever its name resolves to

    @field_validator("url")
    @classmethod
    def _checked(cls, url: str) -> str:
        parts = urlsplit(url)
        _ = parts.port  # raises for one that is none
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise ValueError("must be an http:// or https:// URL without a user or a password in it")
        return url


class Settings(Strict):
    """configs/service.yaml."""

    at_once: Count = AT_ONCE  # pipelines that run on one cluster together
    patience_s: Positive = 1800.0  # seconds that Ray or MLflow may be away before the pipelines that run there fail; `resume` goes on
    quota: Quota = Quota()  # of everyone
    quotas: dict[str, Quota] = {}  # of those named here instead
    evaluations_at_once: Count = 4  # of one pipeline, the most: each has a driver
    workers: Count | None = None  # of one pipeline, the most; none: what the cluster holds
    autoscales: bool | None = None  # whether nodes come when they are asked for; none: as the job server tells. Configs do not say it here
    # Folders that configs sent to the server may name (storage, sources, targets): nothing outside them. Relative paths start at the first.
    # s3://bucket/path and gs://bucket/path among them: datasets there too.
    roots: Annotated[tuple[PlaceField, ...], Field(strict=False, min_length=1)] = (Path("."),)
    body_kb: Count = 256  # largest request
    requests_per_minute: Count = 6000  # of one token, and of one address without a valid one a tenth of it
    proxies: Annotated[tuple[str, ...], Field(strict=False)] = ()  # networks whose X-Forwarded-For is believed: 10.0.0.0/8
    promotion: Folder = Path("configs/promotion.yaml")  # the rule by which versions become champion; relative to the project
    webhooks: Annotated[tuple[Webhook, ...], Field(strict=False)] = ()
    webhook_tries: Count = 8  # the first waits 10 s for the second, each next one twice as long
    webhook_first_wait_s: Positive = 10.0

    @field_validator("proxies")
    @classmethod
    def _networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for one in proxies:
            try:
                ipaddress.ip_network(one)
            except ValueError:
                raise ValueError(f"{one!r} is no network, such as 10.0.0.0/8 or 127.0.0.1/32") from None
        return proxies

    @field_validator("roots")
    @classmethod
    def _with_a_folder(cls, roots: tuple[Path | Uri, ...]) -> tuple[Path | Uri, ...]:
        if all(isinstance(one, Uri) for one in roots):
            raise ValueError("names no folder: checkpoints lie in one that every node mounts, so name it beside the URIs")
        return roots

    @property
    def rule(self) -> Path:
        """Where the rule lies."""
        return RULE.parents[1] / self.promotion  # an absolute path stays itself

    def quota_of(self, owner: str) -> Quota:
        """The share of one person."""
        return self.quotas.get(owner, self.quota)


def read_settings(path: Path | None) -> Settings:
    """The settings in a YAML file, the defaults without one. ValueError, naming file and key, for anything else."""
    if path is None:
        return Settings()
    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Settings.model_validate(values or {})
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}: configs/service.yaml is an example") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML ({error})") from None
    except ValidationError as error:
        faults = [f"{path}: {'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}" for one in error.errors()]
        raise ValueError("\n".join(faults)) from None


def remembered(path: Path) -> Settings | None:
    """The settings that a service has left there; none where there was no service, or where they cannot be read any more."""
    try:
        return Settings.model_validate_json(path.read_text())
    except (OSError, ValueError):
        return None
