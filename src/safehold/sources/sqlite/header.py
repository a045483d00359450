"""The first 100 bytes of a database file.  https://www.sqlite.org/fileformat2.html, section 1.3."""

from __future__ import annotations

import struct

import msgspec

from safehold.core.errors import DatabaseFailed

MAGIC = b"SQLite format 3\0"
SIZE = 100
WAL = 2
"""The write version of a database in WAL mode; 1 is a rollback journal."""
_ENCODINGS = {1: "UTF-8", 2: "UTF-16le", 3: "UTF-16be"}


class Header(msgspec.Struct, frozen=True):
    """What a database file says of itself."""

    page: int
    """Bytes of a page: a power of two from 512 to 65536."""
    wal: bool
    changes: int
    """Counts transactions in rollback mode; in WAL mode, only some of them."""
    pages: int
    """0 where the program that wrote it was too old to say."""
    encoding: str
    application: int
    user_version: int
    library: int
    """Version number of the SQLite that wrote it last, such as 3040001."""


def parse(data: bytes, path: str) -> Header:
    """The header at the beginning of a file.  Raises ``DatabaseFailed`` for a file that is something else, or encrypted."""
    page = int.from_bytes(data[16:18], "big") if len(data) >= SIZE else 0
    page = 65536 if page == 1 else page
    if data[:16] != MAGIC or page < 512 or page & (page - 1):
        raise DatabaseFailed(
            f"{path} is no SQLite database, or an encrypted one.",
            "Encrypted ones are exported by the program that has the key; a file of another kind is backed up by its bare name.",
        )
    (changes, pages) = struct.unpack_from(">II", data, 24)
    (encoding, user_version) = struct.unpack_from(">II", data, 56)
    (application, valid_for, library) = struct.unpack_from(">I20xII", data, 68)
    return Header(
        page=page,
        wal=data[18] == WAL,
        changes=changes,
        pages=pages if valid_for == changes else 0,
        encoding=_ENCODINGS.get(encoding, ""),
        application=application,
        user_version=user_version,
        library=library,
    )


def library_version(number: int) -> str:
    """3040001 is 3.40.1; empty for 0."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}" if number else ""
