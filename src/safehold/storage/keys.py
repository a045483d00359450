"""The one definition of what may be a key, so that no driver has to think about paths that escape or cases that collide."""

from __future__ import annotations

import re
from collections.abc import Iterator

from safehold.core.errors import StoreError

MAX_KEY = 200
"""Characters.  With a root in front it stays below the 260 of old Windows programs and the 255 bytes of a cloud drive."""

RESERVED = "tmp"
"""The first part that no key has: drivers keep what is not yet an object there."""

QUARANTINE = "quarantine"
"""The first part of the keys that ``Store.quarantine`` gives."""

_PART = r"[a-z0-9-](?:[a-z0-9.-]*[a-z0-9-])?"
_KEY = re.compile(rf"{_PART}(?:/{_PART})*")
_WHOLE_PART = re.compile(_PART)


def is_key(text: str) -> bool:
    """Whether ``text`` may name an object."""
    return len(text) <= MAX_KEY and _KEY.fullmatch(text) is not None and text.split("/", 1)[0] != RESERVED


def is_part(text: str) -> bool:
    """Whether ``text`` may stand between two slashes of a key."""
    return _WHOLE_PART.fullmatch(text) is not None


def check_key(key: str) -> None:
    """Raise ``StoreError`` unless ``key`` may name an object."""
    if not is_key(key):
        raise StoreError(
            f"{key[: MAX_KEY + 1]!r} cannot be the key of an object.",
            "Keys have the characters a-z 0-9 . - /, at most 200 of them, and no empty part; no part begins or ends with a dot.",
        )


def check_prefix(prefix: str) -> None:
    """Raise ``StoreError`` unless ``prefix`` is empty or a folder with its slash."""
    if prefix and not (prefix.endswith("/") and is_key(prefix[:-1])):
        raise StoreError(
            f"{prefix[: MAX_KEY + 1]!r} cannot be the prefix of a listing.", "Give a folder with its slash, such as 'packs/'."
        )


def quarantine_keys(key: str) -> Iterator[str]:
    """The keys under which ``key`` may be quarantined, the first free one being its place."""
    yield f"{QUARANTINE}/{key}"
    number = 0
    while True:
        number += 1
        yield f"{QUARANTINE}/{key}.{number}"


def top_of(key: str) -> str:
    """The first part of a key."""
    return key.split("/", 1)[0]
