"""Log files: which pages each look at a database found changed.  ``docs/format/sqlite.md``.

A step holds the last version of every page that was changed between two looks, so it can be laid over any state of the
database from its start to its end, and makes it the state at its end.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec
from blake3 import blake3

from safehold.core.errors import FormatError
from safehold.sources.sqlite.wal import Place

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAGIC = b"SHSQLOG1"
STEP = b"STEP"
FILE_HEADER = struct.Struct("<8sIIQ16sQ16s")
"""Magic, page size, timeline, start, system, when it was begun, digest of the 48 bytes before."""
STEP_HEADER = struct.Struct("<4sIQQqqII8sIIII16s")
"""Magic, pages in it, start, end, after, seen, pages of the database, transactions, salts, two sums, frame, changes, digest."""
DIGEST = 16
MOST_PAGES = 1 << 22
"""A step of more pages is cut off before it is made: it would be longer than a base."""


class Head(msgspec.Struct, frozen=True):
    """What a log file begins with."""

    page: int
    timeline: int
    start: int
    system: str
    begun_ns: int


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What changed between two looks.  Positions as of ``repo.snapshots.Database``; times in ns since 1970 UTC."""

    start: int
    end: int
    after_ns: int
    """All its transactions were committed after this ..."""
    seen_ns: int
    """... and before this."""
    pages: int
    """Size of the database at its end, in pages."""
    transactions: int
    place: Place
    """Where it ended in the WAL."""
    changes: int
    """The WAL index's count of changes there."""
    count: int
    """Pages that it holds."""


def pack_head(head: Head) -> bytes:
    """The beginning of a log file."""
    data = FILE_HEADER.pack(MAGIC, head.page, head.timeline, head.start, bytes.fromhex(head.system), head.begun_ns, b"")[:-DIGEST]
    return data + blake3(data).digest(DIGEST)


def parse_head(data: bytes) -> Head | None:
    """The beginning of a log file; None if it is not whole."""
    if len(data) < FILE_HEADER.size:
        return None
    magic, page, timeline, start, system, begun, digest = FILE_HEADER.unpack_from(data)
    if magic != MAGIC or digest != blake3(data[: FILE_HEADER.size - DIGEST]).digest(DIGEST):
        return None
    return Head(page, timeline, start, system.hex(), begun)


def pack_step(step: Step, numbers: NDArray[np.uint32], pages: NDArray[np.uint8]) -> bytes:
    """A step with the numbers of its pages, rising, and the pages."""
    head = STEP_HEADER.pack(
        STEP, step.count, step.start, step.end, step.after_ns, step.seen_ns, step.pages, step.transactions,
        step.place.salts, *step.place.sums, step.place.frame, step.changes, b"",
    )[:-DIGEST]  # fmt: skip
    body = numbers.astype("<u4").tobytes() + pages.tobytes()
    return b"".join([head, blake3(head + body).digest(DIGEST), body])


def read_steps(read: Callable[[int], bytes], page: int) -> Iterator[tuple[Step, list[int], bytes]]:
    """Every whole step that follows a log file's beginning: itself, the numbers of its pages, the pages.

    ``read(count)`` gives that many bytes, fewer at the end.  Ends before the first step that is not whole.
    """
    while True:
        head = read(STEP_HEADER.size)
        if len(head) < STEP_HEADER.size or head[:4] != STEP:
            return
        step, digest = _step(head)
        if step.count > MOST_PAGES:
            return
        body = read(step.count * (4 + page))
        if len(body) < step.count * (4 + page) or blake3(head[:-DIGEST] + body).digest(DIGEST) != digest:
            return
        yield step, list(struct.unpack_from(f"<{step.count}I", body)), body[4 * step.count :]


def _step(head: bytes) -> tuple[Step, bytes]:
    (_, count, start, end, after, seen, pages, transactions, salts, sum0, sum1, frame, changes, digest) = STEP_HEADER.unpack(head)
    place = Place(salts, frame, (sum0, sum1))
    step = Step(
        start=start, end=end, after_ns=after, seen_ns=seen, pages=pages, transactions=transactions, place=place,
        changes=changes, count=count,
    )  # fmt: skip
    return step, digest


def require_head(data: bytes, name: str) -> Head:
    """The beginning of a stored log file.  Raises ``FormatError``."""
    head = parse_head(data)
    if head is None:
        raise FormatError(f"The log file {name} does not begin as one of SQLite does.")
    return head
