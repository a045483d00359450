"""Random ids and secrets, and their hashes."""

from __future__ import annotations

import base64
import hashlib
import secrets


def new_id() -> str:
    """32 hexadecimal digits."""
    return secrets.token_hex(16)


def new_secret() -> str:
    """256 random bits, as 43 characters that need no quoting."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()


def fingerprint(secret: str) -> str:
    """What is stored of a secret that is itself 256 random bits: its SHA-256.  A slow hash would gain nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()
