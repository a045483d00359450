"""Who asks: by a token, or by the cookie of a browser session; and what they may do where."""

from __future__ import annotations

import hmac
import ipaddress
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, select, update
from starlette.requests import Request

from safehold.core.clock import NS
from safehold.server.errors import NotAllowed, NotAuthenticated, NotFound, StepUpNeeded
from safehold.server.ids import fingerprint
from safehold.server.objects.rules import Right, rights
from safehold.server.schema import accounts, browser_sessions, devices, grants, memberships, people, repositories, tokens
from safehold.server.settings import Settings

COOKIE = "__Host-safehold"
COOKIE_PLAIN = "safehold"
"""Where the server speaks HTTP (behind a proxy, or for tests): browsers take ``__Host-`` over TLS only."""
IDLE_NS = 12 * 3600 * NS
LONGEST_NS = 30 * 24 * 3600 * NS
STEP_UP_NS = 15 * 60 * NS
"""So long a second factor holds."""
_NOTE_NS = 60 * NS
"""Last use is written down at most so often."""
TOKEN_PREFIX = "shp_"

# What nearly every request asks is put into words once: SQLAlchemy takes five times as long for what is made anew.
_TOKEN = (
    select(tokens, people.c.disabled, people.c.is_operator, devices.c.revoked.label("device_revoked"))
    .join(people, people.c.id == tokens.c.person)
    .outerjoin(devices, devices.c.id == tokens.c.device)
    .where(tokens.c.id == bindparam("token"))
)
_SESSION = (
    select(browser_sessions, people.c.disabled, people.c.is_operator)
    .join(people, people.c.id == browser_sessions.c.person)
    .where(browser_sessions.c.id == bindparam("session"))
)
_REPOSITORY = (
    select(repositories, accounts.c.name.label("account_name"), (accounts.c.quota > 0).label("has_quota"))
    .join(accounts, accounts.c.id == repositories.c.account)
    .where(accounts.c.name == bindparam("account_name"), repositories.c.name == bindparam("repository_name"))
)
_MEMBER = select(memberships.c.role).where(
    memberships.c.organisation == bindparam("account"), memberships.c.person == bindparam("person")
)
_GRANTED = select(grants.c.role).where(grants.c.repository == bindparam("repository"), grants.c.person == bindparam("person"))


class Asker(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks."""

    person: str
    device: str = ""
    token: str = ""
    session: str = ""
    """SHA-256 of what the cookie held."""
    repository: str = ""
    """The only one that the token is for; empty: all that the person may."""
    scope: str = "admin"
    stepped_up_ns: int = 0
    address: str = ""
    is_operator: bool = False
    is_unnoted: bool = False
    """That this use is to be written down (``note_use``): the last one was a while ago."""

    @property
    def actor(self) -> str:
        """How it is written down who did something."""
        return f"d:{self.device}" if self.device else f"p:{self.person}"

    def require_second_factor(self, now_ns: int) -> None:
        """Raises ``StepUpNeeded`` unless one was given just now."""
        if not self.stepped_up_ns or now_ns - self.stepped_up_ns > STEP_UP_NS:
            raise StepUpNeeded("This needs your second factor.", "Give a code: `safehold account confirm`, or in the browser.")


class Place(msgspec.Struct, frozen=True):
    """A repository, as the asker may use it."""

    id: str
    account: str
    path: str
    """ACCOUNT/NAME."""
    rights: Right
    row: Any
    has_quota: bool = True
    """Whether there may be one."""

    def require(self, right: Right, what: str) -> None:
        """Raises ``NotAllowed``; ``what`` completes "You may not ..."."""
        if right not in self.rights:
            raise NotAllowed(f"You may not {what}.", "Ask an administrator of the repository, or use another token.")


def address_of(request: Request, settings: Settings) -> str:
    """Where a request comes from; a proxy is believed only if it is one of ours."""
    direct = request.client.host if request.client else ""
    forwarded = request.headers.get("x-forwarded-for", "")
    if direct in settings.trusted_proxies and forwarded:
        return forwarded.rsplit(",", 1)[-1].strip()[:64]
    return direct


def identify(connection: Connection, request: Request, settings: Settings, now_ns: int) -> Asker:
    """Who asks.  Raises ``NotAuthenticated``, ``NotAllowed``."""
    address = address_of(request, settings)
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return _by_token(connection, given.strip(), address, now_ns)
    cookie = request.cookies.get(COOKIE if settings.tls else COOKIE_PLAIN, "")
    if cookie:
        require_same_site(request, settings)
        return _by_cookie(connection, cookie, address, now_ns)
    raise NotAuthenticated(
        "Who asks is not known.", "Log in: `safehold login URL`, or in the browser.", {"WWW-Authenticate": "Bearer"}
    )


def _by_token(connection: Connection, given: str, address: str, now_ns: int) -> Asker:
    name, _, secret = given.removeprefix(TOKEN_PREFIX).partition("_")
    row = connection.execute(_TOKEN, {"token": name}).first()
    if row is None or not hmac.compare_digest(row.hash, fingerprint(secret)):
        raise NotAuthenticated("The token is not known.", "Log in again: `safehold login URL`.")
    if row.revoked or row.disabled or row.device_revoked:
        raise NotAuthenticated("The token was withdrawn.", "Ask whoever runs the repository.")
    if row.expires_ns and now_ns >= row.expires_ns:
        raise NotAuthenticated("The token has expired.", "Make a new one.")
    if row.networks and not _is_in(address, row.networks):
        raise NotAllowed(f"The token may not be used from {address}.", "It is bound to other addresses.")
    return Asker(
        person=row.person,
        device=row.device or "",
        token=row.id,
        repository=row.repository or "",
        scope=row.scope,
        stepped_up_ns=row.stepped_up_ns,
        address=address,
        is_operator=row.is_operator and not row.repository and row.scope == "admin",
        is_unnoted=now_ns - row.used_ns > _NOTE_NS,
    )


def _is_in(address: str, networks: str) -> bool:
    try:
        asked = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(asked in ipaddress.ip_network(each, strict=False) for each in networks.split())


def _by_cookie(connection: Connection, cookie: str, address: str, now_ns: int) -> Asker:
    name = fingerprint(cookie)
    row = connection.execute(_SESSION, {"session": name}).first()
    if row is None or row.disabled or now_ns - row.used_ns > IDLE_NS or now_ns - row.created_ns > LONGEST_NS:
        raise NotAuthenticated("You are not logged in any more.", "Log in again.")
    return Asker(
        person=row.person,
        session=name,
        stepped_up_ns=row.stepped_up_ns,
        address=address,
        is_operator=row.is_operator,
        is_unnoted=now_ns - row.used_ns > _NOTE_NS,
    )


def note_use(connection: Connection, asker: Asker, now_ns: int) -> None:
    """Write down when a token or a browser session was used last."""
    if asker.session:
        connection.execute(update(browser_sessions).where(browser_sessions.c.id == asker.session).values(used_ns=now_ns))
        return
    connection.execute(update(tokens).where(tokens.c.id == asker.token).values(used_ns=now_ns, address=asker.address))
    if asker.device:
        connection.execute(update(devices).where(devices.c.id == asker.device).values(seen_ns=now_ns))


def require_same_site(request: Request, settings: Settings) -> None:
    """A cookie comes along with whatever page sent the request: let only our own pages change something."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    site = request.headers.get("sec-fetch-site", "")
    origin = request.headers.get("origin", "")
    own = settings.origin or f"{request.url.scheme}://{request.headers.get('host', '')}"
    if (site and site != "same-origin") or (origin and origin != own) or request.headers.get("x-safehold") != "1":
        raise NotAllowed("This request came from another site.", "Open the server's own page.")


def place(connection: Connection, asker: Asker, account: str, name: str) -> Place:
    """A repository, with what the asker may do there.  Raises ``NotFound``, also for those who may do nothing there."""
    row = connection.execute(_REPOSITORY, {"account_name": account, "repository_name": name}).first()
    allowed = rights_in(connection, asker, row) if row is not None else Right(0)
    if row is None or not allowed:
        raise NotFound(f"There is no repository {account}/{name} here, or it is not yours.", "Look at the address.")
    return Place(row.id, row.account, f"{account}/{name}", allowed, row, bool(row.has_quota))


def rights_in(connection: Connection, asker: Asker, repository: Row[Any]) -> Right:
    """What the asker may do: what their token is for, and they themselves may still do."""
    if asker.repository and asker.repository != repository.id:
        return Right(0)
    return rights(asker.scope) & rights(role_in(connection, asker.person, repository.id, repository.account))


def role_in(connection: Connection, person: str, repository: str, account: str) -> str:
    """A person's role: owners and administrators of the account may everything; others what they were granted.  Empty: none."""
    if person == account:
        return "admin"
    if connection.execute(_MEMBER, {"account": account, "person": person}).scalar() in ("owner", "admin"):
        return "admin"
    return connection.execute(_GRANTED, {"repository": repository, "person": person}).scalar() or ""
