"""``backup_manifest``: the files of a base with sizes and checksums, as ``pg_verifybackup`` and incremental bases want it.

Format: the chapter "Backup Manifest Format" of PostgreSQL's manual.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import msgspec

from safehold.core.errors import DatabaseFailed
from safehold.sources.postgresql.positions import format_lsn

NAME = b"backup_manifest"


class File(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    """A file's row.  The path is that of JSON, or hexadecimal where it is not UTF-8."""

    path: str = ""
    encoded_path: str = msgspec.field(default="", name="Encoded-Path")
    size: int = msgspec.field(default=-1, name="Size")
    modified: str = msgspec.field(default="", name="Last-Modified")
    algorithm: str = msgspec.field(default="", name="Checksum-Algorithm")
    checksum: str = msgspec.field(default="", name="Checksum")


class Range(msgspec.Struct, frozen=True):
    """A stretch of the log that a base needs."""

    timeline: int = msgspec.field(name="Timeline")
    start: str = msgspec.field(name="Start-LSN")
    stop: str = msgspec.field(name="End-LSN")


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """A whole manifest."""

    version: int = msgspec.field(name="PostgreSQL-Backup-Manifest-Version")
    system: int = msgspec.field(default=0, name="System-Identifier")
    files: list[File] = msgspec.field(default_factory=list, name="Files")
    ranges: list[Range] = msgspec.field(default_factory=list, name="WAL-Ranges")

    def by_path(self) -> dict[bytes, File]:
        """The rows by path."""
        return {path_of(file): file for file in self.files}


_decoder = msgspec.json.Decoder(Manifest)
_encoder = msgspec.json.Encoder()


def parse(data: bytes) -> Manifest:
    """A manifest from its bytes.  Raises ``DatabaseFailed`` for one that is damaged."""
    body, mark, rest = data.rpartition(b'"Manifest-Checksum"')
    try:
        if not mark or hashlib.sha256(body).hexdigest().encode() not in rest:
            raise ValueError("its checksum is wrong")
        return _decoder.decode(data)
    except ValueError as error:
        raise DatabaseFailed(f"The base's manifest cannot be read: {error}.", "Run it again.") from error


def encode(manifest: Manifest) -> bytes:
    """Its bytes, ending in their own checksum."""
    lines = [f'{{ "PostgreSQL-Backup-Manifest-Version": {manifest.version},\n'.encode()]
    if manifest.version >= 2:
        lines.append(f'"System-Identifier": {manifest.system},\n'.encode())
    rows = b",\n".join(_encoder.encode(file) for file in manifest.files)
    ranges = b",\n".join(_encoder.encode(each) for each in manifest.ranges)
    lines += [b'"Files": [\n', rows, b'\n],\n"WAL-Ranges": [\n', ranges, b"\n],\n"]
    body = b"".join(lines)
    return body + b'"Manifest-Checksum": "%s"}\n' % hashlib.sha256(body).hexdigest().encode()


def file(path: bytes, size: int, mtime_ns: int, sha256: str = "") -> File:
    """The row of a file; without a checksum where that is not known."""
    try:
        names = {"path": path.decode("utf-8")}
    except UnicodeDecodeError:
        names = {"encoded_path": path.hex()}
    modified = datetime.fromtimestamp(mtime_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S GMT")
    return File(**names, size=size, modified=modified, algorithm="SHA256" if sha256 else "", checksum=sha256)


def path_of(row: File) -> bytes:
    """A row's path."""
    return bytes.fromhex(row.encoded_path) if row.encoded_path else row.path.encode()


def made(major: int, system: str, files: list[File], timeline: int, start: int, stop: int) -> Manifest:
    """A manifest of our own for a base of that version of PostgreSQL."""
    ranges = [Range(timeline, format_lsn(start), format_lsn(stop))]
    if major >= 17:
        return Manifest(2, int(system), files, ranges)
    return Manifest(1, 0, files, ranges)
