"""Logging in and out, and second factors."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, func, insert, select, update
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from safehold.core.clock import NS
from safehold.server import asking, audit, limits
from safehold.server.accounts import factors, passwords, people
from safehold.server.answers import answer, body_of, described, empty, service_of, threaded
from safehold.server.asking import COOKIE, COOKIE_PLAIN, LONGEST_NS, Asker
from safehold.server.errors import NotAllowed, NotAuthenticated, Refusal
from safehold.server.ids import fingerprint, new_secret
from safehold.server.schema import browser_sessions, passkeys
from safehold.server.schema import people as people_table
from safehold.server.schema import tokens as tokens_table
from safehold.server.working import known, reading, writing

TRIES = {"most": 10, "seconds": 600}
TRIES_OF_ADDRESS = {"most": 30, "seconds": 600}


class Login(msgspec.Struct):
    """Somebody who wants to come in."""

    name: str
    login: bytes
    """The login key, base64."""
    code: str = ""
    """Of the second factor, or a recovery code."""


@described(Login)
async def log_in(request: Request) -> Response:
    """Begin a browser session."""
    return await enter(request, await body_of(request, Login))


async def enter(request: Request, wanted: Login) -> Response:
    """Begin a session for who gives the right password, and code.  Raises ``NotAuthenticated``, ``TooMany``."""
    row = await _checked(request, wanted)
    cookie = new_secret()
    second = await writing(request, lambda connection, now: _begin(connection, request, row, cookie, now))
    return with_cookie(request, answer({"name": wanted.name, "second_factor": second}), cookie)


def _begin(connection: Connection, request: Request, row: Row[Any], cookie: str, now: int) -> bool:
    second = bool(row.totp_secret) or has_passkeys(connection, row.id)
    begin_session(connection, request, row.id, cookie, now, stepped_up=second, way="password")
    return second


def begin_session(
    connection: Connection, request: Request, person: str, cookie: str, now: int, *, stepped_up: bool, way: str
) -> None:
    """Write down a browser session, which ``cookie`` proves."""
    address = asking.address_of(request, service_of(request).settings)
    values = {"id": fingerprint(cookie), "person": person, "created_ns": now, "used_ns": now}
    agent = request.headers.get("user-agent", "")[:200]
    values |= {"address": address, "agent": agent, "stepped_up_ns": now if stepped_up else 0}
    connection.execute(insert(browser_sessions).values(**values))
    audit.note(connection, now, "login", actor=f"p:{person}", account=person, address=address, way=way)


def with_cookie(request: Request, made: Response, cookie: str) -> Response:
    """The answer, with the session's cookie."""
    tls = service_of(request).settings.tls
    name = COOKIE if tls else COOKIE_PLAIN
    made.set_cookie(name, cookie, max_age=LONGEST_NS // NS, path="/", secure=tls, httponly=True, samesite="strict")
    return made


def has_passkeys(connection: Connection, person: str) -> bool:
    """Whether somebody has any."""
    return connection.execute(select(func.count()).select_from(passkeys).where(passkeys.c.person == person)).scalar_one() > 0


async def _checked(request: Request, wanted: Login) -> Row[Any]:
    """The person that these are the password and code of.  Raises ``NotAuthenticated``, ``TooMany``."""
    service = service_of(request)
    address = asking.address_of(request, service.settings)
    person, from_there = f"login {wanted.name[:63]}", f"login-from {address}"

    def tried(connection: Connection, now: int) -> None:
        limits.count(connection, from_there, now, **TRIES_OF_ADDRESS)
        limits.count(connection, person, now, **TRIES)

    await writing(request, tried)
    row = await reading(request, lambda connection: people.find(connection, wanted.name))
    right = await threaded(passwords.is_right, wanted.login, row.login_hash if row is not None else None)
    if row is None or not right or row.disabled:
        raise NotAuthenticated("Name or password is wrong.")

    def factor(connection: Connection, now: int) -> None:
        needed = "code" if row.totp_secret else "passkey" if has_passkeys(connection, row.id) else ""
        if needed and not _second_factor(connection, row, wanted.code, now):
            hint = "Give the six digits of your authenticator, or a recovery code." if wanted.code else ""
            raise NotAuthenticated(
                "A code is needed." if not wanted.code else "The code is wrong.", hint, {"X-Safehold-Needs": needed}
            )
        limits.clear(connection, person)

    await writing(request, factor)
    return row


def _second_factor(connection: Connection, row: Row[Any], code: str, now: int) -> bool:
    return factors.use_code(connection, row.id, row.totp_secret, code, now) or (
        bool(code) and people.use_recovery_code(connection, row.id, code)
    )


async def log_out(request: Request) -> Response:
    """End this browser session."""
    asker = await known(request)
    await writing(request, lambda c, _: c.execute(delete(browser_sessions).where(browser_sessions.c.id == asker.session)))
    made = empty()
    for name in (COOKIE, COOKIE_PLAIN):
        made.delete_cookie(name, path="/", secure=name == COOKIE, httponly=True, samesite="strict")
    return made


class _Code(msgspec.Struct):
    code: str


@described(_Code)
async def step_up(request: Request) -> Response:
    """A second factor, given again: for the next quarter of an hour."""
    wanted = await body_of(request, _Code)
    asker = await known(request)
    bucket = f"step-up {asker.person}"
    await writing(request, lambda connection, now: limits.count(connection, bucket, now, **TRIES))

    def check(connection: Connection, now: int) -> None:
        row = people.by_id(connection, asker.person)
        if not row.totp_secret and not has_passkeys(connection, row.id):
            raise NotAllowed("This account has no second factor.", "Set one up first, under Settings.")
        if not _second_factor(connection, row, wanted.code, now):
            raise NotAllowed("The code is wrong.", "Each code is good once; wait for the next one.")
        limits.clear(connection, bucket)
        note_second_factor(connection, asker, now)

    await writing(request, check)
    return empty()


def note_second_factor(connection: Connection, asker: Asker, now: int) -> None:
    """The asker has given a second factor just now."""
    if asker.session:
        mine = browser_sessions.c.id == asker.session
        connection.execute(update(browser_sessions).where(mine).values(stepped_up_ns=now))
    else:
        connection.execute(update(tokens_table).where(tokens_table.c.id == asker.token).values(stepped_up_ns=now))
    audit.note(connection, now, "second-factor", actor=asker.actor, account=asker.person, address=asker.address)


async def totp_begin(request: Request) -> Response:
    """A secret for an authenticator; it counts once a code of it was given."""
    asker = await known(request)
    row = await reading(request, lambda connection: people.by_id(connection, asker.person))
    secret = factors.new_secret()
    host = request.headers.get("host", "")
    address = factors.address(secret, row.name, host)
    return answer({"secret": secret, "address": address, "qr": factors.qr(address)})


class _Totp(msgspec.Struct):
    secret: str
    code: str


@described(_Totp)
async def totp_finish(request: Request) -> Response:
    """Set up the authenticator, and hand out recovery codes."""
    wanted = await body_of(request, _Totp)
    asker = await known(request)
    codes = passwords.recovery_codes()

    def finish(connection: Connection, now: int) -> None:
        row = people.by_id(connection, asker.person)
        if not asker.session:
            raise NotAllowed("A second factor is set up in the browser, or by who runs the server.")
        if row.totp_secret or has_passkeys(connection, row.id):
            asker.require_second_factor(now)
        if len(wanted.secret) != 32 or not set(wanted.secret) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"):
            raise Refusal("That is no secret of an authenticator.")
        step = factors.matching_step(wanted.secret, wanted.code, now)
        if not step:
            raise Refusal("The code is wrong.", "Is the clock of your phone right?")
        values = {"totp_secret": wanted.secret, "totp_step": step}
        connection.execute(update(people_table).where(people_table.c.id == asker.person).values(**values))
        connection.execute(update(browser_sessions).where(browser_sessions.c.id == asker.session).values(stepped_up_ns=now))
        people.set_recovery_codes(connection, asker.person, codes)
        audit.note(connection, now, "second-factor.set-up", actor=asker.actor, account=asker.person, address=asker.address)

    await writing(request, finish)
    return answer({"recovery_codes": codes})


API = "/api/v1"
ROUTES: list[BaseRoute] = [
    Route(f"{API}/login", log_in, methods=["POST"]),
    Route(f"{API}/logout", log_out, methods=["POST"]),
    Route(f"{API}/step-up", step_up, methods=["POST"]),
    Route(f"{API}/totp", totp_begin, methods=["POST"]),
    Route(f"{API}/totp/confirm", totp_finish, methods=["POST"]),
]
