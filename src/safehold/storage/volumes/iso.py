"""A small ISO 9660 directory (ECMA-119) over data that already lie at known sectors: what makes an image file a mountable disc.

Nothing of the data is copied or moved.  The directory of a later session lies elsewhere and names the files of all sessions, by
absolute addresses, so that nothing that was written before is touched.  Level 1: names are 8.3 in upper case, files are smaller
than 4 GiB.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from safehold.storage.volumes.media.medium import SECTOR, Extent

SYSTEM_AREA = 16
"""Sectors in front of the descriptors, of which ECMA-119 (6.2.1) says nothing."""
_NAME = re.compile(r"(?:[A-Z0-9_]{1,8}/)?[A-Z0-9_]{1,8}(?:\.[A-Z0-9_]{1,3})?")
_FOLDER = 2
"""Flag of a directory record (ECMA-119, 9.1.6)."""
_SELF, _PARENT = b"\0", b"\1"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_TIME = b"0" * 16 + b"\0"


@dataclass(frozen=True, slots=True)
class Title:
    """What the primary volume descriptor says."""

    label: str
    """What a file manager shows: at most 32 letters, digits and _ of it."""
    set_label: str = ""
    time_ns: int = 0
    """When it was written."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a folder's records lie."""

    name: bytes
    sector: int
    sectors: int


def directory(title: Title, start: int, extents: Iterable[Extent], end: int = 0) -> bytes:
    """The sectors from ``start`` on: system area, descriptors, path tables, folders.

    ``end``: the sector behind everything, if files alone don't tell.  Raises ``ValueError`` for names that are not 8.3.
    """
    files = _sorted(extents)
    when = _short_time(title.time_ns)
    names = [b"", *sorted({_split(each)[0] for each in files} - {b""})]
    places = _placed(names, files, start + SYSTEM_AREA + 4)
    folders = b"".join(_folder(place, places, files, when) for place in places)
    last = max([end, places[-1].sector + places[-1].sectors, *(each.sector + -(-each.size // SECTOR) for each in files)])
    tables = [_path_table(places, order) for order in ("<", ">")]
    table_at = start + SYSTEM_AREA + 2
    root = _record(_SELF, places[0].sector, places[0].sectors * SECTOR, _FOLDER, when)
    parts = [bytes(SYSTEM_AREA * SECTOR), _primary(title, last, len(tables[0]), table_at, root), _terminator()]
    return b"".join([*parts, *(_padded(each) for each in tables), folders])


def is_directory(data: bytes) -> bool:
    """Whether bytes that begin at a session's first sector begin with a system area and a primary volume descriptor."""
    at = SYSTEM_AREA * SECTOR
    return data[at : at + 7] == b"\1CD001\1"


def _sorted(extents: Iterable[Extent]) -> list[Extent]:
    files = sorted(extents, key=lambda each: each.name)
    for each in files:
        if not _NAME.fullmatch(each.name) or not 0 <= each.size < 1 << 32:
            raise ValueError(f"{each.name} of {each.size} bytes is no file of an ISO 9660 disc.")
    if len({each.name for each in files}) < len(files):
        raise ValueError("Two files have one name.")
    return files


def _split(extent: Extent) -> tuple[bytes, bytes]:
    folder, _, name = extent.name.rpartition("/")
    return folder.encode(), (name if "." in name else name + ".").encode() + b";1"


def _placed(names: list[bytes], files: list[Extent], sector: int) -> list[_Place]:
    """Where each folder's records lie, one folder after the other; the root is the first."""
    places = []
    for name in names:
        lengths = [34, 34, *(_length(_split(each)[1]) for each in files if _split(each)[0] == name)]
        if not name:
            lengths += [_length(each) for each in names[1:]]
        sectors, room = 1, SECTOR
        for length in lengths:
            if length > room:
                sectors, room = sectors + 1, SECTOR
            room -= length
        places.append(_Place(name, sector, sectors))
        sector += sectors
    return places


def _folder(place: _Place, places: list[_Place], files: list[Extent], when: bytes) -> bytes:
    root = places[0]
    entries = [(_split(each)[1], each.sector, each.size, 0) for each in files if _split(each)[0] == place.name]
    if place is root:
        entries += [(each.name, each.sector, each.sectors * SECTOR, _FOLDER) for each in places[1:]]
    records = [
        _record(_SELF, place.sector, place.sectors * SECTOR, _FOLDER, when),
        _record(_PARENT, root.sector, root.sectors * SECTOR, _FOLDER, when),
        *(_record(name, sector, size, flags, when) for name, sector, size, flags in sorted(entries)),
    ]
    data = b""
    for each in records:  # a record never lies in two sectors (ECMA-119, 6.8.1.1)
        data += each if len(data) % SECTOR + len(each) <= SECTOR else bytes(-len(data) % SECTOR) + each
    return data.ljust(place.sectors * SECTOR, b"\0")


def _length(name: bytes) -> int:
    return 33 + len(name) + (len(name) + 1) % 2


def _record(name: bytes, sector: int, size: int, flags: int, when: bytes) -> bytes:
    """A directory record (ECMA-119, 9.1)."""
    head = struct.pack("<BB", _length(name), 0) + _both(sector) + _both(size) + when
    return (head + struct.pack("<BBB", flags, 0, 0) + _both(1, "H") + bytes([len(name)]) + name).ljust(_length(name), b"\0")


def _path_table(places: list[_Place], order: str) -> bytes:
    """A path table (ECMA-119, 9.4); every folder's parent is the first, the root."""
    table = b""
    for place in places:
        name = place.name or _SELF
        table += struct.pack(f"{order}BBIH", len(name), 0, place.sector, 1) + name + bytes(len(name) % 2)
    return table


def _primary(title: Title, end: int, table_size: int, table_at: int, root: bytes) -> bytes:
    """The primary volume descriptor (ECMA-119, 8.4)."""
    fields = [
        b"\1CD001\1\0",
        _text("", 32),
        _text(_only(title.label, "A-Z0-9_"), 32),
        bytes(8),
        _both(end),
        bytes(32),
        _both(1, "H"),
        _both(1, "H"),
        _both(SECTOR, "H"),
        _both(table_size),
        struct.pack("<II", table_at, 0),
        struct.pack(">II", table_at + 1, 0),
        root,
        _text(_only(title.set_label, "A-Z0-9_"), 128),
        _text("", 128),
        _text("SAFEHOLD", 128),
        _text("SAFEHOLD BACKUP VOLUME. SEE README.TXT", 128),
        _text("", 37),
        _text("README.TXT;1", 37),
        _text("", 37),
        _long_time(title.time_ns),
        _long_time(title.time_ns),
        _NO_TIME,
        _NO_TIME,
        b"\1",
    ]
    return _padded(b"".join(fields))


def _terminator() -> bytes:
    return _padded(b"\xffCD001\1")


def _both(value: int, kind: str = "I") -> bytes:
    """A number in both byte orders (ECMA-119, 7.2.3 and 7.3.3)."""
    return struct.pack(f"<{kind}", value) + struct.pack(f">{kind}", value)


def _text(text: str, size: int) -> bytes:
    return text.encode("ascii")[:size].ljust(size)


def _only(text: str, letters: str) -> str:
    return re.sub(f"[^{letters}]", "_", text.upper())


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % SECTOR)


def _moment(time_ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_ns // 1000)


def _short_time(time_ns: int) -> bytes:
    """Seven bytes: year since 1900, month, day, hour, minute, second, quarter hours from UTC (ECMA-119, 9.1.5)."""
    when = _moment(time_ns)
    return bytes([when.year - 1900, when.month, when.day, when.hour, when.minute, when.second, 0])


def _long_time(time_ns: int) -> bytes:
    return _moment(time_ns).strftime("%Y%m%d%H%M%S00").encode() + b"\0"
