"""What the owner keeps of a share: an object sealed for readers.  ``docs/format/shares.md``.

From it any reader's device shows the link again, brings a share up to date, and takes it back; and a prune knows what living
shares need.  It says nothing to the store but that there is a share.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress

import msgspec

from safehold.core.errors import DamageError, FormatError, ObjectExists, ObjectMissing
from safehold.core.events import Reporter, Warn
from safehold.repo import envelopes
from safehold.repo.seals import Seals
from safehold.repo.shares.keys import Lock
from safehold.storage.store import Store

PREFIX = "shares/"
RECORD = ".record"
MANIFEST = ".manifest"
DATA = ".data"
GRACE_NS = 86400 * 10**9
"""How long after its end a share's data stay: clocks differ, and downloads end."""
_KEY = re.compile(r"shares/([0-9a-f]{32})/([0-9a-f]{64})(\.record|\.manifest|\.data)")


class Follow(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of a share of "always the latest": of which backups."""

    host: str
    paths: list[bytes]
    tag: str = ""


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A share, as its owner knows it."""

    share: bytes
    generation: int = 0
    """The highest one counts."""
    made_ns: int
    """Of this record."""
    name: str
    """What people call it: what was asked for."""
    snapshot: str
    path: bytes
    lock: Lock
    key: bytes
    """K: makes the next manifest, and re-keys nothing."""
    secret: bytes
    """To show the link again."""
    server: str = ""
    """Scheme and host of the links; empty: a share file."""
    expires_ns: int = 0
    """0: never."""
    opens: int = 0
    """How often it may be opened; 0: as often as anybody likes."""
    follow: Follow | None = None
    manifest: bytes = b""
    """SHA-256 of the manifest object; empty in a share file."""
    objects: list[tuple[bytes, int]] = []
    """SHA-256 and size of the other objects of this share."""
    segments: list[bytes] = []
    """Ids of the repository's own segments that it opens."""
    entries: int = 0
    size: int = 0
    revoked: bool = False

    def is_over(self, now_ns: int) -> bool:
        """Whether nobody can open it any more."""
        return self.revoked or (self.expires_ns != 0 and self.expires_ns <= now_ns)


def key_of(share: bytes, sha256: bytes, what: str) -> str:
    """The store key of an object of a share."""
    return f"{PREFIX}{share.hex()}/{sha256.hex()}{what}"


def write(seals: Seals, store: Store, record: Record) -> str:
    """Store a record; its key."""
    data = envelopes.wrap(seals, "share", msgspec.msgpack.encode(record), seals.new_session())
    key = key_of(record.share, bytes.fromhex(envelopes.name_of(data)), RECORD)
    with suppress(ObjectExists):  # the same bytes: it was repeated
        store.put(key, data)
    return key


class Stored(msgspec.Struct, frozen=True):
    """The newest record of a share, with its place in the store."""

    key: str
    record: Record


def load_all(seals: Seals, store: Store, report: Reporter) -> dict[bytes, Stored]:
    """The newest record of each share.  Those that no reader or owner signed are reported and passed over."""
    found: dict[bytes, Stored] = {}
    for info in store.list(PREFIX):
        match = _KEY.fullmatch(info.key)
        if match is None or match[3] != RECORD:
            continue
        try:
            record = _parse(seals, bytes.fromhex(match[1]), match[2], store.get(info.key))
        except ObjectMissing:
            continue  # an older one that was just removed
        except DamageError as error:
            report(Warn(code="share-damaged", message=str(error), path=info.key, hint="Run `safehold check`."))
            continue
        before = found.get(record.share)
        if before is None or _rank(before.record) < _rank(record):
            found[record.share] = Stored(info.key, record)
    return found


def live_segments(records: Iterable[Stored], now_ns: int) -> frozenset[bytes]:
    """Segments that living shares open: a prune moves them, if need be, and never opens or drops them."""
    living = [each.record for each in records if not each.record.is_over(now_ns - GRACE_NS)]
    return frozenset(segment for record in living for segment in record.segments)


def leftovers(store: Store, records: Mapping[bytes, Stored], now_ns: int) -> list[str]:
    """Keys of objects that no living share needs: older generations, and everything of shares that are over.

    What is younger than a day stays: its record may not be written yet.  Newest records come last, so that whatever
    interrupts their removal, no older one counts again.
    """
    newest = {each.key for each in records.values()}
    found = []
    for info in store.list(PREFIX):
        match = _KEY.fullmatch(info.key)
        if match is not None and (info.modified_ns or now_ns) <= now_ns - GRACE_NS:
            stored = records.get(bytes.fromhex(match[1]))
            if _is_over(stored, info.key, bytes.fromhex(match[2]), match[3], now_ns):
                found.append(info.key)
    return sorted(found, key=lambda key: (key in newest, key))


def _is_over(stored: Stored | None, key: str, sha256: bytes, what: str, now_ns: int) -> bool:
    if stored is None:
        return what != RECORD  # a record that cannot be believed is for `check`
    record = stored.record
    if record.is_over(now_ns - GRACE_NS):
        return True
    if what == RECORD:
        return key != stored.key
    return sha256 != record.manifest if what == MANIFEST else sha256 not in {name for name, _ in record.objects}


def _rank(record: Record) -> tuple[bool, int, int]:
    return (record.revoked, record.generation, record.made_ns)


def _parse(seals: Seals, share: bytes, name: str, data: bytes) -> Record:
    opened = envelopes.unwrap(seals, "share", name, data)
    if not seals.is_proven(opened.header.signer):
        raise DamageError("A share's record is signed by a key that may not read; it is not believed.")
    try:
        record = msgspec.msgpack.decode(opened.body, type=Record)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"A share's record cannot be read: {error}.") from error
    if record.share != share:
        raise DamageError("A share's record lies under another share's name.")
    return record
