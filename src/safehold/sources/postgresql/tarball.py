"""Tar archives as PostgreSQL sends them (POSIX ustar, ``src/port/tar.c``), read once from front to back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from safehold.core.errors import DatabaseFailed

HEADER = 512
FILE, LINK, FOLDER = b"0", b"2", b"5"


class Member(msgspec.Struct, frozen=True):
    """A member's header.  Its content must be taken from the feed before the next one is asked for, or is skipped."""

    name: bytes
    kind: bytes
    size: int
    mode: int
    uid: int
    gid: int
    mtime: int
    target: bytes


class Feed:
    """Bytes that come in pieces, taken in other pieces."""

    def __init__(self, more: Callable[[], bytes]) -> None:
        """``more()`` gives the next piece, b"" at the end."""
        self._more = more
        self._piece = memoryview(b"")

    def take(self, length: int) -> bytes:
        """That many bytes; fewer at the end."""
        if len(self._piece) >= length:
            taken, self._piece = bytes(self._piece[:length]), self._piece[length:]
            return taken
        parts: list[bytes | memoryview] = []
        while length:
            if not self._piece:
                self._piece = memoryview(self._more())
                if not self._piece:
                    break
            parts.append(self._piece[:length])
            length -= len(parts[-1])
            self._piece = self._piece[len(parts[-1]) :]
        return b"".join(parts)

    def require(self, length: int) -> bytes:
        """That many bytes.  Raises ``DatabaseFailed``."""
        data = self.take(length)
        if len(data) != length:
            raise DatabaseFailed("The server's archive ends in the middle of a file; no snapshot was made.", "Run it again.")
        return data


class Members:
    """The members of an archive."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Member]:
        """Raises ``DatabaseFailed`` for what is no archive, or is cut off."""
        while True:
            self._skip()
            header = self._feed.take(HEADER)
            if not header or not header.strip(b"\0"):
                while self._feed.take(HEADER):
                    pass
                return
            member = _parse(header)
            self._left, self._padding = member.size, -member.size % HEADER
            yield member

    def read(self, most: int) -> bytes:
        """Of the content of the member at hand; b"" at its end."""
        data = self._feed.require(min(most, self._left))
        self._left -= len(data)
        return data

    def _skip(self) -> None:
        while self._left:
            self.read(min(self._left, 1 << 20))
        self._feed.require(self._padding)
        self._padding = 0


def _parse(header: bytes) -> Member:
    if len(header) != HEADER or int(header[148:156].strip(b"\0 ") or b"0", 8) != _checksum(header):
        raise DatabaseFailed("The server's archive is damaged on the way; no snapshot was made.", "Run it again.")
    prefix = header[345:500].rstrip(b"\0")
    name = header[:100].rstrip(b"\0")
    return Member(
        name=(prefix + b"/" + name if prefix else name).removeprefix(b"./").rstrip(b"/"),
        kind=header[156:157],
        size=_number(header[124:136]) if header[156:157] in (FILE, b"\0") else 0,
        mode=_number(header[100:108]),
        uid=_number(header[108:116]),
        gid=_number(header[116:124]),
        mtime=_number(header[136:148]),
        target=header[157:257].rstrip(b"\0"),
    )


def _checksum(header: bytes) -> int:
    return sum(header[:148]) + sum(header[156:]) + 8 * 32


def _number(field: bytes) -> int:
    """Octal digits, or (for large ones) a big-endian number behind a byte of 128."""
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    return int(field.strip(b"\0 ") or b"0", 8)
