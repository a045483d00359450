"""From the spool into the repository: what waits there is committed in batches, and goes from the spool when that is durable.

Killed anywhere, nothing is lost: a file leaves the spool after its commit only.  What was committed and is still in the spool is
recognised by the next run and not stored again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress

import msgspec

from safehold.core.clock import Clock
from safehold.core.errors import LogConflict, LogDamaged, SafeholdError
from safehold.core.events import Reporter, Warn
from safehold.ops.databases import logs
from safehold.ops.databases.logs import NewLog
from safehold.ops.databases.postgresql.segments import new_log
from safehold.ops.databases.postgresql.terms import ENGINE
from safehold.ops.databases.recording import RecordOptions
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Database
from safehold.sources.postgresql.spool import STATE, Spool

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds until a failed upload is tried again; each time twice as long."""
LOOK_SECONDS = 1.0
HURRY = "hurry"
"""A file in the spool by which another process asks for everything to be committed now."""


class UploadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """When a commit is made."""

    batch: int = 64 << 20
    """Bytes of WAL that are enough for one, and the most for one."""
    age_seconds: float = 30.0
    """Nothing waits longer than that."""
    until_idle: float = 0.0
    """End when nothing has come for so many seconds; 0: never."""
    name: str = ""
    """What people call the database."""


class State(msgspec.Struct, omit_defaults=True, kw_only=True):
    """How the uploader of a spool fares; ``state.json``.  Times in ns since 1970."""

    pid: int = 0
    committed_ns: int = 0
    """When the last commit was made."""
    snapshot: str = ""
    files: int = 0
    """That were committed since it was started."""
    error: str = ""
    """Why the last attempt failed; empty if it did not."""
    failing_ns: int = 0
    """Since when attempts fail."""
    gap: str = ""
    """Of the receiver: log that the server no longer had."""


class Uploader:
    """Uploads one spool.  Belongs to one thread."""

    def __init__(
        self, spool: Spool, repository: Callable[[], Repository], options: UploadOptions, clock: Clock, report: Reporter
    ) -> None:
        """``repository``: opens it; called again after an error."""
        self.state = load_state(spool)
        self.state.pid, self.state.files = os.getpid(), 0
        self._spool = spool
        self._open = repository
        self._opened: Repository | None = None
        self._options = options
        self._clock = clock
        self._report = report
        self._unfit: dict[str, SafeholdError] = {}
        """Files that can't be stored, ever; they stay in the spool, and the others go on without them."""
        self._current = ""

    def upload(self) -> int:
        """Commit everything that waits; how many files.  Raises ``SafeholdError`` when it fails.

        What a receiver has of the current segment is committed, too, and stays: if its server is lost, it is the end of the log.
        """
        before = self.state.files
        while names := self._waiting():
            self._commit(self._batch(names))
        if partials := self._spool.partials():
            self._commit_partials(partials)
        if self._unfit:
            raise next(iter(self._unfit.values()))
        return self.state.files - before

    def watch(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Commit what comes, and go on after errors, until ``stop`` or until nothing has come for long."""
        idle_since = self._clock.monotonic()
        wait = FIRST_WAIT
        while not stop():
            names = self._waiting()
            if not names and 0 < self._options.until_idle <= self._clock.monotonic() - idle_since:
                return
            if names:
                idle_since = self._clock.monotonic()
            if not names or not (self._is_due(names) or self._is_hurried()):
                self._calm(names)
                self._clock.sleep(LOOK_SECONDS)
                continue
            try:
                self._commit(self._batch(names))
                wait = FIRST_WAIT
            except (SafeholdError, OSError) as error:
                self.failed(error)
                self._opened = None
                self._rest(wait, stop)
                wait = min(wait * 2, LONGEST_WAIT)

    def _rest(self, seconds: float, stop: Callable[[], bool]) -> None:
        end = self._clock.monotonic() + seconds
        while self._clock.monotonic() < end and not stop():
            self._clock.sleep(min(seconds, LOOK_SECONDS))

    def failed(self, error: Exception) -> None:
        """Say and write down that an attempt failed."""
        message = str(error)
        if message != self.state.error:
            self._report(Warn(code="wal-upload-failed", message=message, hint=getattr(error, "hint", "")))
        self.state.error = message
        self.state.failing_ns = self.state.failing_ns or self._clock.now_ns()
        save_state(self._spool, self.state)

    def _waiting(self) -> list[str]:
        names = [name for name in self._spool.names() if name not in self._unfit]
        return names if self._spool.system()[0] else []  # history files alone do not say whose they are

    def _is_due(self, names: list[str]) -> bool:
        """Whether enough waits, or for long enough.  A history file does not wait: other servers look for it."""
        segment = self._spool.system()[1]
        oldest = self._clock.now_ns() - min(self._modified_ns(name) for name in names)
        enough = len(names) * segment >= self._options.batch or oldest >= self._options.age_seconds * 1e9
        return enough or names[0].endswith(".history")

    def _is_hurried(self) -> bool:
        return os.path.exists(self._spool.path(HURRY))

    def _calm(self, names: list[str]) -> None:
        if not names:
            with suppress(OSError):
                os.unlink(self._spool.path(HURRY))

    def _batch(self, names: list[str]) -> list[str]:
        segment = max(self._spool.system()[1], 1)
        return names[: max(1, self._options.batch // segment)]

    def _commit(self, names: list[str]) -> None:
        digests: dict[str, str] = {}
        system, segment = self._spool.system()
        try:
            self._opened = self._opened or self._open()
            result = logs.commit(self._opened, self._database(system), self._contents(names, segment, digests), RecordOptions())
        except (LogConflict, LogDamaged) as error:
            self._unfit[self._current] = error
            self.failed(error)
            return
        self._spool.forget(digests)
        state = self.state
        state.committed_ns, state.snapshot, state.files = self._clock.now_ns(), result.id, state.files + len(names)
        if not self._unfit:
            state.error, state.failing_ns = "", 0
        save_state(self._spool, state)

    def _commit_partials(self, names: list[str]) -> None:
        system, segment = self._spool.system()
        new = [new_log(name, self._spool.open_partial(name), segment, self._clock.now_ns()) for name in names]
        self._opened = self._opened or self._open()
        logs.commit(self._opened, self._database(system), new, RecordOptions())
        self.state.files += len(new)

    def _database(self, system: str) -> Database:
        return Database(engine=ENGINE, system=system, name=self._options.name or f"postgresql system {system}")

    def _contents(self, names: list[str], segment: int, digests: dict[str, str]) -> Iterator[NewLog]:
        for name in names:
            self._current = name
            new = new_log(name, self._spool.open(name), segment, self._modified_ns(name))
            digests[name] = new.log.digest.hex()
            yield new

    def _modified_ns(self, name: str) -> int:
        return os.stat(os.path.join(self._spool.segments, name)).st_mtime_ns


def load_state(spool: Spool) -> State:
    """What the uploader wrote down last."""
    try:
        with open(spool.path(STATE), "rb") as file:
            return msgspec.json.decode(file.read(), type=State)
    except (FileNotFoundError, msgspec.MsgspecError):
        return State()


def save_state(spool: Spool, state: State) -> None:
    """Write it down, for `db status`."""
    spool.note(STATE, msgspec.json.encode(state))
