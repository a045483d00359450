"""Session marks: who is writing to, or pruning, a repository right now.  ``docs/format/sessions.md``.

Nobody waits for anybody.  A writer puts its mark before it looks at what is condemned; a prune condemns before it looks at
the marks.  So either the writer sees the condemnation and does not build on those packs, or the prune sees the writer and does
not delete before that session has ended and its snapshot has been taken into account.

A session proves that it is alive by renewing its mark.  One that a prune has given up on finds its mark gone when it is about
to commit, and starts over: that is the fence that makes a wrong clock harmless.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

import msgspec

from safehold.core.clock import Clock
from safehold.core.errors import DamageError, FormatError, ObjectMissing, SafeholdError, SessionExpired
from safehold.repo import envelopes
from safehold.repo.seals import Seals
from safehold.storage.store import Store

PREFIX = "sessions/"
RENEW_SECONDS = 600.0
"""A mark is renewed this often."""
EXPIRY_SECONDS = 24 * 3600.0
"""A mark that was not renewed for so long, by the store's own clock where it has one, has no live session behind it."""

OVERLAPPING = frozenset({"backup", "copy"})
"""Operations that read what is condemned when they begin, and keep to it.  Beside any other nothing is deleted."""


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What a session says of itself."""

    id: bytes
    beat: int
    operation: str
    host: str
    machine: str
    """An id of the machine that survives a restart, or empty."""
    boot: str
    """An id of its current run, or empty."""
    pid: int
    started_ns: int
    process_started: str
    """When the process began, as the system says, so that a pid used again is not taken for it."""


class SeenMark(msgspec.Struct, frozen=True):
    """A mark found in the store."""

    key: str
    mark: Mark | None
    """None where it cannot be opened: then nothing is known, and it is taken for alive until it expires."""
    modified_ns: int

    @property
    def session(self) -> str:
        """The session's id in hex."""
        return self.key.removeprefix(PREFIX).partition("/")[0]

    @property
    def overlaps(self) -> bool:
        """Whether a prune may delete beside it what was condemned before it began."""
        return self.mark is not None and self.mark.operation in OVERLAPPING


class Session:
    """A running session's own mark.  Use as a context manager: it is renewed in the background and removed at the end."""

    def __init__(self, seals: Seals, store: Store, clock: Clock, operation: str) -> None:
        self._seals = seals
        self._store = store
        self._mark = _own_mark(seals.random(16), operation, clock.now_ns())
        self._key = ""
        self._given_up = False
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew_forever, name="session-mark", daemon=True)

    @property
    def id(self) -> bytes:
        return self._mark.id

    def __enter__(self) -> Session:
        self._put(self._mark)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        try:
            for key in self._stored():
                self._store.delete(key)
        except SafeholdError:
            return  # a store that refuses to delete: the mark expires

    def renew(self) -> None:
        """Put the next mark, then remove the one before.  Raises ``SessionExpired``."""
        with self._lock:
            self._require_alive()
            before = self._key
            self._put(msgspec.structs.replace(self._mark, beat=self._mark.beat + 1))
            if before not in self._stored():
                # Given up between the look and the new mark: a prune may be deleting already, so this must not revive it.
                self._given_up = True
                self._store.delete(self._key)
                self._require_alive()
            self._store.delete(before)

    def require_alive(self) -> None:
        """Raise ``SessionExpired`` if a prune has given this session up."""
        with self._lock:
            self._require_alive()

    def _require_alive(self) -> None:
        if self._given_up or not self._stored():
            self._given_up = True
            raise SessionExpired(
                "This session was taken for dead by a prune, since it was silent for too long.", "It is run again from the start."
            )

    def _stored(self) -> list[str]:
        return [info.key for info in self._store.list(f"{PREFIX}{self.id.hex()}/")]

    def _put(self, mark: Mark) -> None:
        self._mark = mark
        self._key = key_of(mark)
        self._store.put(self._key, envelopes.wrap(self._seals, "session", msgspec.msgpack.encode(mark)))

    def _renew_forever(self) -> None:
        while not self._stop.wait(RENEW_SECONDS):
            try:
                self.renew()
            except SafeholdError:
                continue  # tried again at the next beat; the fence at commit decides


def seen(seals: Seals, store: Store) -> list[SeenMark]:
    """Every mark in the store, the newest of each session.  No running session is missed, also while it renews its mark."""
    # One listing may pass by both the old and the new mark of a session that is just renewing; two in a row cannot,
    # since renewals are minutes apart.
    names = {info.key.removeprefix(PREFIX).partition("/")[0] for _ in range(2) for info in store.list(PREFIX)}
    marks = (_newest(seals, store, name) for name in sorted(names))
    return [mark for mark in marks if mark is not None]


def _newest(seals: Seals, store: Store, name: str) -> SeenMark | None:
    """The newest mark of a session, or None once it has ended."""
    for _ in range(2):
        found = [info for _ in range(2) for info in store.list(f"{PREFIX}{name}/")]
        if not found:
            return None
        info = max(found, key=lambda info: (info.modified_ns, len(info.key), info.key))
        try:
            return SeenMark(info.key, parse(seals, store.get(info.key)), info.modified_ns)
        except ObjectMissing:
            continue  # renewed, or ended, since it was listed
        except DamageError:
            break
    return SeenMark(info.key, None, info.modified_ns)


def running(session: Session, seals: Seals, store: Store) -> list[SeenMark]:
    """The live sessions beside one's own.  Dead ones are dismissed first: from here on they cannot commit any more."""
    name = session.id.hex()
    # The time of our own mark: by the clock of the store, which stamps the others too.
    reference = max((info.modified_ns for info in store.list(f"{PREFIX}{name}/")), default=0)
    for found in seen(seals, store):
        if found.session != name and is_dead(found, reference):
            store.delete(found.key)
    # Again: one that put a new mark just before its old one was deleted is alive.
    return [found for found in seen(seals, store) if found.session != name]


def is_dead(found: SeenMark, reference_ns: int) -> bool:
    """Whether no live session is behind a mark: its process is known to be gone, or it was not renewed in time.

    ``reference_ns``: the time of a mark just written, by the same clock that stamped ``found``.
    """
    if found.modified_ns and reference_ns - found.modified_ns > EXPIRY_SECONDS * 1e9:
        return True
    mark = found.mark
    if mark is None or not mark.machine or mark.machine != _machine():
        return False
    return mark.boot != _boot() or _process_started(mark.pid) != mark.process_started


def key_of(mark: Mark) -> str:
    """The store key of a mark."""
    return f"{PREFIX}{mark.id.hex()}/{mark.beat}"


def parse(seals: Seals, data: bytes) -> Mark:
    """A mark from its bytes.  Raises ``DamageError``."""
    opened = envelopes.unwrap(seals, "session", envelopes.name_of(data), data)
    try:
        return msgspec.msgpack.decode(opened.body, type=Mark)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"A session mark cannot be read: {error}.") from error


def _own_mark(session_id: bytes, operation: str, now_ns: int) -> Mark:
    return Mark(
        id=session_id,
        beat=0,
        operation=operation,
        host=socket.gethostname(),
        machine=_machine(),
        boot=_boot(),
        pid=os.getpid(),
        started_ns=now_ns,
        process_started=_process_started(os.getpid()),
    )


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _machine() -> str:
    """Linux: /etc/machine-id (machine-id(5)) with host name and pid namespace: containers and clones share the first."""
    identity = _first_line("/etc/machine-id")
    if sys.platform != "linux" or not identity:
        return ""
    try:
        return f"{identity} {socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _boot() -> str:
    return _first_line("/proc/sys/kernel/random/boot_id")


def _process_started(pid: int) -> str:
    """Field 22 of /proc/PID/stat (proc(5)): start time in clock ticks after boot; empty when there is no such process."""
    fields = _first_line(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""
