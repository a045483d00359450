"""What lies on a drive beside the repository: who it is (VOLUME.JSN), what to do with it (README.TXT), the sealed catalogue.

Names are upper-case, which no key of a store is, so that they and the repository's objects share a folder.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from safehold.core.errors import StoreError, StoreUnreachable
from safehold.storage import filesystem as fs
from safehold.storage.oserrors import explained
from safehold.storage.volumes.burning import restore_program

FOLDER = "safehold"
"""On the drive: everything is in it."""
IDENTITY = "VOLUME.JSN"
README = "README.TXT"
CATALOGUE = "CATALOG.BIN"
PARTIAL = "NEW.TMP"
VERSION = 1
_MOST = 1 << 16
_MOST_SEALED = 256 << 20


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What anyone may read of a drive."""

    safehold: str = "volume"
    version: int = VERSION
    kind: str = "drives"
    set: str
    """The set's id: 16 bytes in hex."""
    name: str
    """The set's name."""
    uuid: str
    """The drive's own: 16 bytes in hex."""
    number: int
    label: str
    repository: str
    """The repository's id."""


def read(folder: Path) -> Identity | None:
    """Who a drive's folder says it is; None if it says nothing that can be understood.  Raises ``OSError``."""
    try:
        with (folder / IDENTITY).open("rb") as file:
            return _decoder.decode(file.read(_MOST))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def write(folder: Path, identity: Identity) -> None:
    """Say who it is, durably, and how its contents are restored.  Raises ``StoreError``."""
    write_file(folder, restore_program.NAME, restore_program.drive_program())
    write_file(folder, README, readme(identity).encode().replace(b"\n", b"\r\n"))
    write_file(folder, IDENTITY, msgspec.json.format(msgspec.json.encode(identity), indent=2) + b"\n")


def read_catalogue(folder: Path) -> bytes | None:
    """The sealed catalogue; None if there is none.  After a loss of power it may be in the partial file only."""
    for name in (CATALOGUE, PARTIAL):
        try:
            with (folder / name).open("rb") as file:
                data = file.read(_MOST_SEALED)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise explained(error, name, str(folder)) from error
        if data:
            return data
    return None


def write_catalogue(folder: Path, sealed: bytes) -> None:
    """Put the sealed catalogue in the place of the one before.  Raises ``StoreError``."""
    write_file(folder, CATALOGUE, sealed)


def write_file(folder: Path, name: str, data: bytes) -> None:
    """Write a small file whole: FAT has no journal, so it is flushed under another name first."""
    partial = folder / PARTIAL
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)
        with open(descriptor, "wb", buffering=0) as file:
            fs.write_all(file.fileno(), memoryview(data))
            fs.flush_file(file.fileno())
        fs.replace_durably(str(partial), str(folder / name))
    except OSError as error:
        raise explained(error, name, str(folder)) from error


def require_repository(folder: Path, title: str) -> None:
    """Raise ``StoreError`` where a drive that says who it is has no repository any more."""
    if not any(os.path.isfile(folder / name) for name in ("config", "config-copy")):
        if not os.path.isfile(folder / IDENTITY):
            raise StoreUnreachable(f"{title} is gone: it was unplugged, or unmounted, just now.", "Plug it in again.")
        raise StoreError(
            f"{folder} says that it is a drive of a set, but there is no repository on it.",
            "Were its files deleted?  `safehold volumes add` with --renew sets it up anew.",
        )


def readme(identity: Identity) -> str:
    """What a person reads who finds the drive in ten years."""
    return f"""SAFEHOLD BACKUP DRIVE

This is drive {identity.number} ("{identity.label}") of the backup set "{identity.name}".
The folder "{FOLDER}" on it is a complete, encrypted backup repository: this drive alone is
enough to restore everything that was backed up to it. Please change nothing in here.

HOW TO RESTORE

1. You need the passphrase, or the printed recovery words, or a key file of this backup.
   Without one of them nobody can read it.
2. Install Python 3.11 or newer, then the program Safehold:   pip install safehold
   (source and documentation: in the Python Package Index, "safehold").
3. In a terminal, with this folder's path instead of FOLDER:

       safehold -r FOLDER snapshots
       safehold -r FOLDER restore latest --target restored

   The first command lists the backups, the second restores the newest one.

To go on with backups on a new computer:   safehold volumes recover FOLDER

IF THE PROGRAM CANNOT BE FOUND ANY MORE

RESTORE.PYZ in this folder restores without Safehold, on Linux, macOS or a BSD with Python 3.11
or newer (it is a zip file of one file of plain Python: look inside):

       pip install cryptography msgpack zstandard
       python3 RESTORE.PYZ FOLDER list
       python3 RESTORE.PYZ FOLDER restore latest restored

The format is documented byte by byte in the program's documentation, docs/format.
In short: "config" is a line of JSON and a signature; "keys" holds the keys, sealed under the
passphrase (Argon2id, AES-256-GCM); "snapshots" and "index" are sealed lists; "packs" holds
the data, compressed with Zstandard and sealed with AES-256-GCM. Every object's file name is
the SHA-256 of its bytes, so whether one is damaged can be seen with sha256sum.

set         {identity.set}
drive       {identity.uuid}
repository  {identity.repository}
"""


_decoder = msgspec.json.Decoder(Identity)
