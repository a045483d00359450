"""Requests about people: the first account, logging in and out, second factors, tokens, repositories, members."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Connection, delete, insert, select, update
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from safehold.server import asking, audit, limits
from safehold.server.accounts import invitations, passwords, people, tokens
from safehold.server.accounts.logging_in import TRIES, Login, enter, has_passkeys
from safehold.server.answers import answer, body_of, described, empty, service_of
from safehold.server.asking import Asker
from safehold.server.database import alone
from safehold.server.errors import NotAllowed, NotFound, Refusal
from safehold.server.objects.rules import Right, is_scope
from safehold.server.schema import accounts, grants, recovery_codes
from safehold.server.schema import tokens as tokens_table
from safehold.server.working import known, reading, writing


class _NewPerson(msgspec.Struct):
    name: str
    salt: bytes
    login: bytes
    email: str = ""
    setup_code: str = ""
    """Of a server without accounts: what it printed when it began."""
    invitation: str = ""
    """The code of one, where strangers may not make accounts."""


async def state(request: Request) -> Response:
    """What a page must know before anybody has logged in."""
    service = service_of(request)
    first = await reading(request, people.is_empty)
    provider = urlsplit(service.settings.openid_issuer).hostname or ""
    told = {"first_run": first, "open_registration": service.settings.open_registration, "openid": provider, "version": 1}
    return answer(told)


@described(_NewPerson)
async def register(request: Request) -> Response:
    """Make an account: the first one, with the code that the server printed; others where strangers may."""
    wanted = await body_of(request, _NewPerson)
    service = service_of(request)
    address = asking.address_of(request, service.settings)
    await writing(request, lambda connection, now: limits.count(connection, f"register {address}", now, **TRIES))

    def make(connection: Connection, now: int) -> None:
        alone(connection, "accounts")  # of two who would be the first, one is
        first = people.is_empty(connection)
        if first and not request.app.state.setup.is_right(wanted.setup_code):
            raise NotAllowed("The setup code is wrong.", "It is in what `safehold server run` printed when it began.")
        quota = 0 if first else service.settings.quota
        if not first and wanted.invitation:
            quota = invitations.use(connection, wanted.invitation, wanted.name, now)
        elif not first and not service.settings.open_registration:
            raise NotAllowed("Nobody can make an account here on their own.", "Ask whoever runs the server for an invitation.")
        made = people.add(
            connection, wanted.name, wanted.salt, wanted.login, now, quota=quota, operator=first, email=wanted.email[:254]
        )
        audit.note(connection, now, "account.create", actor=f"p:{made}", account=made, address=address, name=wanted.name)

    await writing(request, make)
    return await enter(request, Login(wanted.name, wanted.login))


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
            "second_factor": bool(row.totp_secret) or has_passkeys(connection, row.id),
            "recovery_codes": len(list(codes)),
            "stepped_up_ns": asker.stepped_up_ns,
            "quota": {"bytes": row.quota, "used": row.used},
            "repositories": mine,
            "language": row.language,
            "device": asker.device,
            "scope": asker.scope,
        }

    return answer(await reading(request, look))


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


async def list_members(request: Request) -> Response:
    """Who has which role in a repository, beside its owners: for those who may change that."""
    asker = await known(request)

    def look(connection: Connection) -> list[dict[str, object]]:
        place = asking.place(connection, asker, request.path_params["account"], request.path_params["name"])
        place.require(Right.MANAGE, "see who may do what here")
        query = select(accounts.c.name, grants.c.role).join(accounts, accounts.c.id == grants.c.person)
        rows = connection.execute(query.where(grants.c.repository == place.id).order_by(accounts.c.name))
        return [{"person": row.name, "role": row.role} for row in rows]

    return answer({"members": await reading(request, look)})


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
    Route(f"{API}/me", me, methods=["GET"]),
    Route(f"{API}/tokens", list_tokens, methods=["GET"]),
    Route(f"{API}/tokens", make_token, methods=["POST"]),
    Route(f"{API}/tokens/{{token}}", revoke_token, methods=["DELETE"]),
    Route(f"{API}/repositories", make_repository, methods=["POST"]),
    Route(f"{API}/repositories/{{account}}/{{name}}/members", list_members, methods=["GET"]),
    Route(f"{API}/repositories/{{account}}/{{name}}/members", set_member, methods=["PUT"]),
]
