"""Which snapshots this machine has seen, so that a store that loses one, or shows an older state, is found out.

A small file in the local cache.  It is a memory, not a proof: a machine without it learns it anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

FILE = "snapshots"


class Seen(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered."""

    snapshots: list[bytes] = []
    """Ids (32 bytes), sorted."""
    last: dict[str, str] = {}
    """Key slot (hex) -> the snapshot that was made with it last, on this machine."""


def load(folder: Path) -> Seen:
    """What this machine remembers of a repository; nothing, where that cannot be read."""
    try:
        return msgspec.msgpack.decode((folder / FILE).read_bytes(), type=Seen)
    except (OSError, ValueError, RecursionError):
        return Seen()


def vanished(folder: Path, names: Iterable[str], removed: Iterable[str]) -> list[str]:
    """Snapshots that were here once, are not now, and that no owner removed."""
    known = {name.hex() for name in load(folder).snapshots}
    return sorted(known.difference(names, removed))


def remember(folder: Path, names: Iterable[str], removed: Iterable[str] = (), *, last: tuple[str, str] | None = None) -> None:
    """Add these snapshots, drop those that an owner removed; ``last``: key slot and the snapshot it just made."""
    before = load(folder)
    ids = {name for name in map(_to_bytes, names) if name}
    ids = (ids | set(before.snapshots)) - set(map(_to_bytes, removed))
    after = Seen(sorted(ids), before.last | (dict([last]) if last else {}))
    if after == before:
        return
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = folder / (FILE + ".tmp")
        partial.write_bytes(msgspec.msgpack.encode(after))
        partial.replace(folder / FILE)
    except OSError:
        return  # a machine that can't keep that goes without


def _to_bytes(name: str) -> bytes:
    try:
        return bytes.fromhex(name)
    except ValueError:
        return b""
