"""Who may do what with which object.  The table in ``docs/server.md``, "Who may do what", is held against this by a test."""

from __future__ import annotations

import re
from enum import Flag, auto

from safehold.storage.keys import QUARANTINE


class Right(Flag):
    """What one may do in a repository."""

    LIST = auto()
    META = auto()
    """Get config, keys, index, sessions, condemned."""
    OWN = auto()
    """Get what one put oneself."""
    SNAPSHOTS = auto()
    PACKS = auto()
    MARK = auto()
    """Put a session mark, and delete one's own."""
    ADD = auto()
    """Put packs, index shards and snapshots."""
    ADMINISTER = auto()
    """Put config, keys and condemned; quarantine."""
    DELETE = auto()
    SHARE = auto()
    MANAGE = auto()
    """Members, tokens, devices, policies."""


_SEE = Right.LIST | Right.META
RIGHTS = {
    "list": _SEE,
    "write": _SEE | Right.OWN | Right.MARK | Right.ADD,
    "read": _SEE | Right.OWN | Right.SNAPSHOTS | Right.PACKS | Right.MARK | Right.SHARE,
    "maintain": _SEE | Right.PACKS | Right.MARK,
    "admin": ~Right(0),
}

_HASHED = re.compile(r"(?:packs/([0-9a-f]{2})|index|snapshots|condemned)/([0-9a-f]{64})")
TOPS = ("config", "config-copy", "keys", "packs", "index", "snapshots", "sessions", "condemned", "shares", "parity")
_CHAINED = ("config", "config-copy", "keys", "snapshots", "condemned")


def rights(scope: str) -> Right:
    """Of a role, or of several joined by ``+``."""
    found = Right(0)
    for role in scope.split("+"):
        found |= RIGHTS.get(role, Right(0))
    return found


def is_scope(text: str) -> bool:
    """Whether these are roles that there are."""
    return all(role in RIGHTS for role in text.split("+"))


def top_of(key: str) -> str:
    """The first part of a key; validation's own folders, which anybody who adds may use, are ``validate``."""
    top = key.removeprefix(f"{QUARANTINE}/").split("/", 1)[0]
    return "validate" if top.startswith("validate-") else key.split("/", 1)[0]


def is_known(key: str) -> bool:
    """Whether a repository has objects there."""
    return top_of(key) in TOPS or top_of(key) == "validate"


def hash_in(key: str) -> str:
    """The SHA-256 that the name of an object promises; empty if it promises none."""
    match = _HASHED.fullmatch(key)
    return match[2] if match and match[1] in (None, match[2][:2]) else ""


def must_be_hashed(key: str) -> bool:
    """Whether an object there has to be named by its bytes."""
    return top_of(key) in ("packs", "index", "snapshots", "condemned")


def is_chained(key: str) -> bool:
    """Whether storing it changes what the repository means (``docs/server.md``, "The chain")."""
    return top_of(key) in _CHAINED


def is_locked(key: str) -> bool:
    """Whether an object is put under the bucket's lock, where there is one: all but what comes and goes."""
    return top_of(key) not in ("sessions", "validate", QUARANTINE)


def to_get(key: str) -> Right:
    """What it takes to read an object that somebody else put."""
    return {"snapshots": Right.SNAPSHOTS, "packs": Right.PACKS, "parity": Right.PACKS, QUARANTINE: Right.ADMINISTER}.get(
        top_of(key), Right.META
    )


def to_put(key: str) -> Right:
    """What it takes to store an object there."""
    top = top_of(key)
    if top in ("packs", "index", "snapshots", "parity", "validate"):
        return Right.ADD
    return {"sessions": Right.MARK, "shares": Right.SHARE}.get(top, Right.ADMINISTER)
