"""Logging in by OpenID Connect: authorization code with PKCE, and a nonce; bound to the browser by a cookie."""

from __future__ import annotations

import hmac
import re
import secrets
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from safehold.core.clock import NS
from safehold.server import asking, audit, limits
from safehold.server.accounts import challenges, passwords, people
from safehold.server.accounts.logging_in import TRIES_OF_ADDRESS, begin_session, has_passkeys, with_cookie
from safehold.server.accounts.passkeys import origin_of
from safehold.server.accounts.provider import Provider, Question
from safehold.server.answers import NO_STORE, described, service_of, threaded
from safehold.server.database import alone
from safehold.server.errors import NotAllowed, NotAuthenticated, NotFound
from safehold.server.ids import new_secret
from safehold.server.schema import identities
from safehold.server.working import known, writing

API = "/api/v1"
COOKIE = "__Host-safehold-openid"
COOKIE_PLAIN = "safehold-openid"
CALLBACK = f"{API}/openid/callback"
_TRIES_OF_NAMES = 50


def _provider(request: Request) -> Provider:
    """Raises ``NotFound`` where the server was told of none."""
    service = service_of(request)
    if not service.settings.openid_issuer:
        raise NotFound("This server knows no OpenID Connect provider.", "Log in with a password or a passkey.")
    if not hasattr(request.app.state, "openid"):
        request.app.state.openid = Provider(service.settings)
    found: Provider = request.app.state.openid
    return found


@described(query=("link",))
async def begin(request: Request) -> Response:
    """Send the browser to the provider; with ``link=1``, to add this way of logging in to my account."""
    provider = _provider(request)
    service = service_of(request)
    address = asking.address_of(request, service.settings)
    question = Question(new_secret(), new_secret(), new_secret())
    holder = new_secret()
    asker = await known(request) if request.query_params.get("link") == "1" else None
    to = await threaded(provider.address, question, origin_of(request) + CALLBACK)

    def ask(connection: Connection, now: int) -> None:
        limits.count(connection, f"openid-from {address}", now, **TRIES_OF_ADDRESS)
        if asker is not None:
            row = people.by_id(connection, asker.person)
            if not asker.session:
                raise NotAllowed("That is done in the browser.", "Log in there.")
            if row.totp_secret or has_passkeys(connection, row.id):
                asker.require_second_factor(now)
        challenges.put(connection, holder, "openid", msgspec.json.encode(question), now, asker.person if asker else "")

    await writing(request, ask)
    made = RedirectResponse(to, 303, NO_STORE)
    tls = service.settings.tls
    # Lax: the provider sends the browser back, from another site.
    made.set_cookie(COOKIE if tls else COOKIE_PLAIN, holder, max_age=300, path="/", secure=tls, httponly=True, samesite="lax")
    return made


@described(query=("state", "code"))
async def callback(request: Request) -> Response:
    """Where the provider sends the browser back to."""
    provider = _provider(request)
    service = service_of(request)
    holder = request.cookies.get(COOKIE if service.settings.tls else COOKIE_PLAIN, "")
    secret, linked = await writing(request, lambda connection, now: challenges.take(connection, holder, "openid", now))
    question = msgspec.json.decode(secret, type=Question)
    if not hmac.compare_digest(question.state.encode(), request.query_params.get("state", "").encode()):
        raise NotAllowed("The provider's answer is to another question.", "Begin again.")
    code = request.query_params.get("code", "")
    if not code:
        raise NotAuthenticated("The provider did not vouch for you.", "Begin again, or log in with a password.")
    now_seconds = service.clock.now_ns() // NS
    claims = await threaded(provider.claims, code, question, origin_of(request) + CALLBACK, now_seconds)
    cookie = new_secret()

    def enter(connection: Connection, now: int) -> None:
        person = _person(connection, request, claims, linked, now)
        if people.by_id(connection, person).disabled:
            raise NotAuthenticated("This account may not come in.", "Ask whoever runs the server.")
        if not linked:
            begin_session(connection, request, person, cookie, now, stepped_up=False, way="openid")

    await writing(request, enter)
    made = RedirectResponse("/", 303, NO_STORE)
    return made if linked else with_cookie(request, made, cookie)


def _person(connection: Connection, request: Request, claims: dict[str, Any], linked: str, now: int) -> str:
    """Whose identity that is; new ones are linked, or get an account where the settings say so.  Raises ``NotAllowed``."""
    settings = service_of(request).settings
    alone(connection, "accounts")
    issuer, subject = str(claims["iss"])[:200], str(claims["sub"])[:255]
    mine = (identities.c.issuer == issuer) & (identities.c.subject == subject)
    known_as = connection.execute(select(identities.c.person).where(mine)).scalar()
    if known_as is not None:
        if linked not in ("", known_as):
            raise NotAllowed("That identity belongs to another account.", "Use another.")
        return str(known_as)
    if not linked and (not settings.openid_creates or people.is_empty(connection)):
        raise NotAllowed("Nobody here has that identity.", "Log in as before, and link it under Settings.")
    person = linked or _create(connection, claims, settings.quota, now)
    connection.execute(insert(identities).values(issuer=issuer, subject=subject, person=person, created_ns=now))
    note = {"account": person, "address": asking.address_of(request, settings)}
    audit.note(connection, now, "identity.link", actor=f"p:{person}", **note, issuer=issuer)
    return person


def _create(connection: Connection, claims: dict[str, Any], quota: int, now: int) -> str:
    """An account without a password: nobody knows the login key that it is made with."""
    email = str(claims.get("email", "")) if claims.get("email_verified") is True else ""
    wanted = str(claims.get("preferred_username") or email.partition("@")[0] or "person").lower()
    plain = re.sub(r"[^a-z0-9]+", "-", wanted).strip("-")[:40].strip("-") or "person"
    for number in range(1, _TRIES_OF_NAMES):
        name = plain if number == 1 else f"{plain}-{number}"
        if people.is_free(connection, name):
            salt, login = secrets.token_bytes(passwords.SALT_SIZE), secrets.token_bytes(passwords.LOGIN_KEY_SIZE)
            return people.add(connection, name, salt, login, now, quota=quota, email=email[:254])
    raise NotAllowed(f"There is no name left like {plain}.", "Ask whoever runs the server for an invitation.")


ROUTES: list[BaseRoute] = [
    Route(f"{API}/openid/begin", begin, methods=["GET"]),
    Route(CALLBACK, callback, methods=["GET"]),
]
