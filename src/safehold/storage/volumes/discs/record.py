"""The catalogue that goes onto every volume, at the end of each session.  ``docs/format/volumes.md``.

What lies where is in the clear: keys of objects are hashes.  Labels, places and what was forgotten are sealed by the repository's
keys, if they were at hand.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import msgspec

from safehold.core.errors import FormatError
from safehold.storage.volumes.catalogue import Catalogue, Volume, VolumeSet
from safehold.storage.volumes.discs.ledger import Group, Ledger, Member, Piece, Session, Stored

KEY = "tmp/catalogue"
"""Its key: no object of a store has one that begins like this."""
MAGIC = b"SHVCAT1\n"
FIRST = ("config", "config-copy")
SLOTS = "keys/"
"""What nothing can be read without: two keys, and those below a folder."""
LIMIT = 1 << 30
"""Bytes of a catalogue that a reader unpacks."""
Seal = Callable[[bytes], bytes]


class Disc(msgspec.Struct, array_like=True, frozen=True):
    """What anybody may know of a volume."""

    number: int
    uuid: str
    generation: int
    parity: bool
    capacity: int
    state: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A catalogue."""

    set: str
    """The set's id, in hex."""
    media: str
    capacity: int
    inner: str
    parity: str
    volume: int
    """The volume that it was written to ..."""
    session: int
    """... and the session."""
    time_ns: int
    discs: list[Disc]
    objects: list[Stored]
    pieces: list[Piece]
    sessions: list[Session]
    groups: list[Group]
    members: list[Member]
    private: bytes = b""
    """``Private``, sealed; empty: the keys were not at hand."""
    whole: bool = True
    """False: objects and pieces are those of this volume alone, for want of room."""
    first: dict[str, bytes] = {}
    """Key -> bytes of what nothing can be read without: the repository's config and keys, which lie on the first volume."""


class Private(msgspec.Struct, frozen=True, kw_only=True):
    """What only those with a key may know."""

    set: VolumeSet
    volumes: list[Volume]
    forgotten: dict[str, int]


def take(
    ledger: Ledger,
    volume: int,
    session: int,
    time_ns: int,
    seal: Seal | None,
    whole: bool = True,
    closing: Group | None = None,
    first: dict[str, bytes] | None = None,
) -> bytes:
    """The catalogue as it is now, to be written to a volume; ``closing``: a group as it is when that is done."""
    catalogue = ledger.catalogue
    volume_set, volumes = catalogue.set, catalogue.volumes()
    pieces = [each for each in ledger.all_pieces() if whole or each.volume == volume]
    wanted = {each.object for each in pieces}
    private = Private(set=volume_set, volumes=volumes, forgotten=catalogue.forgotten())
    record = Record(
        set=volume_set.id,
        media=volume_set.media,
        capacity=volume_set.capacity,
        inner=volume_set.inner,
        parity=volume_set.parity,
        volume=volume,
        session=session,
        time_ns=time_ns,
        discs=[Disc(v.number, v.uuid, v.generation, v.parity, v.capacity, v.state) for v in volumes],
        objects=[each for each in ledger.all_objects() if each.number in wanted],
        pieces=pieces,
        sessions=[session for each in volumes for session in ledger.sessions(each.number)],
        groups=[closing if closing and closing.number == each.number else each for each in ledger.groups()],
        members=[member for group in ledger.groups() for member in ledger.members(group.number)],
        private=seal(zlib.compress(msgspec.msgpack.encode(private))) if seal is not None and whole else b"",
        whole=whole,
        first=first or {},
    )
    return MAGIC + zlib.compress(msgspec.msgpack.encode(record))


def parse(data: bytes) -> Record:
    """A catalogue from what was on a volume.  Raises ``FormatError``."""
    if not data.startswith(MAGIC):
        raise FormatError("The catalogue on the volume does not begin as one does.")
    try:
        return msgspec.msgpack.decode(_unpacked(data[len(MAGIC) :]), type=Record)
    except (ValueError, RecursionError, zlib.error) as error:
        raise FormatError(f"The catalogue on the volume cannot be read: {error}.") from error


def open_private(record: Record, unseal: Seal) -> Private | None:
    """The sealed part; None where there is none.  Raises what ``unseal`` raises, and ``FormatError``."""
    if not record.private:
        return None
    try:
        return msgspec.msgpack.decode(_unpacked(unseal(record.private)), type=Private)
    except (ValueError, RecursionError, zlib.error) as error:
        raise FormatError(f"The sealed part of the catalogue cannot be read: {error}.") from error


def adopt(record: Record, catalogue: Catalogue, ledger: Ledger) -> None:
    """Put what a catalogue says of objects, sessions and groups into the machine's."""
    with catalogue.transaction() as db:
        db.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)", map(_row, record.objects))
        db.executemany("INSERT OR REPLACE INTO pieces VALUES (?, ?, ?, ?, ?)", map(_row, record.pieces))
        for session in record.sessions:
            ledger.put_session(session)
        for group in record.groups:
            ledger.put_group(group)
        for member in record.members:
            ledger.put_member(msgspec.structs.replace(member, folded=0))


def _row(each: msgspec.Struct) -> tuple[object, ...]:
    return tuple(getattr(each, name) for name in each.__struct_fields__)


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    plain = unpacker.decompress(data, LIMIT)
    if not unpacker.eof:
        raise FormatError("The catalogue on the volume is cut off.")
    return plain
