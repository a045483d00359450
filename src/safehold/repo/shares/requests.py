"""What the owner keeps of a request link: an object sealed for readers.  ``docs/format/shares.md``."""

from __future__ import annotations

import re

import msgspec

from safehold.core.errors import DamageError, FormatError, ObjectMissing
from safehold.core.events import Reporter, Warn
from safehold.repo import envelopes
from safehold.repo.seals import Seals
from safehold.repo.shares.records import PREFIX
from safehold.storage.store import ObjectInfo, Store

REQUEST = ".request"
SENT = ".sent"
_KEY = re.compile(r"shares/([0-9a-f]{32})/([0-9a-f]{64})(\.request|\.sent)")


class Request(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A link by which somebody sends files in."""

    request: bytes
    made_ns: int
    note: str = ""
    """What it is for: the sender reads it."""
    public: bytes
    private: bytes
    """X25519."""
    server: str
    expires_ns: int = 0
    most_files: int
    most_bytes: int


def write(seals: Seals, store: Store, request: Request) -> None:
    """Store it."""
    data = envelopes.wrap(seals, "request", msgspec.msgpack.encode(request), seals.new_session())
    store.put(f"{PREFIX}{request.request.hex()}/{envelopes.name_of(data)}{REQUEST}", data)


def load_all(seals: Seals, store: Store, report: Reporter) -> tuple[list[Request], dict[bytes, list[ObjectInfo]]]:
    """Every request, oldest first, and what was sent to each; requests that no reader or owner signed are passed over."""
    found: list[Request] = []
    sent: dict[bytes, list[ObjectInfo]] = {}
    for info in store.list(PREFIX):
        match = _KEY.fullmatch(info.key)
        if match is None:
            continue
        if match[3] == SENT:
            sent.setdefault(bytes.fromhex(match[1]), []).append(info)
            continue
        try:
            found.append(_parse(seals, match[1], match[2], store.get(info.key)))
        except ObjectMissing:
            continue
        except DamageError as error:
            report(Warn(code="share-damaged", message=str(error), path=info.key, hint="Run `safehold check`."))
    return sorted(found, key=lambda each: (each.made_ns, each.request)), sent


def _parse(seals: Seals, request: str, name: str, data: bytes) -> Request:
    opened = envelopes.unwrap(seals, "request", name, data)
    if not seals.is_proven(opened.header.signer):
        raise DamageError("A request is signed by a key that may not read; it is not believed.")
    try:
        found = msgspec.msgpack.decode(opened.body, type=Request)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"A request cannot be read: {error}.") from error
    if found.request.hex() != request:
        raise DamageError("A request lies under another one's name.")
    return found
