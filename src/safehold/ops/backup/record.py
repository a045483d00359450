"""From a session mark to a committed snapshot: what every kind of backup has in common.

The order is the repository's promise (``docs/format/README.md``): mark, then look at what is condemned, then packs, then the
index, then the snapshot, each durable before the next.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable

import msgspec

from safehold.core.errors import SessionExpired, StoreError
from safehold.repo import adopt, seen, snapshots
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Snapshot
from safehold.repo.writer import ChunkWriter, WriterOptions


class Result(msgspec.Struct, frozen=True):
    """A finished backup."""

    id: str
    """Of the snapshot; empty after a dry run."""
    snapshot: Snapshot


def record(
    repository: Repository, options: WriterOptions, build: Callable[[ChunkWriter], Snapshot], *, remember: bool = True
) -> Result:
    """Run ``build``, which can be run again, and commit its snapshot.

    If a prune took the session for dead, it is all done once more; what was stored is found again.
    """
    try:
        return record_once(repository, options, build, remember=remember)
    except SessionExpired:
        return record_once(repository, options, build, remember=remember)


def record_once(
    repository: Repository, options: WriterOptions, build: Callable[[ChunkWriter], Snapshot], *, remember: bool = True
) -> Result:
    """Run ``build``, which stores everything a snapshot refers to, and commit the snapshot that it returns.

    Raises ``SessionExpired``, with no snapshot made, if a prune took the session for dead.  ``remember``: this machine will
    miss the snapshot if it is gone, and name it as the previous one; not after a dry run.
    """
    result = _record(repository, options, build)
    if remember:
        seen.remember(repository.cache, [result.id], last=(repository.keyring.slot_id.hex(), result.id))
    return result


def _record(repository: Repository, options: WriterOptions, build: Callable[[ChunkWriter], Snapshot]) -> Result:
    started = repository.clock.monotonic()
    with repository.session("backup") as session:
        repository.condemned()
        repository.index.before_use(lambda: adopt.adopt(repository))
        writer = repository.writer(options)
        try:
            snapshot = build(writer)
            writer.finish()
        except StoreError:
            writer.abort()  # it takes nothing more
            raise
        except BaseException:
            writer.salvage()
            raise
        seconds = round(repository.clock.monotonic() - started, 3)
        previous = seen.load(repository.cache).last.get(repository.keyring.slot_id.hex(), "")
        snapshot = msgspec.structs.replace(_with_added(snapshot, writer, seconds), previous=previous)
        name = snapshots.commit(session, repository.seals, repository.store, writer.session, snapshot)
        return Result(name, snapshot)


def user_name() -> str:
    """Who runs this; empty where the system doesn't say."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def _with_added(snapshot: Snapshot, writer: ChunkWriter, seconds: float) -> Snapshot:
    statistics = msgspec.structs.replace(
        snapshot.statistics, added_raw=writer.added.raw, added_stored=writer.added.stored, seconds=seconds
    )
    return msgspec.structs.replace(snapshot, statistics=statistics)
