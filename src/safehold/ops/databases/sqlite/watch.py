"""Following databases: their logs into the repository every few seconds, and a new base where that is needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from safehold.core.errors import (
    DatabaseUnreachable,
    SafeholdError,
    SessionExpired,
    SourceMissing,
    StoreError,
)
from safehold.core.events import Warn
from safehold.ops.databases.recording import RecordOptions
from safehold.ops.databases.sqlite.backup import BaseOptions, Spot, back_up
from safehold.ops.databases.sqlite.handover import Mark, Waiting, commit_mark, commit_waiting, waiting_files
from safehold.repo.repository import Repository
from safehold.sources.sqlite import journal
from safehold.sources.sqlite.follower import Orders
from safehold.sources.sqlite.following import Following, Said
from safehold.sources.sqlite.identity import system_of
from safehold.sources.sqlite.pinned import Pinned, read_header

TICK_SECONDS = 0.1
LEAST_FOR_BASE = 64 * 1024 * 1024
"""Less than this in logs never makes a new base worthwhile."""
RESTART_SECONDS = 1.0
PATIENCE_SECONDS = 10.0
"""Between attempts at what failed."""
FIRST_MARK_NS = 60_000_000_000
"""So long a database is quiet before the repository is told that it is ..."""
MARK_NS = 3600_000_000_000
"""... and then so often."""
ROLLBACK_SECONDS = 60.0
"""A database that is not in WAL mode is backed up no more often."""
BASE = "base"


class WatchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How databases are followed."""

    journal: Path
    """The folder for what is not yet in the repository."""
    state: Path
    """The folder by which databases are told apart."""
    record: RecordOptions = RecordOptions()
    every: float = 10.0
    """Seconds between commits of logs."""
    share: float = 0.5
    """A new base is made when the logs since the last are that part of the database."""
    max_wal: int = 16 * 1024 * 1024
    """Bytes of WAL from which on writing is stopped for a moment; 0: never."""
    max_journal: int = 1 << 30
    """Bytes of logs that wait for the repository, at most."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What happened: started, base, logs, doubt, stopped."""

    action: str
    path: str
    snapshot: str = ""
    position: int = 0
    bytes: int = 0
    transactions: int = 0
    resumed: bool = False
    reason: str = ""


class _Base(msgspec.Struct, frozen=True):
    """The last base of the history that is being followed."""

    system: str
    timeline: int
    size: int
    logged: int = 0
    """Bytes of logs since."""


class _Unlocated(Exception):
    """The follower does not know the moment that was pinned."""


class Watched:
    """One database.  ``tick`` does what is due."""

    def __init__(self, repository: Repository, path: str, options: WatchOptions, tell: Callable[[Told], None]) -> None:
        """Raises ``SourceMissing``, ``DatabaseFailed``; ``UsageError`` if it is being followed already."""
        self.path = os.path.abspath(path)
        self._repository = repository
        self._options = options
        self._tell = tell
        self._clock = repository.clock
        read_header(self.path)
        self.folder = options.journal / repository.id.hex()[:16] / journal.folder_name(self.path)
        self._lock = journal.lock(self.folder, self.path)
        self._following: Following | None = None
        self._base = self._load_base()
        self._resume = True
        self._changes = -1
        """Of a database in rollback mode, when it was last backed up."""
        self._start_at = self._commit_at = self._base_at = 0.0
        self._until_ns = 0
        """Up to when the database is known, at the last commit."""
        self._mark_every_ns = FIRST_MARK_NS
        self._marked_ns = self._clock.now_ns()
        """Up to when the repository knows that it is."""

    def tick(self) -> None:
        """Do what is due.  Raises ``SafeholdError`` for what will not mend itself."""
        now = self._clock.monotonic()
        if self._following is None and now >= self._start_at:
            self._start(now)
        if self._following is not None:
            self._look(now)
        if now >= self._commit_at:
            self._commit_at = now + self._options.every
            self._attempt(self._commit, now)
        if self._following is not None and now >= self._base_at and self._needs_base():
            self._attempt(self._make_base, now)

    def stop(self) -> None:
        """Take in what there is, and stop following.

        Raises what keeps it out of the repository: it waits in the journal then.
        """
        if self._following is not None and self._base is None:
            self._attempt(self._make_base, 0.0)  # without it, what was captured would be of no use
        said = self._following.stop() if self._following is not None else None
        self._following = None
        followed = said is not None and said.event == "stopped"
        self._until_ns = said.looked_ns if said is not None and followed else 0
        try:
            if not self._hand_over() and said is not None and followed:
                self._mark(said)
        finally:
            os.close(self._lock)
        self._tell(Told(action="stopped", path=self.path))

    def _start(self, now: float) -> None:
        self._start_at = now + PATIENCE_SECONDS
        try:
            head = read_header(self.path)
            system = system_of(self.path, self._options.state)
        except (SourceMissing, OSError) as error:
            return self._warn("database-missing", f"{self.path}: {error}")
        if head is None or not head.wal:
            self._attempt(self._back_up_changed, now)
            return None
        known = self._base is not None and self._base.system == system
        orders = Orders(
            path=self.path, folder=str(self.folder), system=system, timeline=self._new_timeline(),
            resume=self._resume and known, max_wal=self._options.max_wal,
        )  # fmt: skip
        journal.clean(self.folder)
        following = Following(orders, self._lock)
        if following.started is None:
            return self._ended(following.stop(), now)
        self._following, self._resume = following, True
        said = following.started
        if not (said.resumed and self._base is not None and self._base.timeline == said.timeline):
            self._base = None
        self._tell(Told(action="started", path=self.path, position=said.position, resumed=said.resumed))
        return None

    def _new_timeline(self) -> int:
        return int.from_bytes(self._repository.seals.random(4), "big") >> 1 | 1

    def _look(self, now: float) -> None:
        assert self._following is not None
        ended = self._following.look()
        if ended is not None:
            self._following.stop()
            self._following = None
            self._ended(ended, now)

    def _ended(self, said: Said | None, now: float) -> None:
        """The follower ended by itself: in doubt, or unable to go on."""
        reason = said.reason if said else "it ended"
        doubt = said is not None and said.event == "doubt"
        if said is not None and said.looked_ns:
            self._attempt(lambda: self._close_history(said), now)
        self._resume = not doubt
        full = said is not None and said.errno != 0
        self._start_at = now + (PATIENCE_SECONDS if full else RESTART_SECONDS)
        if doubt:
            self._forget_base()
        what = "A new base will be made" if doubt else "It will be tried again"
        self._warn("watch-broken", f"{self.path} could not be followed on: {reason}. {what}.")
        self._tell(Told(action="doubt", path=self.path, reason=reason))

    def _close_history(self, said: Said) -> None:
        """Store what a follower had taken in when it ended, and up to when that is all there was."""
        self._until_ns = said.looked_ns
        if not self._hand_over():
            self._mark(said)

    def _attempt(self, act: Callable[[], None], now: float) -> None:
        """Do something; what may mend itself is said, and tried again later."""
        try:
            act()
        except _Unlocated:
            self._base_at = now + 1.0
        except (StoreError, SessionExpired, DatabaseUnreachable, SourceMissing, OSError) as error:
            self._commit_at = max(self._commit_at, now + PATIENCE_SECONDS)
            self._base_at = now + PATIENCE_SECONDS
            self._warn("watch-waits", f"{self.path}: {error}", getattr(error, "hint", ""))
            self._bound_journal()

    def _commit(self) -> None:
        said = self._following.rotate() if self._following is not None else None
        if self._following is not None and said is None:
            return  # it has ended; what it left is handed over next time
        self._until_ns = said.looked_ns if said else 0
        done = self._hand_over(journal.name_of(said.timeline, said.position) if said else "")
        if said is not None and not done and said.looked_ns - self._marked_ns > self._mark_every_ns:
            self._mark(said)
            self._mark_every_ns = MARK_NS
        self._bound_journal()

    def _mark(self, said: Said) -> None:
        """Of a quiet database, store that it is: its moments can be told from those of one that nobody followed."""
        if self._base is None:
            return
        mark = Mark(system=self._base.system, timeline=said.timeline, position=said.position, until_ns=said.looked_ns)
        commit_mark(self._repository, self.path, mark, self._options.record)
        self._marked_ns = said.looked_ns

    def _hand_over(self, writing: str = "") -> bool:
        """Commit all log files that are closed, oldest first; whether there were any."""
        done = False
        for found in waiting_files(self.folder, writing):
            until = self._until_ns if found.is_last else 0
            result, transactions = commit_waiting(self._repository, self.path, found, until, self._options.record)
            self._count(found)
            done, self._marked_ns, self._mark_every_ns = True, until or self._marked_ns, FIRST_MARK_NS
            self._tell(
                Told(
                    action="logs", path=self.path, snapshot=result.id, position=found.end, bytes=found.bytes,
                    transactions=transactions,
                )
            )  # fmt: skip

        return done

    def _count(self, found: Waiting) -> None:
        if self._base is not None and self._base.timeline == found.timeline:
            self._base = msgspec.structs.replace(self._base, logged=self._base.logged + found.bytes)
            self._save_base()

    def _bound_journal(self) -> None:
        """A repository that does not answer must not fill the disk: history is given up then, and begun anew later."""
        if journal.size(self.folder) <= self._options.max_journal:
            return
        if self._following is not None:
            self._following.stop()
            self._following = None
        for name in journal.files(self.folder):
            (self.folder / name).unlink()
        self._resume = False
        self._forget_base()
        self._start_at = self._clock.monotonic() + PATIENCE_SECONDS
        self._warn(
            "journal-full",
            f"The logs of {self.path} that wait for the repository were given up: they took more than "
            f"{self._options.max_journal:,} bytes. A new base will be made.",
        )

    def _needs_base(self) -> bool:
        base = self._base
        return base is None or base.logged > max(LEAST_FOR_BASE, int(self._options.share * base.size))

    def _make_base(self) -> None:
        def spot(moment: Pinned) -> Spot:
            said = self._following.locate(moment.moment.salts, moment.moment.frames) if self._following else None
            if said is None or not said.position or not moment.moment.known:
                raise _Unlocated
            return Spot(said.timeline, said.position)

        options = BaseOptions(record=self._options.record, spot=spot)
        result = back_up(self._repository, self.path, self._options.state, options)
        made = result.snapshot.source.database
        assert made is not None
        self._base = _Base(made.system, made.timeline, result.snapshot.totals.bytes)
        self._save_base()
        self._tell_base(result.id, made.start, result.snapshot.totals.bytes)

    def _back_up_changed(self) -> None:
        """A database in rollback mode cannot be followed; it is backed up when it has changed."""
        head = read_header(self.path)
        changes = head.changes if head else 0
        self._start_at = self._clock.monotonic() + max(self._options.every, ROLLBACK_SECONDS)
        if changes == self._changes:
            return
        if self._changes < 0:
            self._warn(
                "not-wal",
                f"{self.path} is not in WAL mode: it is backed up whole when it changes, once a minute at most.",
                "`PRAGMA journal_mode = WAL` lets it be followed.",
            )
        result = back_up(self._repository, self.path, self._options.state, BaseOptions(record=self._options.record))
        self._changes = changes
        self._tell_base(result.id, 0, result.snapshot.totals.bytes)

    def _tell_base(self, snapshot: str, position: int, size: int) -> None:
        self._tell(Told(action="base", path=self.path, snapshot=snapshot, position=position, bytes=size))

    def _load_base(self) -> _Base | None:
        try:
            return msgspec.msgpack.decode((self.folder / BASE).read_bytes(), type=_Base)
        except (OSError, ValueError):
            return None

    def _save_base(self) -> None:
        new = self.folder / (BASE + ".new")
        new.write_bytes(msgspec.msgpack.encode(self._base))
        new.replace(self.folder / BASE)

    def _forget_base(self) -> None:
        self._base = None
        (self.folder / BASE).unlink(missing_ok=True)

    def _warn(self, code: str, message: str, hint: str = "") -> None:
        self._repository.report(Warn(code=code, message=message, path=self.path, hint=hint))


def watch(
    repository: Repository, paths: list[str], options: WatchOptions, tell: Callable[[Told], None], going: Callable[[], bool]
) -> None:
    """Follow databases until ``going`` says no, or KeyboardInterrupt.  What is captured by then is stored."""
    watched: list[Watched] = []
    try:
        for path in paths:
            watched.append(Watched(repository, path, options, tell))
        while going():
            for each in watched:
                each.tick()
            repository.clock.sleep(TICK_SECONDS)
    except KeyboardInterrupt:
        pass
    finally:
        _stop(watched)


def _stop(watched: list[Watched]) -> None:
    first: SafeholdError | None = None
    for each in watched:
        try:
            each.stop()
        except SafeholdError as error:
            first = first or error
    if first is not None:
        raise first
