"""Requests about people: the first account, logging in and out, second factors, tokens, repositories, members."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from safehold.core.clock import NS
from safehold.server import asking, audit, limits
from safehold.server.accounts import factors, passwords, people, tokens
from safehold.server.answers import answer, body_of, described, empty, service_of, threaded
from safehold.server.asking import COOKIE, COOKIE_PLAIN, LONGEST_NS, Asker
from safehold.server.database import alone
from safehold.server.errors import NotAllowed, NotAuthenticated, NotFound, Refusal
from safehold.server.ids import fingerprint, new_secret
from safehold.server.objects.rules import Right, is_scope
from safehold.server.schema import accounts, browser_sessions, grants, recovery_codes
from safehold.server.schema import people as people_table
from safehold.server.schema import tokens as tokens_table

P = ParamSpec("P")
R = TypeVar("R")
_TRIES = {"most": 10, "seconds": 600}
_TRIES_OF_ADDRESS = {"most": 30, "seconds": 600}


async def known(request: Request) -> Asker:
    """Who asks.  Raises ``NotAuthenticated``."""

    def look() -> Asker:
        service = service_of(request)
        now = service.clock.now_ns()
        with service.database.read() as connection:
            asker = asking.identify(connection, request, service.settings, now)
        if asker.is_unnoted:
            with service.database.write() as connection:
                asking.note_use(connection, asker, now)
        return asker

    return await threaded(look)


async def reading(request: Request, function: Callable[[Connection], R]) -> R:
    """Look something up, in a thread."""

    def work() -> R:
        with service_of(request).database.read() as connection:
            return function(connection)

    return await threaded(work)


async def writing(request: Request, function: Callable[[Connection, int], R]) -> R:
    """Change something, in a thread and one transaction; ``function`` is told the time."""

    def work() -> R:
        service = service_of(request)
        with service.database.write() as connection:
            return function(connection, service.clock.now_ns())

    return await threaded(work)


class _Login(msgspec.Struct):
    name: str
    login: bytes
    """The login key, base64."""
    code: str = ""
    """Of the second factor, or a recovery code."""


class _NewPerson(msgspec.Struct):
    name: str
    salt: bytes
    login: bytes
    email: str = ""
    setup_code: str = ""
    """Of a server without accounts: what it printed when it began."""


async def state(request: Request) -> Response:
    """What a page must know before anybody has logged in."""
    service = service_of(request)
    first = await reading(request, people.is_empty)
    return answer({"first_run": first, "open_registration": service.settings.open_registration, "version": 1})


@described(_NewPerson)
async def register(request: Request) -> Response:
    """Make an account: the first one, with the code that the server printed; others where strangers may."""
    wanted = await body_of(request, _NewPerson)
    service = service_of(request)
    address = asking.address_of(request, service.settings)
    await writing(request, lambda connection, now: limits.count(connection, f"register {address}", now, **_TRIES))

    def make(connection: Connection, now: int) -> None:
        alone(connection, "accounts")  # of two who would be the first, one is
        first = people.is_empty(connection)
        if first and not request.app.state.setup.is_right(wanted.setup_code):
            raise NotAllowed("The setup code is wrong.", "It is in what `safehold server run` printed when it began.")
        if not first and not service.settings.open_registration:
            raise NotAllowed("Nobody can make an account here on their own.", "Ask whoever runs the server.")
        quota = 0 if first else service.settings.quota
        made = people.add(
            connection, wanted.name, wanted.salt, wanted.login, now, quota=quota, operator=first, email=wanted.email[:254]
        )
        audit.note(connection, now, "account.create", actor=f"p:{made}", account=made, address=address, name=wanted.name)

    await writing(request, make)
    return await _log_in(request, _Login(wanted.name, wanted.login))


class _Name(msgspec.Struct):
    name: str


@described(_Name)
async def prelogin(request: Request) -> Response:
    """How a password is stretched; for names that do not exist the same, with a salt that stays the same."""
    wanted = await body_of(request, _Name)
    row = await reading(request, lambda connection: people.find(connection, wanted.name))
    secret: bytes = request.app.state.secret
    salt = row.salt if row is not None else passwords.salt_of_nobody(secret, wanted.name)
    return answer({"salt": salt, "memory_kib": passwords.MEMORY_KIB, "passes": passwords.PASSES, "lanes": passwords.LANES})


@described(_Login)
async def log_in(request: Request) -> Response:
    """Begin a browser session."""
    return await _log_in(request, await body_of(request, _Login))


async def _log_in(request: Request, wanted: _Login) -> Response:
    row = await _checked(request, wanted)
    service = service_of(request)
    cookie = new_secret()
    address = asking.address_of(request, service.settings)

    def begin(connection: Connection, now: int) -> None:
        stepped_up = now if row.totp_secret else 0
        values = {"id": fingerprint(cookie), "person": row.id, "created_ns": now, "used_ns": now, "stepped_up_ns": stepped_up}
        agent = request.headers.get("user-agent", "")[:200]
        connection.execute(insert(browser_sessions).values(**values, address=address, agent=agent))
        audit.note(connection, now, "login", actor=f"p:{row.id}", account=row.id, address=address)

    await writing(request, begin)
    made = answer({"name": wanted.name, "second_factor": bool(row.totp_secret)})
    tls = service.settings.tls
    name = COOKIE if tls else COOKIE_PLAIN
    made.set_cookie(name, cookie, max_age=LONGEST_NS // NS, path="/", secure=tls, httponly=True, samesite="strict")
    return made


async def _checked(request: Request, wanted: _Login) -> Row[Any]:
    """The person that these are the password and code of.  Raises ``NotAuthenticated``, ``TooMany``."""
    service = service_of(request)
    address = asking.address_of(request, service.settings)
    person, from_there = f"login {wanted.name[:63]}", f"login-from {address}"

    def tried(connection: Connection, now: int) -> None:
        limits.count(connection, from_there, now, **_TRIES_OF_ADDRESS)
        limits.count(connection, person, now, **_TRIES)

    await writing(request, tried)
    row = await reading(request, lambda connection: people.find(connection, wanted.name))
    right = await threaded(passwords.is_right, wanted.login, row.login_hash if row is not None else None)
    if row is None or not right or row.disabled:
        raise NotAuthenticated("Name or password is wrong.")

    def factor(connection: Connection, now: int) -> None:
        if row.totp_secret and not _second_factor(connection, row, wanted.code, now):
            hint = "Give the six digits of your authenticator, or a recovery code." if wanted.code else ""
            raise NotAuthenticated(
                "A code is needed." if not wanted.code else "The code is wrong.", hint, {"X-Safehold-Needs": "code"}
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


async def me(request: Request) -> Response:
    """Who I am, and what there is for me."""
    asker = await known(request)

    def look(connection: Connection) -> dict[str, object]:
        row = people.by_id(connection, asker.person)
        codes = connection.execute(select(recovery_codes.c.hash).where(recovery_codes.c.person == asker.person))
        found = people.repositories_of(connection, asker.person)
        mine = [
            {"path": f"{r.account_name}/{r.name}", "id": r.id, "bytes": r.bytes, "snapshots": r.snapshots}
            for r in found
            if not asker.repository or r.id == asker.repository
        ]
        return {
            "id": row.id,
            "name": row.name,
            "email": row.email,
            "is_operator": asker.is_operator,
            "second_factor": bool(row.totp_secret),
            "recovery_codes": len(list(codes)),
            "stepped_up_ns": asker.stepped_up_ns,
            "quota": {"bytes": row.quota, "used": row.used},
            "repositories": mine,
            "language": row.language,
            "device": asker.device,
            "scope": asker.scope,
        }

    return answer(await reading(request, look))


class _Code(msgspec.Struct):
    code: str


@described(_Code)
async def step_up(request: Request) -> Response:
    """A second factor, given again: for the next quarter of an hour."""
    wanted = await body_of(request, _Code)
    asker = await known(request)
    bucket = f"step-up {asker.person}"
    await writing(request, lambda connection, now: limits.count(connection, bucket, now, **_TRIES))

    def check(connection: Connection, now: int) -> None:
        row = people.by_id(connection, asker.person)
        if not row.totp_secret:
            raise NotAllowed("This account has no second factor.", "Set one up first, under Settings.")
        if not _second_factor(connection, row, wanted.code, now):
            raise NotAllowed("The code is wrong.", "Each code is good once; wait for the next one.")
        limits.clear(connection, bucket)
        if asker.session:
            mine = browser_sessions.c.id == asker.session
            connection.execute(update(browser_sessions).where(mine).values(stepped_up_ns=now))
        else:
            connection.execute(update(tokens_table).where(tokens_table.c.id == asker.token).values(stepped_up_ns=now))
        audit.note(connection, now, "second-factor", actor=asker.actor, account=asker.person, address=asker.address)

    await writing(request, check)
    return empty()


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
        if row.totp_secret:
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


class _NewToken(msgspec.Struct):
    scope: str
    label: str = ""
    repository: str = ""
    """ACCOUNT/NAME; empty: all that I may."""
    expires_ns: int = 0
    networks: str = ""


@described(_NewToken)
async def make_token(request: Request) -> Response:
    """Make a token; it is shown once."""
    wanted = await body_of(request, _NewToken)
    asker = await known(request)
    _require_session(asker)

    def make(connection: Connection, now: int) -> tuple[str, str]:
        repository = ""
        if wanted.repository:
            account, _, name = wanted.repository.partition("/")
            repository = asking.place(connection, asker, account, name).id
        more = {"repository": repository, "expires_ns": wanted.expires_ns, "networks": wanted.networks}
        made = tokens.make(connection, asker.person, wanted.scope, wanted.label, now, **more)  # type: ignore[arg-type]
        note = {"account": asker.person, "repository": repository, "address": asker.address}
        audit.note(connection, now, "token.create", actor=asker.actor, **note, scope=wanted.scope, label=wanted.label[:100])
        return made

    made, shown = await writing(request, make)
    return answer({"id": made, "token": shown}, 201)


def _require_session(asker: Asker) -> None:
    """A stolen token must not make others that live longer than it does."""
    if not asker.session:
        raise NotAllowed("Tokens are made in the browser, or by `safehold login`.", "Log in there.")


async def list_tokens(request: Request) -> Response:
    """My tokens, without their secrets."""
    asker = await known(request)
    fields = (
        "id",
        "scope",
        "label",
        "repository",
        "device",
        "networks",
        "created_ns",
        "expires_ns",
        "used_ns",
        "address",
        "revoked",
    )

    def look(connection: Connection) -> list[dict[str, object]]:
        rows = connection.execute(
            select(tokens_table).where(tokens_table.c.person == asker.person).order_by(tokens_table.c.created_ns)
        )
        return [{field: getattr(row, field) for field in fields} for row in rows]

    return answer({"tokens": await reading(request, look)})


async def revoke_token(request: Request) -> Response:
    """Withdraw a token of mine; a token may withdraw itself only."""
    asker = await known(request)
    wanted = request.path_params["token"]
    if not asker.session and wanted != asker.token:
        raise NotAllowed("A token can withdraw only itself.", "Log in in the browser.")

    def revoke(connection: Connection, now: int) -> int:
        mine = (tokens_table.c.id == wanted) & (tokens_table.c.person == asker.person)
        count = connection.execute(update(tokens_table).where(mine).values(revoked=True)).rowcount
        audit.note(connection, now, "token.revoke", actor=asker.actor, account=asker.person, address=asker.address, token=wanted)
        return count

    if not await writing(request, revoke):
        raise NotFound("You have no such token.")
    return empty()


class _NewRepository(msgspec.Struct):
    name: str
    account: str = ""
    """Of an organisation; empty: my own."""


@described(_NewRepository)
async def make_repository(request: Request) -> Response:
    """Make room for a repository."""
    wanted = await body_of(request, _NewRepository)
    asker = await known(request)
    service = service_of(request)

    def make(connection: Connection, now: int) -> str:
        account = _account_to_manage(connection, asker, wanted.account)
        made = people.add_repository(connection, account, wanted.name, service.settings.trash_days, now)
        note = {"account": account, "repository": made, "address": asker.address}
        audit.note(connection, now, "repository.create", actor=asker.actor, **note, name=wanted.name)
        return made

    return answer({"id": await writing(request, make)}, 201)


def _account_to_manage(connection: Connection, asker: Asker, name: str) -> str:
    """The id of an account that the asker may make things in.  Raises ``NotFound``, ``NotAllowed``."""
    if asker.repository or asker.scope != "admin":
        raise NotAllowed("This token is for other work.", "Use one with the scope admin, or the browser.")
    row = connection.execute(select(accounts.c.id).where(accounts.c.name == name)).first() if name else None
    if name and (row is None or asking.role_in(connection, asker.person, "", row.id) != "admin"):
        raise NotFound(f"There is no account {name}, or you may not make anything there.")
    return str(row.id) if row is not None else asker.person


class _Member(msgspec.Struct):
    person: str
    role: str
    """Empty: none any more."""


@described(_Member)
async def set_member(request: Request) -> Response:
    """Give somebody a role in a repository, or take it away."""
    wanted = await body_of(request, _Member)
    asker = await known(request)

    def change(connection: Connection, now: int) -> None:
        place = asking.place(connection, asker, request.path_params["account"], request.path_params["name"])
        place.require(Right.MANAGE, "change who may do what here")
        asker.require_second_factor(now)
        if wanted.role and not is_scope(wanted.role):
            raise Refusal(f"{wanted.role[:80]!r} is no role.", "Roles are list, write, read, maintain and admin, joined by +.")
        row = people.find(connection, wanted.person)
        if row is None:
            raise NotFound(f"There is no person {wanted.person[:80]}.")
        connection.execute(delete(grants).where(grants.c.repository == place.id, grants.c.person == row.id))
        if wanted.role:
            connection.execute(insert(grants).values(repository=place.id, person=row.id, role=wanted.role))
        note = {"account": place.account, "repository": place.id, "address": asker.address}
        audit.note(connection, now, "member.set", actor=asker.actor, **note, person=wanted.person, role=wanted.role)

    await writing(request, change)
    return empty()


API = "/api/v1"
ROUTES: list[BaseRoute] = [
    Route(f"{API}/state", state, methods=["GET"]),
    Route(f"{API}/accounts", register, methods=["POST"]),
    Route(f"{API}/prelogin", prelogin, methods=["POST"]),
    Route(f"{API}/login", log_in, methods=["POST"]),
    Route(f"{API}/logout", log_out, methods=["POST"]),
    Route(f"{API}/me", me, methods=["GET"]),
    Route(f"{API}/step-up", step_up, methods=["POST"]),
    Route(f"{API}/totp", totp_begin, methods=["POST"]),
    Route(f"{API}/totp/confirm", totp_finish, methods=["POST"]),
    Route(f"{API}/tokens", list_tokens, methods=["GET"]),
    Route(f"{API}/tokens", make_token, methods=["POST"]),
    Route(f"{API}/tokens/{{token}}", revoke_token, methods=["DELETE"]),
    Route(f"{API}/repositories", make_repository, methods=["POST"]),
    Route(f"{API}/repositories/{{account}}/{{name}}/members", set_member, methods=["PUT"]),
]
