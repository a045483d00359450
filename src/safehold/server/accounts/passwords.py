"""Passwords that the server never sees.  ``docs/server.md``, "Accounts".

A client stretches the password and sends a key made from it; what is stored is Argon2id of that key.  It is uniformly random
already, so its cost here need not be high: who steals the database still has the client's derivation before every guess.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

LOGIN_KEY_SIZE = 32
SALT_SIZE = 16
MEMORY_KIB = 64 * 1024
PASSES = 3
LANES = 1
"""The client's derivation: RFC 9106's second recommended option, on one lane, since browsers have no more."""

_HASHER = PasswordHasher(time_cost=2, memory_cost=16 * 1024, parallelism=1)
_NOBODY = _HASHER.hash(b"\0" * LOGIN_KEY_SIZE)


def stored(login_key: bytes) -> str:
    """What is stored of a login key."""
    return _HASHER.hash(login_key)


def is_right(login_key: bytes, hashed: str | None) -> bool:
    """Whether that is the key; where there is no such person it takes as long."""
    try:
        return _HASHER.verify(hashed or _NOBODY, login_key) and hashed is not None
    except (Argon2Error, InvalidHashError):
        return False


def salt_of_nobody(server_secret: bytes, name: str) -> bytes:
    """The salt told for a name that does not exist: always the same, as a real one's is."""
    return hmac.digest(server_secret, b"salt " + name.encode(), hashlib.sha256)[:SALT_SIZE]


def recovery_codes(count: int = 10) -> list[str]:
    """Codes for who has lost their second factor: 10 characters each, 50 random bits, good once."""
    alphabet = "abcdefghijkmnpqrstuvwxyz23456789"
    return ["".join(secrets.choice(alphabet) for _ in range(10)) for _ in range(count)]


def plain_code(text: str) -> str:
    """A recovery code as it is compared: without what people put between."""
    return "".join(text.split()).replace("-", "").lower()
