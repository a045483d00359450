"""The chain of what changed a repository's meaning on a server, as both sides compute it.

    hash of entry n = SHA-256(hash of entry n - 1 + JSON of [number, time_ns, what, key, sha256, actor])

with the hash before the first one 64 zeros, all hashes as hexadecimal text, and JSON without spaces.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from safehold.core.errors import RolledBack

BEGINNING = "0" * 64


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """One thing that happened."""

    number: int
    time_ns: int
    what: str
    """``put``, ``delete``, ``restore`` or ``quarantine``."""
    key: str
    sha256: str
    actor: str


class Head(msgspec.Struct, frozen=True):
    """The last entry that somebody saw."""

    number: int = 0
    hash: str = BEGINNING


def entry_hash(before: str, entry: Entry) -> str:
    """Of an entry that follows one with the hash ``before``."""
    return hashlib.sha256(before.encode() + msgspec.json.encode(entry)).hexdigest()


def follow(head: Head, entries: Iterable[Entry], location: str) -> Head:
    """The head behind these entries.  Raises ``RolledBack`` unless each is the next one."""
    for entry in entries:
        if entry.number != head.number + 1:
            raise RolledBack(f"The history of {location} is not whole: entry {head.number + 1} is missing.", _HINT)
        head = Head(entry.number, entry_hash(head.hash, entry))
    return head


def compare(told: Head, known: Head, location: str) -> None:
    """Raises ``RolledBack`` where what a server says cannot follow what was seen of it."""
    if told.number < known.number:
        what = f"entry {told.number}, where this machine has seen {known.number}"
        raise RolledBack(f"The server shows an older state of {location} than it did before ({what}).", _HINT)
    if told.number == known.number and told.hash != known.hash:
        raise RolledBack(f"The server shows another history of {location} than it did before.", _HINT)


_HINT = (
    "It was set back to an older copy of itself, or is not honest. Ask who runs it; "
    "`safehold login --trust-now` takes what it shows as the truth."
)
