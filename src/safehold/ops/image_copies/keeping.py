"""An image copy kept as a snapshot: a base like any other, and the original is not asked for anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from safehold.core.errors import SessionExpired
from safehold.ops.backup.memory import Memory
from safehold.ops.backup.record import Result
from safehold.ops.databases.assembly import Assembly, Attributes
from safehold.ops.databases.recording import Filled, RecordOptions, record_database
from safehold.ops.image_copies import engines
from safehold.ops.image_copies.images import Image
from safehold.repo.paged import BLOCK
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Database

SMALL = 64 * 1024
"""Smaller files are kept whole, others by page."""


def keep(repository: Repository, image: Image, options: RecordOptions) -> Result:
    """Store an image copy as it is.  Raises ``ImageError``, ``StoreError``, with no snapshot made."""
    with image.held():
        state = image.load()
        engine = engines.module(state.engine)

        def record() -> Result:
            fill = engine.filling(repository, image, state)
            return record_database(repository, state.engine, engine.lineage(state), options, fill)

        try:
            return record()
        except SessionExpired:  # what was stored is found again
            return record()


def by_page(image: Image, database: Database, page_of: Callable[[bytes], int]) -> Callable[[Assembly, Memory], Filled]:
    """What puts all of an image copy's files into an assembly.  ``page_of``: a file's page size, by its name."""

    def fill(assembly: Assembly, memory: Memory) -> Filled:
        del memory
        _store(assembly, image.data, page_of)
        return Filled(database=database)

    return fill


def _store(assembly: Assembly, folder: Path, page_of: Callable[[bytes], int]) -> None:
    for above, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(above, name)
            _store_file(assembly, path, os.fsencode(path.relative_to(folder)), page_of)


def _store_file(assembly: Assembly, path: Path, name: bytes, page_of: Callable[[bytes], int]) -> None:
    found = path.stat()
    above = name.rpartition(b"/")[0]
    if above:
        assembly.folder(above, _attributes(path.parent.stat()))
    if found.st_size < SMALL:
        assembly.data(name, path.read_bytes(), _attributes(found))
    else:
        assembly.paged(name, _blocks(path), found.st_size, page_of(name), _attributes(found))


def _attributes(found: os.stat_result) -> Attributes:
    """Writable by its owner: a copy of SQLite is kept read-only only as long as it is one."""
    return Attributes(mode=found.st_mode & 0o7777 | 0o600, uid=found.st_uid, gid=found.st_gid, mtime_ns=found.st_mtime_ns)


def _blocks(path: Path) -> Iterator[bytes | None]:
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK):
            yield block
