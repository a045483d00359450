"""How well a cluster is protected: what can be recovered, what waits, what is wrong.  ``docs/postgresql.md``, "Watching it"."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress

import msgspec

from safehold.core.events import Warn
from safehold.ops.databases.postgresql.archive import Base
from safehold.ops.databases.postgresql.reading import Cluster
from safehold.ops.databases.postgresql.uploading import State, load_state
from safehold.sources.postgresql.monitoring import Archiving, Slot
from safehold.sources.postgresql.spool import REFUSED, Spool
from safehold.sources.postgresql.wal import parse_name

MOST_WAIT_NS = 15 * 60 * 10**9
"""What waits in a spool for longer than that is a warning: thirty times what an uploader lets it."""


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of history, every moment of which can be recovered."""

    earliest_ns: int
    earliest: int
    latest_ns: int
    latest: int
    base: str
    """The oldest base in it."""


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A spool."""

    folder: str
    system: str
    files: int
    bytes: int
    oldest_ns: int
    """When the oldest file that waits came; 0: none waits."""
    refused: str
    """Why the last file was not taken, or the next may not be; empty: it was."""
    state: State


def ranges(cluster: Cluster) -> list[Range]:
    """What can be recovered, oldest first: one stretch, unless the log has gaps."""
    found: list[Range] = []
    for base in sorted(cluster.bases, key=lambda base: (base.stop, base.stop_ns)):
        made = _range(cluster, base)
        last = found[-1] if found else None
        if last is not None and made.earliest <= last.latest:
            latest = max(last.latest, made.latest)
            found[-1] = msgspec.structs.replace(last, latest=latest, latest_ns=max(last.latest_ns, made.latest_ns))
        else:
            found.append(made)
    return found


def _range(cluster: Cluster, base: Base) -> Range:
    reached = cluster.archive.reach(base, cluster.archive.newest_timeline(base))
    return Range(
        earliest_ns=base.stop_ns,
        earliest=base.stop,
        latest_ns=max(base.stop_ns, reached.last_ns),
        latest=reached.end,
        base=base.id,
    )


def gaps(cluster: Cluster) -> list[tuple[str, str]]:
    """The first and the last segment of each gap that lies after the beginning of the oldest base."""
    archive = cluster.archive
    oldest = min((base.start for base in cluster.bases), default=0)
    return [
        (first, last) for first, last in archive.gaps() if (name := parse_name(last)) and name.start(archive.segment) >= oldest
    ]


def waiting(spool: Spool) -> Waiting:
    """What is in a spool, and how its uploader fares."""
    stats = []
    for name in spool.names():
        with suppress(FileNotFoundError):  # it has just been uploaded
            stats.append(os.stat(os.path.join(spool.segments, name)))
    try:
        with open(spool.path(REFUSED), encoding="utf-8") as file:
            refused = file.read()
    except FileNotFoundError:
        refused = _no_room(spool)
    return Waiting(
        folder=spool.folder,
        system=spool.system()[0],
        files=len(stats),
        bytes=sum(stat.st_size for stat in stats),
        oldest_ns=min((stat.st_mtime_ns for stat in stats), default=0),
        refused=refused,
        state=load_state(spool),
    )


def _no_room(spool: Spool) -> str:
    """That the next segment may not fit: on a disk that is full to the last block, why one was refused could not be written."""
    segment = spool.system()[1]
    if not segment or (free := shutil.disk_usage(spool.folder).free) >= segment:
        return ""
    return f"The disk of the spool {spool.folder} is full: {free} bytes are free, and a segment may need {segment}."


def cluster_warnings(cluster: Cluster) -> list[Warn]:
    """What is wrong with what the repository has."""
    found = []
    if not cluster.bases:
        hint = "Make one: safehold backup postgresql://..."
        found.append(Warn(code="no-base", message=f"There is log of {cluster.name}, and no base to recover from.", hint=hint))
    for first, last in gaps(cluster):
        what = f"{first} is" if first == last else f"{first} to {last} are"
        message = f"The log of {cluster.name} has a gap: {what} missing. Recovery across it is not possible."
        found.append(Warn(code="wal-gap", message=message, hint="Make a new base now."))
    if cluster.conflicts:
        message = f"{cluster.conflicts[0]} of {cluster.name} was archived twice, with different contents; the first counts."
        found.append(Warn(code="log-conflict", message=message, hint="Find the second server that archives as this one."))
    return found


def spool_warnings(found: Waiting, now_ns: int) -> list[Warn]:
    """What is wrong with a spool."""
    made = []
    if found.refused:
        made.append(Warn(code="spool-full", message=found.refused, hint="The server keeps its log until there is room."))
    if found.state.error:
        message = f"Nothing is uploaded from the spool {found.folder}: {found.state.error}"
        made.append(Warn(code="wal-upload-failed", message=message, hint=f"{found.files} files wait there."))
    elif found.oldest_ns and now_ns - found.oldest_ns > MOST_WAIT_NS:
        minutes = (now_ns - found.oldest_ns) // 60_000_000_000
        message = f"{found.files} WAL files wait in the spool {found.folder}, the oldest for {minutes} minutes."
        made.append(Warn(code="spool-waiting", message=message, hint="Is an uploader running? `safehold pg archive-upload`"))
    if found.state.gap:
        made.append(Warn(code="wal-gap", message=found.state.gap, hint="Make a new base, then receive with --after-gap."))
    return made


def server_warnings(archiving: Archiving, slots: list[Slot]) -> list[Warn]:
    """What the server itself says."""
    made = []
    if archiving.failing:
        message = f"The server's archive_command fails for {archiving.failed}; it failed {archiving.failures} times in all."
        made.append(Warn(code="archiving", message=message, hint="See the server's log; till then its log fills the disk."))
    elif archiving.mode == "off" and not any(slot.active for slot in slots):
        message = "The server does not archive its log (archive_mode is off), and nobody receives it by a slot."
        made.append(Warn(code="archiving-off", message=message, hint="See docs/postgresql.md, or run `safehold pg receive`."))
    for slot in slots:
        if slot.in_danger:
            message = f"The slot {slot.name} is {slot.status}: the server drops log that was not received."
            made.append(Warn(code="slot", message=message, hint="Start its receiver, or raise max_slot_wal_keep_size."))
    return made
