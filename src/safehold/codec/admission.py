"""The six words by which a person compares a device's keys with what a server says they are.  ``docs/server.md``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from safehold.codec.recovery import word_list

WORDS = 6
INFO = b"safehold/1 enrolment "


def words(exchange_public: bytes, signing_public: bytes, enrolment: str) -> list[str]:
    """66 bits of SHA-256 over both public keys (32 bytes each) and the request's id, 11 bits a word.

    A server that puts other keys in their place would have to find some with the same words: 2^66 tries for keys of its own.
    """
    digest = hashlib.sha256(INFO + exchange_public + signing_public + enrolment.encode()).digest()
    bits = int.from_bytes(digest, "big") >> (256 - 11 * WORDS)
    return [word_list()[bits >> 11 * place & 0x7FF] for place in reversed(range(WORDS))]


def normal(text: str) -> str:
    """Words as they are compared: in small letters, with hyphens."""
    return "-".join(re.findall(r"[a-z]+", text.lower()))


def joined(chosen: Sequence[str]) -> str:
    """Words as they are shown."""
    return "-".join(chosen)
