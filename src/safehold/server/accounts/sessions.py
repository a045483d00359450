"""Requests about one's own browser sessions and password."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, delete, select, update
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from safehold.server import audit, limits
from safehold.server.accounts import passwords, people
from safehold.server.accounts.logging_in import TRIES, has_passkeys
from safehold.server.answers import answer, body_of, described, empty, threaded
from safehold.server.asking import Asker
from safehold.server.errors import NotAllowed, NotFound, Refusal
from safehold.server.schema import browser_sessions
from safehold.server.schema import people as people_table
from safehold.server.working import known, reading, writing

API = "/api/v1"
MOST_SEALED = 4096


async def in_browser(request: Request) -> Asker:
    """Who asks, by a browser session.  Raises ``NotAllowed``: a stolen token must not change how one logs in."""
    asker = await known(request)
    if not asker.session:
        raise NotAllowed("That is done in the browser.", "Log in there.")
    return asker


async def list_sessions(request: Request) -> Response:
    """Where I am logged in."""
    asker = await in_browser(request)

    def look(connection: Connection) -> list[dict[str, object]]:
        mine = browser_sessions.c.person == asker.person
        rows = connection.execute(select(browser_sessions).where(mine).order_by(browser_sessions.c.used_ns.desc()))
        fields = ("id", "created_ns", "used_ns", "address", "agent")
        return [{**{field: getattr(row, field) for field in fields}, "current": row.id == asker.session} for row in rows]

    return answer({"sessions": await reading(request, look)})


async def end_session(request: Request) -> Response:
    """End one of my sessions."""
    asker = await in_browser(request)
    wanted = request.path_params["session"]

    def end(connection: Connection, now: int) -> None:
        mine = (browser_sessions.c.id == wanted) & (browser_sessions.c.person == asker.person)
        if not connection.execute(delete(browser_sessions).where(mine)).rowcount:
            raise NotFound("You have no such session.")
        audit.note(connection, now, "session.end", actor=asker.actor, account=asker.person, address=asker.address)

    await writing(request, end)
    return empty()


async def end_others(request: Request) -> Response:
    """Log me out everywhere but here."""
    asker = await in_browser(request)

    def end(connection: Connection, now: int) -> int:
        others = (browser_sessions.c.person == asker.person) & (browser_sessions.c.id != asker.session)
        count = connection.execute(delete(browser_sessions).where(others)).rowcount
        audit.note(connection, now, "session.end-others", actor=asker.actor, account=asker.person, address=asker.address)
        return count

    return answer({"ended": await writing(request, end)})


class _Password(msgspec.Struct):
    login: bytes
    """The login key of the password till now."""
    new_salt: bytes
    new_login: bytes
    exchange_sealed: bytes = b""
    """The account's private key, sealed anew by the new password's wrap key, where there is one."""


@described(_Password)
async def change_password(request: Request) -> Response:
    """Change my password; all my other sessions end."""
    wanted = await body_of(request, _Password)
    asker = await in_browser(request)
    bucket = f"password {asker.person}"
    if len(wanted.new_salt) != passwords.SALT_SIZE or len(wanted.new_login) != passwords.LOGIN_KEY_SIZE:
        raise Refusal("The salt or the login key has a wrong length.", "docs/server.md says how they are made.")
    if len(wanted.exchange_sealed) > MOST_SEALED:
        raise Refusal("A sealed key is not that long.")
    await writing(request, lambda connection, now: limits.count(connection, bucket, now, **TRIES))
    row = await reading(request, lambda connection: people.by_id(connection, asker.person))
    if not await threaded(passwords.is_right, wanted.login, row.login_hash):
        raise NotAllowed("The password is wrong.", "Give the one that you log in with now.")

    def change(connection: Connection, now: int) -> None:
        if row.totp_secret or has_passkeys(connection, row.id):
            asker.require_second_factor(now)
        people.set_password(connection, row.id, wanted.new_salt, wanted.new_login, asker.session)
        if wanted.exchange_sealed:
            mine = people_table.c.id == row.id
            connection.execute(update(people_table).where(mine).values(exchange_sealed=wanted.exchange_sealed))
        limits.clear(connection, bucket)
        audit.note(connection, now, "password.change", actor=asker.actor, account=row.id, address=asker.address)

    await writing(request, change)
    return empty()


ROUTES: list[BaseRoute] = [
    Route(f"{API}/sessions", list_sessions, methods=["GET"]),
    Route(f"{API}/sessions/end-others", end_others, methods=["POST"]),
    Route(f"{API}/sessions/{{session}}", end_session, methods=["DELETE"]),
    Route(f"{API}/password", change_password, methods=["POST"]),
]
