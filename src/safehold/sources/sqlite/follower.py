"""A process that follows a database's WAL into a journal: ``python -m safehold.sources.sqlite.follower``.

The first line of its input (JSON) says what to follow, later lines are orders; it says what it does in lines of JSON.

**Nothing is lost.**  A reader's transaction (the *pin*) is held at all times.  SQLite begins a WAL anew, over its old frames,
only when no reader needs any of them, which is to say: when the pin was taken while all of the WAL was in the database file.  A
pin is let go only when another one was taken, and every frame up to there is in the journal.  So at most one new beginning is
possible under a pin, and it costs captured frames only; and under such a pin no checkpoint can write, so there is no second one.
The index's count of changes is compared with the commits that were read, as a second line.

**The application waits for nothing.**  Checkpoints are made here, in PASSIVE mode, which takes no lock that a writer needs.
Under load they never come to the end of the WAL; when it has grown too large, writing is stopped for a few milliseconds (BEGIN
IMMEDIATE) to write the last frames back and take the pin that lets the next writer begin the WAL anew.

On any doubt it says so and ends: then a new base is made.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sqlite3
import sys
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from safehold.core.clock import SystemClock
from safehold.core.pools import Pool
from safehold.sources.files.reading import read_bytes
from safehold.sources.sqlite import holder, journal, steps, wal
from safehold.sources.sqlite.journal import Journal, Resumption
from safehold.sources.sqlite.wal import Index, Place

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LOOK_SECONDS = 0.05
SYNC_SECONDS = 0.5
RETRY_SECONDS = 0.25
"""Between attempts to stop writing."""
CHECKPOINT_FRAMES = 1000
"""As in SQLite: from so many frames on they are written back."""
FEW_FRAMES = 128
"""So few may be left to write back while writing is stopped."""
WAIT_MILLISECONDS = 20
"""So long the lock is waited for that stops writing."""
MOST_AT_ONCE = 256 * 1024 * 1024
"""Bytes of frames found at one look: more than that makes a new base worthwhile."""
NAMED = 65536
"""Commits that are remembered by their frame."""


class Doubt(Exception):
    """The history is not known to be unbroken."""


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What to follow."""

    path: str
    folder: str
    system: str
    timeline: int
    """Of a new history."""
    resume: bool = True
    max_wal: int = 16 * 1024 * 1024
    """From so many bytes on writing is stopped for a moment to begin the WAL anew; 0: never."""


class Follower:
    """Follows one database."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._clock = SystemClock()
        self._path = orders.path
        self._pins = [holder.connect(self._path), holder.connect(self._path)]
        self._writer = holder.connect(self._path, writable=True)
        self._lock = holder.connect(self._path, writable=True)
        self._lock.execute(f"PRAGMA busy_timeout = {WAIT_MILLISECONDS}")
        mode = self._writer.execute("PRAGMA journal_mode").fetchone()[0]
        if mode != "wal":
            raise Doubt(f"its journal mode is {mode}")
        importlib.import_module("numpy")  # takes long, and nothing may wait for it later
        holder.pin(self._pins[0])
        # Never closed while this process lives: that would drop its locks.
        self._index_file = os.open(self._path + "-shm", os.O_RDONLY)
        self._log_file = os.open(self._path + "-wal", os.O_RDONLY)
        self._files = self._stat()
        self._looked_ns = self._clock.now_ns()
        self._commits: dict[tuple[bytes, int], int] = {}
        """(salts, frame after a commit) -> position, of late."""
        self._next_sync = self._next_force = 0.0
        # What waits for the disk is done beside, so that looking does not wait for it.
        self._others = Pool(2, "others")
        self._syncing: Future[None] = self._others.submit(lambda: None)
        self._writing_back: Future[None] = self._others.submit(lambda: None)
        self._last = self._pinned = Index(b"", 0, 0, 0, -1, (0, 0), 0)
        """The WAL at the last look, and when a pin was taken last in a quiet moment."""
        self._big, self._page = False, 0
        self.resumed, index = self._begin()
        self._commits[index.salts, index.frames] = self.journal.at.position
        self.look()

    @property
    def at(self) -> Resumption:
        """Where it has come to."""
        return self.journal.at

    def _begin(self) -> tuple[bool, Index]:
        """Go on where the last one stopped if everything since is still in the WAL, else begin a new history here."""
        index = self._read_index()
        folder = Path(self._orders.folder)
        last = journal.load(folder) if self._orders.resume else None
        if last is not None and self._continues(last, index):
            self._header()
            self.journal = Journal(folder, self._orders.system, last)
            here = Index(last.place.salts, last.place.frame, 0, 0, 0, (0, 0), 0)
            return True, here
        place = Place(index.salts, index.frames, index.sums)
        if index.frames:
            self._header()
        now = self._clock.now_ns()
        page = index.page or int(self._writer.execute("PRAGMA page_size").fetchone()[0])
        at = Resumption(
            timeline=self._orders.timeline, page=page, position=1, seen_ns=now, place=place, changes=index.changes,
            inode=self._files[0],
        )  # fmt: skip
        self.journal = Journal(folder, self._orders.system, at)
        journal.save(folder, at)
        return False, index

    def _continues(self, last: Resumption, index: Index) -> bool:
        place = last.place
        if (last.inode, last.page, place.salts) != (self._files[0], index.page, index.salts) or index.frames < place.frame:
            return False
        if place.frame == 0:
            return False
        data = read_bytes(self._log_file, wal.FRAME, wal.HEADER + (place.frame - 1) * (wal.FRAME + index.page))
        return data[8:16] == place.salts and data[16:24] == b"".join(n.to_bytes(4, "big") for n in place.sums)

    def look(self) -> None:
        """Take what is new into the journal.  Raises ``Doubt``, ``OSError``."""
        before = self._clock.now_ns()
        self._check_files()
        index = self._read_index()
        seen = max(self._clock.now_ns(), self.at.seen_ns + 1)
        if index.salts != self.at.place.salts:
            self._follow_anew(index)
        if index.frames > self.at.place.frame:
            self._take(index, seen)
        elif index.frames < self.at.place.frame:
            raise Doubt("its WAL has become shorter")
        self._looked_ns = before

    def _follow_anew(self, index: Index) -> None:
        """The WAL was begun anew."""
        if not index.frames:
            if index.changes != self.at.changes:
                raise Doubt("its WAL was begun anew before everything was read")
            self.journal.moved(Place(index.salts, 0, index.sums), index.changes)
            self._commits[index.salts, 0] = self.at.position
            return
        self.journal.moved(self._header(index.salts), self.at.changes)

    def _header(self, salts: bytes = b"") -> Place:
        begun = wal.parse_header(read_bytes(self._log_file, wal.HEADER, 0))
        if begun is None or (salts and begun[0].salts != salts):
            raise Doubt("its WAL does not begin as its index says")
        place, self._page, self._big = begun
        return place

    def _take(self, index: Index, seen: int) -> None:
        place, page = self.at.place, index.page
        if place.frame == 0:
            place = self._header(index.salts)
        if page != self.at.page or page != self._page:
            raise Doubt("its page size has changed")
        count = index.frames - place.frame
        size = wal.FRAME + page
        if count * size > MOST_AT_ONCE:
            raise Doubt("so much was written at once that a new base is the shorter way")
        data = read_bytes(self._log_file, count * size, wal.HEADER + place.frame * size)
        frames = wal.parse_frames(data, page, place, big=self._big)
        if len(frames.numbers) < count or frames.end.sums != index.sums:
            raise Doubt(f"frame {place.frame + len(frames.numbers) + 1} of its WAL is damaged")
        self._add(frames, index, seen)

    def _add(self, frames: wal.Frames, index: Index, seen: int) -> None:
        import numpy as np

        ends = np.flatnonzero(frames.sizes)
        transactions = len(ends)
        if not 1 <= (index.changes - self.at.changes) & 0xFFFFFFFF <= transactions or frames.sizes[-1] == 0:
            raise Doubt("it was changed more often than its WAL says")
        start, end = self.at.position, self.journal.next_end(transactions)
        self._remember(index.salts, frames.first, ends, end)
        numbers, chosen = wal.last_versions(frames, index.pages)
        step = steps.Step(
            start=start, end=end, after_ns=self._looked_ns, seen_ns=seen, pages=index.pages, transactions=transactions,
            place=frames.end, changes=index.changes, count=len(numbers),
        )  # fmt: skip
        self.journal.add(step, numbers, frames.data[chosen])

    def _remember(self, salts: bytes, first: int, ends: NDArray[np.intp], end: int) -> None:
        total = len(ends)
        for number, place in enumerate(ends.tolist(), 1):
            self._commits[salts, first + int(place) + 1] = end - total + number
        for key in list(self._commits)[: max(0, len(self._commits) - NAMED)]:
            del self._commits[key]

    def position_of(self, salts: bytes, frames: int) -> int:
        """The position at a commit that ends at a frame of late; 0 if it can't be told."""
        self.look()
        return self._commits.get((salts, frames), 0)

    def tend(self) -> None:
        """Make durable what is due, and keep the WAL from growing."""
        now = self._clock.monotonic()
        if self._syncing.done() and now >= self._next_sync:
            self._syncing.result()
            self._syncing = self._others.submit(self.journal.sync)
            self._next_sync = now + SYNC_SECONDS
        index = self._read_index()
        is_quiet, self._last = index.changes == self._last.changes, index
        if is_quiet and index != self._pinned:
            self._renew()  # nobody has to wait for this reader: a checkpoint of the application's, say, that resets the WAL
            self._pinned = index
        left = index.frames - index.backfilled
        if index.frames < CHECKPOINT_FRAMES or not self._writing_back.done():
            return
        self._writing_back.result()
        too_large = 0 < self._orders.max_wal < index.frames * (wal.FRAME + index.page)
        if too_large and not is_quiet and now >= self._next_force:
            self._next_force = now + RETRY_SECONDS
            self._stop_writing()
        elif left >= CHECKPOINT_FRAMES or (left and is_quiet):
            self._renew()
            self._writing_back = self._others.submit(self._write_back)

    def _renew(self) -> None:
        """Replace the pin by a newer one."""
        old, new = self._pins
        holder.pin(new)
        self.look()  # what the new pin does not keep is in the journal before the old one is let go
        old.execute("COMMIT")
        self._pins.reverse()

    def _write_back(self) -> None:
        self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _checkpoint(self) -> Index:
        """Write back what is in the journal."""
        self._renew()
        self._write_back()
        return self._read_index()

    def _stop_writing(self) -> None:
        """Bring the WAL to its end: for that, nobody may write for a moment."""
        for _ in range(3):
            index = self._checkpoint()
            if index.frames - index.backfilled <= FEW_FRAMES:
                break
        self.look()
        try:
            self._lock.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return  # somebody is writing; there will be another occasion
        try:
            huge = index.frames * (wal.FRAME + index.page) > 4 * self._orders.max_wal
            if huge or index.frames - index.backfilled <= 4 * FEW_FRAMES:
                self._checkpoint()
                self._renew()
        finally:
            self._lock.execute("ROLLBACK")

    def _read_index(self) -> Index:
        found = holder.read_index(self._index_file)
        if found is None:
            with suppress(sqlite3.Error):  # whoever reads next puts an index right that was left in the middle
                self._writer.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
            found = holder.read_index(self._index_file)
        if found is None:
            raise Doubt("the index of its WAL cannot be read")
        return found

    def _stat(self) -> tuple[int, int, int]:
        database, log, index = (os.stat(self._path + ending) for ending in ("", "-wal", "-shm"))
        return database.st_ino, log.st_ino, index.st_ino

    def _check_files(self) -> None:
        try:
            same = self._stat() == self._files
        except FileNotFoundError:
            same = False
        if not same:
            raise Doubt("another file has taken the place of one of its files")

    def close(self) -> None:
        """Stop.  The WAL stays as it is, so that the next follower can go on from here."""
        with suppress(Doubt):
            self.look()
        self._others.shutdown()
        self.journal.rotate()
        for db in (self._lock, self._writer, *reversed(self._pins)):
            db.close()  # the pin last: a connection that may write would write the WAL back if it were the last one

    @property
    def looked_ns(self) -> int:
        """Everything that was committed before this is in the journal."""
        return self._looked_ns


def main() -> int:
    """Follow until told to stop, or until in doubt."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)  # whoever started this says when to stop, by closing its input
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=Orders)
    follower: Follower | None = None
    try:
        follower = Follower(orders)
        at = follower.at
        _say(event="started", resumed=follower.resumed, timeline=at.timeline, position=at.position, page=at.page)
        _serve(follower)
    except Doubt as doubt:
        _say(event="doubt", reason=str(doubt), **_reached(follower))
    except sqlite3.Error as error:
        _say(event="doubt", reason=f"SQLite says: {error}", **_reached(follower))
    except OSError as error:
        reason = f"{error.filename or orders.folder}: {error.strerror}"
        _say(event="failed", reason=reason, errno=error.errno or 0, **_reached(follower))
    return 0


def _reached(follower: Follower | None) -> dict[str, object]:
    """Up to where everything is in the journal."""
    if follower is None:
        return {}
    at = follower.at
    return {"timeline": at.timeline, "position": at.position, "looked_ns": follower.looked_ns}


def _serve(follower: Follower) -> None:
    descriptor = sys.stdin.fileno()
    rest = b""
    while True:
        readable, _, _ = select.select([descriptor], [], [], LOOK_SECONDS)
        if readable:
            data = os.read(descriptor, 65536)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                _obey(follower, line.decode())
        follower.look()
        follower.tend()
    follower.close()
    at = follower.at
    _say(event="stopped", timeline=at.timeline, position=at.position, looked_ns=follower.looked_ns)


def _obey(follower: Follower, line: str) -> None:
    order, *words = line.split()
    if order == "rotate":
        follower.look()
        name = follower.journal.rotate()
        at = follower.at
        _say(event="rotated", file=name, timeline=at.timeline, position=at.position, looked_ns=follower.looked_ns)
    else:
        position = follower.position_of(bytes.fromhex(words[0]), int(words[1]))
        _say(event="located", position=position, timeline=follower.at.timeline)


def _say(**values: object) -> None:
    with suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(values) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
