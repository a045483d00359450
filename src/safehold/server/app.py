"""The application: its routes, what goes with every answer, and how failures are said."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.exc import DataError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safehold.core.errors import SafeholdError
from safehold.server.accounts.logging_in import ROUTES as LOGIN
from safehold.server.accounts.openid import ROUTES as OPENID
from safehold.server.accounts.operating import ROUTES as OPERATING
from safehold.server.accounts.organisations import ROUTES as ORGANISATIONS
from safehold.server.accounts.passkeys import ROUTES as PASSKEYS
from safehold.server.accounts.routes import ROUTES as ACCOUNTS
from safehold.server.accounts.sessions import ROUTES as SESSIONS
from safehold.server.answers import answer, empty, refused, threaded
from safehold.server.devices.fleet import ROUTES as FLEET
from safehold.server.devices.restoring import ROUTES as RESTORING
from safehold.server.devices.routes import ROUTES as DEVICES
from safehold.server.errors import Exists, Refusal, Unavailable
from safehold.server.jobs.runner import runner_of
from safehold.server.metrics import Counting, Requests
from safehold.server.objects.direct import ROUTES as DIRECT
from safehold.server.objects.routes import ROUTES as OBJECTS
from safehold.server.objects.undoing import ROUTES as UNDOING
from safehold.server.openapi import document
from safehold.server.pages import ROUTES as PAGES
from safehold.server.policy import SECURITY
from safehold.server.service import Service
from safehold.server.shares.giving import ROUTES as GIVING
from safehold.server.shares.inbox import ROUTES as REQUESTS
from safehold.server.shares.routes import ROUTES as SHARES
from safehold.server.watching import ROUTES as WATCHING

_HSTS = "max-age=31536000"


class Setup:
    """The code that proves, on a server without accounts, that one is who started it."""

    def __init__(self) -> None:
        self.code = "-".join(secrets.token_hex(2) for _ in range(4))

    def is_right(self, given: str) -> bool:
        """Whether that is it."""
        return hmac.compare_digest(given.strip().lower().encode(), self.code.encode())


class _Headers:
    """Puts the headers that guard against other sites on every answer."""

    def __init__(self, app: ASGIApp, tls: bool) -> None:
        self.app = app
        told = {**SECURITY, **({"Strict-Transport-Security": _HSTS} if tls else {})}
        self.headers = [(name.lower().encode(), value.encode()) for name, value in told.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(each for each in self.headers if each[0] not in present)]
            await send(message)

        await self.app(scope, receive, with_headers)


async def _refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return refused(error)


async def _failure(_request: Request, error: Exception) -> Response:
    assert isinstance(error, SafeholdError)
    return answer({"code": error.code, "message": str(error), "hint": error.hint}, 500)


async def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: "missing", 405: "method"}
    messages = {404: "There is nothing at this address.", 405: "That cannot be done here."}
    told = {
        "code": codes.get(error.status_code, "bad-request"),
        "message": messages.get(error.status_code, error.detail),
        "hint": "",
    }
    return answer(told, error.status_code, dict(error.headers or {}))


async def _at_once(_request: Request, _error: Exception) -> Response:
    return refused(Exists("Somebody did the same at the same moment.", "Look again, and repeat it if it is still to be done."))


async def _no_value(_request: Request, _error: Exception) -> Response:
    return refused(Refusal("Something in the request is no value that can be kept: a number too large, or a zero character."))


async def _database(_request: Request, _error: Exception) -> Response:
    return refused(Unavailable("The server's database does not answer just now.", "Try again.", {"Retry-After": "2"}))


async def _gone(_request: Request, _error: Exception) -> Response:
    return empty(499)  # nobody is there to read it; as nginx counts it


async def health(request: Request) -> Response:
    """For a balancer: that this server can answer."""
    return answer({"status": "ok"})


_HEALTH = Route("/api/v1/health", health, methods=["GET"])
_PEOPLE: list[BaseRoute] = [*ACCOUNTS, *LOGIN, *SESSIONS, *PASSKEYS, *OPENID, *OPERATING, *ORGANISATIONS]
_REPOSITORIES: list[BaseRoute] = [*OBJECTS, *DIRECT, *UNDOING, *DEVICES, *FLEET, *RESTORING, *SHARES, *GIVING, *REQUESTS]
API: list[BaseRoute] = [_HEALTH, *_PEOPLE, *_REPOSITORIES, *WATCHING]
ROUTES: list[BaseRoute] = [*OBJECTS, *API, *PAGES]
"""They are tried one after the other: what a restore asks a thousand times comes first."""


def build(service: Service, secret: bytes, setup: Setup | None = None) -> Starlette:
    """The application of a server.  ``secret`` (32 bytes) stays the same over restarts and servers."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        runner = runner_of(service) if service.settings.jobs else None
        if runner is not None:
            runner.start()
        yield
        if runner is not None:
            await threaded(runner.stop)
        service.close()

    handlers = {
        Refusal: _refusal,
        SafeholdError: _failure,
        HTTPException: _http,
        ClientDisconnect: _gone,
        IntegrityError: _at_once,
        DataError: _no_value,
        OverflowError: _no_value,
        OperationalError: _database,
        PoolTimeout: _database,
    }
    app = Starlette(routes=ROUTES, exception_handlers=handlers, lifespan=lifespan)
    app.add_middleware(_Headers, tls=service.settings.tls)
    app.state.requests = Requests()
    app.add_middleware(Counting, requests=app.state.requests, clock=service.clock)
    app.state.openapi = document(API)
    app.state.service = service
    app.state.secret = secret
    app.state.setup = setup or Setup()
    return app
