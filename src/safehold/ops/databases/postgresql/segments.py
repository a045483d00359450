"""WAL files as log files of the repository: what is said of each, and how that is read again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from safehold.core.errors import FormatError
from safehold.ops.databases.logs import Log, NewLog
from safehold.sources.postgresql import records, timelines
from safehold.sources.postgresql.records import Point
from safehold.sources.postgresql.wal import parse_name


def describe(name: str, content: bytes, segment: int, modified_ns: int) -> Log:
    """What the repository says of a WAL file; ``segment``: bytes of a segment.

    A file that cannot be read as what its name says is told by its name, and by ``modified_ns``.
    """
    parsed = parse_name(name)
    assert parsed is not None
    digest = hashlib.sha256(content).digest()
    if parsed.kind == "history":
        start = _branch(content, name)
        return Log(name, parsed.timeline, start, start, digest, modified_ns, modified_ns)
    start = parsed.start(segment)
    if parsed.kind == "backup":
        return Log(name, parsed.timeline, start, start, digest, modified_ns, modified_ns)
    partial = parsed.kind == "partial"
    end = start if partial else start + segment
    try:
        found = records.scan(content, name)
    except FormatError:
        return Log(name, parsed.timeline, start, end, digest, modified_ns, modified_ns, growing=partial)
    return Log(name, parsed.timeline, start, end, digest, found.first_ns, found.last_ns, _facts(found), partial)


def new_log(name: str, content: bytes, segment: int, modified_ns: int) -> NewLog:
    """A WAL file that is to be stored."""
    return NewLog(describe(name, content, segment, modified_ns), reading(content))


def reading(content: bytes) -> Callable[[int], bytes]:
    """Bytes, as ``read(most)``."""
    rest = [content]
    return lambda most: rest.pop() if rest else b""


def points(log: Log) -> list[Point]:
    """The named restore points in a segment."""
    return [Point(*each) for each in msgspec.json.decode(log.facts.get("points", "[]"), type=list[tuple[str, int, int]])]


def xids(log: Log) -> tuple[int, int] | None:
    """The lowest and the highest number of a transaction that ended in a segment; None: none did."""
    lowest, _, highest = log.facts.get("xids", "").partition("-")
    return (int(lowest), int(highest)) if highest else None


def checkpoint_ns(log: Log) -> int:
    """When the last checkpoint that is recorded in a segment began; 0: none is, or it is not known.

    Whatever was committed before that time stands before the record: a checkpoint waits for those that are about to commit.
    """
    return int(log.facts.get("checkpoint", "0")) * 10**9


def reach(log: Log) -> int:
    """How far a WAL file goes; of a partial one that is where its last whole record ends."""
    return int(log.facts.get("end", log.end))


def _facts(found: records.Content) -> dict[str, str]:
    facts = {"end": str(found.end)}
    if found.highest:
        facts["xids"] = f"{found.lowest}-{found.highest}"
    if found.checkpoint_ns:
        facts["checkpoint"] = str(found.checkpoint_ns // 10**9)
    if found.points:
        facts["points"] = msgspec.json.encode([list(point) for point in found.points]).decode()
    return facts


def _branch(content: bytes, name: str) -> int:
    """Where a timeline begins, by its history."""
    try:
        ancestors = timelines.parse_history(content.decode("utf-8", "replace"), name)
    except FormatError:
        return 0
    return ancestors[-1].switch if ancestors else 0
