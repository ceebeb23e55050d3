"""What every request works with: the service's parts, who asks, and what is written down about it."""
from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service import audit, tokens
from service.mlflow_runs import Runs, TrackingAway
from service.operations import Forbidden, Operations
from service.progress import Progress
from service.submitter import Submitter
from service.tables import Act
from service.tokens import ANYBODY, Person, Refused, Role

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_bearer = HTTPBearer(auto_error=False, description="A token of `adacrossnet token create`.")


@dataclass
class Service:
    """The parts of a running service."""

    operations: Operations
    submitter: Submitter
    progress: Progress
    _runs: dict[str, Runs] = field(default_factory=dict)
    _making: threading.Lock = field(default_factory=threading.Lock)
    listing: threading.Lock = field(default_factory=threading.Lock)  # of datasets
    listed: tuple[float, list[str], list[dict[str, Any]]] | None = None  # when, what was asked, and what was found

    def runs(self) -> Runs:
        """MLflow's client. TrackingAway while the embedded server is down."""
        uri = self.operations.tracking()
        if uri is None:
            raise TrackingAway("MLflow is down with the embedded cluster: `adacrossnet up` on the service's machine starts it")
        with self._making:
            if uri not in self._runs:
                self._runs[uri] = Runs(uri)
            return self._runs[uri]


async def service_of(request: Request) -> Service:  # async: it waits for nothing, and so needs no thread
    """The service that the app was made for."""
    found: Service = request.app.state.service
    return found


def person_of(request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Person:
    """Who asks. Raises Refused without a valid token; where no token was ever made, whoever reaches the loopback may do all."""
    service: Service = request.app.state.service
    database = service.operations.ledger.database
    if credentials is not None:
        person = tokens.who(database, credentials.credentials)
    elif tokens.required(database):
        raise Refused("this needs a bearer token: `adacrossnet token create NAME --role ROLE` on the service's machine makes one")
    elif request.url.hostname not in _LOOPBACK:  # a web page whose name was made to resolve to this machine
        raise Refused(f"without tokens the service answers on {' and '.join(_LOOPBACK)} alone, not as {request.url.hostname}")
    else:
        person = ANYBODY
    request.state.person = person
    return person


def at_least(role: Role) -> Callable[..., Awaitable[Person]]:
    """A dependency: the person, whose role reaches as far. Forbidden otherwise."""

    async def check(person: Annotated[Person, Depends(person_of)]) -> Person:
        if not person.may(role):
            raise Forbidden(f"this needs the role {role}, and {person.name} is {person.role}")
        return person

    return check


def act_of(request: Request, person: Person, thing: str, status: int) -> Act:
    """The line of the audit trail that is written with the change itself."""
    address = request.client.host if request.client else ""
    return audit.line(person.name, audit.action_of(request.scope), thing, status, address)


def about(request: Request, thing: str, written: bool = False) -> None:
    """Names what the request acts on, for the audit trail, or that its line was `written` with the change itself."""
    request.state.thing = thing
    request.state.written = written


TheService = Annotated[Service, Depends(service_of)]
Viewer = Annotated[Person, Depends(at_least("viewer"))]
ASubmitter = Annotated[Person, Depends(at_least("submitter"))]
Admin = Annotated[Person, Depends(at_least("admin"))]
