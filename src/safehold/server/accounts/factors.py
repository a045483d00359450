"""Second factors: codes of an authenticator (RFC 6238), each good once."""

from __future__ import annotations

import hmac
import io

import pyotp
import segno
from sqlalchemy import Connection, update

from safehold.core.clock import NS
from safehold.server.schema import people

STEP = 30
"""Seconds."""
AROUND = 1
"""Steps before and after now whose codes are taken: clocks differ."""


def new_secret() -> str:
    """For an authenticator: 160 random bits, base32."""
    return pyotp.random_base32()


def address(secret: str, name: str, server: str) -> str:
    """What its QR says."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=f"Safehold {server}".strip())


def qr(text: str) -> str:
    """A QR code as SVG."""
    out = io.BytesIO()
    segno.make(text, error="m").save(out, kind="svg", scale=4, border=2, xmldecl=False, svgns=True)
    return out.getvalue().decode()


def matching_step(secret: str, code: str, now_ns: int) -> int:
    """The step whose code that is; 0: none near now."""
    typed = "".join(code.split())
    now = now_ns // NS // STEP
    totp = pyotp.TOTP(secret)
    found = 0
    for step in range(now - AROUND, now + AROUND + 1):
        if hmac.compare_digest(totp.generate_otp(step).encode(), typed.encode()):
            found = step
    return found


def use_code(connection: Connection, person: str, secret: str, code: str, now_ns: int) -> bool:
    """Whether that is a code of now that was not used before; it is then."""
    step = matching_step(secret, code, now_ns) if secret else 0
    if not step:
        return False
    newer = (people.c.id == person) & (people.c.totp_step < step)
    return connection.execute(update(people).where(newer).values(totp_step=step)).rowcount == 1
