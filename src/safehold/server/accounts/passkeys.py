"""Passkeys (WebAuthn): to log in without a password, and as a second factor.

A passkey that has asked for a fingerprint or a PIN itself counts as both factors.
"""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urlsplit

import msgspec
import webauthn
from sqlalchemy import Connection, Row, delete, func, insert, select, update
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from safehold.server import asking, audit, limits
from safehold.server.accounts import challenges, passwords, people
from safehold.server.accounts.logging_in import (
    TRIES_OF_ADDRESS,
    begin_session,
    has_passkeys,
    note_second_factor,
    with_cookie,
)
from safehold.server.accounts.sessions import in_browser
from safehold.server.answers import answer, body_of, described, empty, service_of
from safehold.server.asking import Asker
from safehold.server.errors import NotAllowed, NotAuthenticated, NotFound, Refusal
from safehold.server.ids import new_secret
from safehold.server.schema import passkeys, recovery_codes
from safehold.server.working import reading, writing

API = "/api/v1"
COOKIE = "__Host-safehold-passkey"
COOKIE_PLAIN = "safehold-passkey"
MOST = 20
"""Of one person."""


def origin_of(request: Request) -> str:
    """Scheme, host and port of the pages, as browsers say them."""
    own = service_of(request).settings.origin
    return own or f"{request.url.scheme}://{request.headers.get('host', '')}"


def _site(request: Request) -> str:
    return urlsplit(origin_of(request)).hostname or "localhost"


class _Credential(msgspec.Struct):
    credential: dict[str, Any]
    """What the browser's ``navigator.credentials`` returned, as JSON."""
    label: str = ""


async def register_begin(request: Request) -> Response:
    """The question that a new passkey is made with."""
    asker = await in_browser(request)

    def ask(connection: Connection, now: int) -> str:
        row = people.by_id(connection, asker.person)
        _require_factor(connection, asker, row, now)
        mine = connection.execute(select(passkeys.c.id).where(passkeys.c.person == row.id)).scalars()
        options = webauthn.generate_registration_options(
            rp_id=_site(request),
            rp_name="Safehold",
            user_name=row.name,
            user_id=bytes.fromhex(row.id),
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.PREFERRED, user_verification=UserVerificationRequirement.REQUIRED
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=base64url_to_bytes(each)) for each in mine],
        )
        challenges.put(connection, asker.session, "register", options.challenge, now, row.id)
        return webauthn.options_to_json(options)

    return answer(msgspec.Raw((await writing(request, ask)).encode()))


async def _asked(request: Request, holder: str, purpose: str) -> tuple[bytes, str]:
    """What was asked, and of whom: used up by any answer, also a wrong one."""
    return await writing(request, lambda connection, now: challenges.take(connection, holder, purpose, now))


def _require_factor(connection: Connection, asker: Asker, row: Row[Any], now: int) -> None:
    """Who has a second factor gives it before another is added."""
    if row.totp_secret or has_passkeys(connection, row.id):
        asker.require_second_factor(now)


@described(_Credential)
async def register(request: Request) -> Response:
    """Keep a new passkey; with the first second factor, recovery codes are handed out."""
    wanted = await body_of(request, _Credential)
    asker = await in_browser(request)
    challenge, person = await _asked(request, asker.session, "register")

    def keep(connection: Connection, now: int) -> list[str]:
        row = people.by_id(connection, asker.person)
        _require_factor(connection, asker, row, now)
        count = connection.execute(select(func.count()).select_from(passkeys).where(passkeys.c.person == row.id)).scalar_one()
        if person != row.id or count >= MOST:
            raise NotAllowed(f"Up to {MOST} passkeys are kept.", "Remove one that you use no more.")
        made = _registered(request, wanted.credential, challenge)
        values = {"id": bytes_to_base64url(made.credential_id), "person": row.id, "public_key": made.credential_public_key}
        if len(values["id"]) > 400:
            raise Refusal("The passkey's name is too long to be kept.")
        values |= {"sign_count": made.sign_count, "label": wanted.label[:100], "created_ns": now}
        connection.execute(insert(passkeys).values(**values))
        note_second_factor(connection, asker, now)
        audit.note(connection, now, "passkey.create", actor=asker.actor, account=row.id, address=asker.address)
        if connection.execute(select(recovery_codes.c.hash).where(recovery_codes.c.person == row.id)).first() is not None:
            return []
        codes = passwords.recovery_codes()
        people.set_recovery_codes(connection, row.id, codes)
        return codes

    return answer({"recovery_codes": await writing(request, keep)}, 201)


def _registered(request: Request, credential: dict[str, Any], challenge: bytes) -> Any:
    try:
        return webauthn.verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=_site(request),
            expected_origin=origin_of(request),
            require_user_verification=True,
        )
    except _WRONG as error:
        raise Refusal(f"The passkey could not be kept: {str(error)[:200]}.", "Begin again.") from error


_WRONG = (WebAuthnException, ValueError, KeyError, TypeError, AttributeError)
"""What the library raises where an answer is not what it should be; some parts are only looked at when they are used."""


async def login_begin(request: Request) -> Response:
    """The question to whichever passkey somebody has for this place; nobody has to say who they are."""
    service = service_of(request)
    holder = new_secret()
    address = asking.address_of(request, service.settings)

    def ask(connection: Connection, now: int) -> str:
        limits.count(connection, f"passkey-from {address}", now, **TRIES_OF_ADDRESS)
        challenge = secrets.token_bytes(32)
        challenges.put(connection, holder, "login", challenge, now)
        return _question(request, challenge, [])

    made = answer(msgspec.Raw((await writing(request, ask)).encode()))
    tls = service.settings.tls
    made.set_cookie(COOKIE if tls else COOKIE_PLAIN, holder, max_age=300, path="/", secure=tls, httponly=True, samesite="strict")
    return made


def _question(request: Request, challenge: bytes, allowed: list[str]) -> str:
    options = webauthn.generate_authentication_options(
        rp_id=_site(request),
        challenge=challenge,
        allow_credentials=[PublicKeyCredentialDescriptor(id=base64url_to_bytes(each)) for each in allowed],
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return webauthn.options_to_json(options)


@described(_Credential)
async def log_in(request: Request) -> Response:
    """Begin a session by a passkey."""
    wanted = await body_of(request, _Credential)
    service = service_of(request)
    asking.require_same_site(request, service.settings)
    holder = request.cookies.get(COOKIE if service.settings.tls else COOKIE_PLAIN, "")
    challenge, _ = await _asked(request, holder, "login")
    cookie = new_secret()

    def check(connection: Connection, now: int) -> str:
        row = _proven(connection, request, wanted.credential, challenge)
        person = people.by_id(connection, row.person)
        if person.disabled:
            raise NotAuthenticated("This account may not come in.", "Ask whoever runs the server.")
        begin_session(connection, request, person.id, cookie, now, stepped_up=True, way="passkey")
        return str(person.name)

    return with_cookie(request, answer({"name": await writing(request, check), "second_factor": True}), cookie)


def _proven(connection: Connection, request: Request, credential: dict[str, Any], challenge: bytes) -> Row[Any]:
    """The passkey that answered rightly.  Raises ``NotAuthenticated``."""
    name = credential.get("id")
    query = select(passkeys).where(passkeys.c.id == name).with_for_update()
    row = connection.execute(query).first() if isinstance(name, str) and name.isascii() and len(name) <= 400 else None
    if row is None:
        raise NotAuthenticated("This passkey is not known here.", "Log in with your password.")
    try:
        proven = webauthn.verify_authentication_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=_site(request),
            expected_origin=origin_of(request),
            credential_public_key=row.public_key,
            credential_current_sign_count=row.sign_count,
            require_user_verification=True,
        )
    except _WRONG as error:
        raise NotAuthenticated(f"The passkey's answer is wrong: {str(error)[:200]}.", "Begin again.") from error
    connection.execute(update(passkeys).where(passkeys.c.id == row.id).values(sign_count=proven.new_sign_count))
    return row


async def step_up_begin(request: Request) -> Response:
    """The question to one of my passkeys."""
    asker = await in_browser(request)

    def ask(connection: Connection, now: int) -> str:
        mine = list(connection.execute(select(passkeys.c.id).where(passkeys.c.person == asker.person)).scalars())
        if not mine:
            raise NotFound("You have no passkey here.", "Give a code instead.")
        challenge = secrets.token_bytes(32)
        challenges.put(connection, asker.session, "step-up", challenge, now, asker.person)
        return _question(request, challenge, mine)

    return answer(msgspec.Raw((await writing(request, ask)).encode()))


@described(_Credential)
async def step_up(request: Request) -> Response:
    """A passkey as the second factor, for the next quarter of an hour."""
    wanted = await body_of(request, _Credential)
    asker = await in_browser(request)
    challenge, person = await _asked(request, asker.session, "step-up")

    def check(connection: Connection, now: int) -> None:
        if _proven(connection, request, wanted.credential, challenge).person != person or person != asker.person:
            raise NotAllowed("That is somebody else's passkey.", "Use one of yours.")
        note_second_factor(connection, asker, now)

    await writing(request, check)
    return empty()


async def list_passkeys(request: Request) -> Response:
    """My passkeys."""
    asker = await in_browser(request)

    def look(connection: Connection) -> list[dict[str, object]]:
        rows = connection.execute(select(passkeys).where(passkeys.c.person == asker.person).order_by(passkeys.c.created_ns))
        return [{"id": row.id, "label": row.label, "created_ns": row.created_ns} for row in rows]

    return answer({"passkeys": await reading(request, look)})


async def remove(request: Request) -> Response:
    """Remove one of my passkeys."""
    asker = await in_browser(request)

    def forget(connection: Connection, now: int) -> None:
        asker.require_second_factor(now)
        mine = (passkeys.c.id == request.path_params["passkey"]) & (passkeys.c.person == asker.person)
        if not connection.execute(delete(passkeys).where(mine)).rowcount:
            raise NotFound("You have no such passkey.")
        audit.note(connection, now, "passkey.remove", actor=asker.actor, account=asker.person, address=asker.address)

    await writing(request, forget)
    return empty()


ROUTES: list[BaseRoute] = [
    Route(f"{API}/passkeys", list_passkeys, methods=["GET"]),
    Route(f"{API}/passkeys", register, methods=["POST"]),
    Route(f"{API}/passkeys/begin", register_begin, methods=["POST"]),
    Route(f"{API}/passkeys/login/begin", login_begin, methods=["POST"]),
    Route(f"{API}/passkeys/login", log_in, methods=["POST"]),
    Route(f"{API}/passkeys/step-up/begin", step_up_begin, methods=["POST"]),
    Route(f"{API}/passkeys/step-up", step_up, methods=["POST"]),
    Route(f"{API}/passkeys/{{passkey}}", remove, methods=["DELETE"]),
]
