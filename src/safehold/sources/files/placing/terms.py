"""The words of a restore: its options, what it is fed with, what it tells and counts."""

from __future__ import annotations

import threading
from enum import Enum
from typing import Literal, Protocol

import msgspec

from safehold.core.events import Event, Reporter, Warn

Overwrite = Literal["always", "if-changed", "never"]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a restore treats what is already in the target (``docs/restore.md``)."""

    overwrite: Overwrite = "always"
    delete: bool = False
    """Remove what the snapshot does not have; also lets a file take the place of a folder with something in it."""
    numeric_owner: bool = False
    """Owners by number only, not by name."""
    dry_run: bool = False
    """Tell what would be done and touch nothing."""
    verbose: bool = False
    """Tell of each thing that is made or changed, too."""
    open_folders: int = 256
    """How many folders may be open at once; deeper ones are opened again when needed."""


class Outcome(Enum):
    """What became of one entry."""

    CREATED = "create"
    CHANGED = "change"
    REPLACED = "replace"
    KEPT = "keep"
    SKIPPED = "skip"
    FAILED = "fail"


class Placed(Event):
    """Something in the target was, or in a dry run would be, made, changed, replaced or deleted."""

    action: str
    """``create``, ``change``, ``replace`` (something of another kind was there), ``keep`` or ``delete``."""
    path: str
    bytes: int = 0


class Counts(msgspec.Struct):
    """What a restore did."""

    created: int = 0
    changed: int = 0
    """Existing things whose bytes or attributes were made right, or that were replaced."""
    kept: int = 0
    """Existing things that were right already, or that ``never`` protects."""
    deleted: int = 0
    skipped: int = 0
    """Left out with a warning, because only root can make them."""
    failed: int = 0
    written: int = 0
    """Bytes written into files."""
    codes: dict[str, int] = {}
    """How many failures there were of each ``Warn.code``."""

    def add(self, more: Counts) -> None:
        """Count what somebody else did, too."""
        for name in ("created", "changed", "kept", "deleted", "skipped", "failed", "written"):
            setattr(self, name, getattr(self, name) + getattr(more, name))
        for code, count in more.codes.items():
            self.codes[code] = self.codes.get(code, 0) + count


class Tally(msgspec.Struct):
    """What a ledger holds."""

    counts: Counts
    lost: list[tuple[str, str, int, str]]
    """Attributes that could not be set: which, why, how often, and the first path."""


_FIELD = {
    Outcome.CREATED: "created",
    Outcome.CHANGED: "changed",
    Outcome.REPLACED: "changed",
    Outcome.KEPT: "kept",
    Outcome.SKIPPED: "skipped",
    Outcome.FAILED: "failed",
}

_LOST = {
    "owner": "owner and group could not be set",
    "xattr": "extended attributes (ACLs or capabilities among them) could not be set",
    "flags": "inode flags could not be set",
    "security": "Windows attributes and access lists could not be set",
}


def shown(path: bytes) -> str:
    """A path as text that every output can hold; bytes that are not UTF-8 as ``\\xNN``."""
    return path.decode("utf-8", "backslashreplace")


class Located(Protocol):
    """A folder that knows where it is; asked only when something has to be told."""

    def path(self, name: bytes = b"") -> bytes:
        """The path of ``name`` in it, or its own, from the top of the target."""


class Ledger:
    """Counts and tells; may be used from several threads."""

    def __init__(self, report: Reporter, options: Options) -> None:
        self.counts = Counts()
        self._report = report
        self.quiet = not (options.dry_run or options.verbose)
        self._lock = threading.Lock()
        self._lost: dict[tuple[str, str], tuple[int, str]] = {}

    def created(self, written: int) -> None:
        """Count a new entry without telling: the short way for many small files."""
        with self._lock:
            self.counts.created += 1
            self.counts.written += written

    def done(self, outcome: Outcome, folder: Located, name: bytes = b"", written: int = 0) -> Outcome:
        """Count one finished entry; replacing is always told, the rest when asked for."""
        with self._lock:
            field = _FIELD[outcome]
            setattr(self.counts, field, getattr(self.counts, field) + 1)
            self.counts.written += written
        if outcome is Outcome.REPLACED or not self.quiet:
            self.tell(outcome, folder.path(name), written)
        return outcome

    def tell(self, outcome: Outcome, path: bytes, written: int = 0) -> None:
        """Report one entry without counting it."""
        self._report(Placed(action=outcome.value, path=shown(path), bytes=written))

    def deleted(self, path: bytes) -> None:
        """Count and tell a removal."""
        with self._lock:
            self.counts.deleted += 1
        self._report(Placed(action="delete", path=shown(path)))

    def failed(self, code: str, message: str, path: bytes, hint: str = "") -> Outcome:
        """Count and tell a failure that does not stop the rest."""
        with self._lock:
            self.counts.failed += 1
            self.counts.codes[code] = self.counts.codes.get(code, 0) + 1
        self._report(Warn(code=code, message=message, path=shown(path), hint=hint))
        return Outcome.FAILED

    def skipped(self, code: str, message: str, path: bytes, hint: str) -> Outcome:
        """Tell what is left out; ``done`` counts it."""
        self._report(Warn(code=code, message=message, path=shown(path), hint=hint))
        return Outcome.SKIPPED

    def lost(self, what: str, reason: str, folder: Located, name: bytes = b"") -> None:
        """Note an attribute that the target or the user's rights do not allow; told once for all at the end."""
        with self._lock:
            count, first = self._lost.get((what, reason)) or (0, shown(folder.path(name)))
            self._lost[what, reason] = (count + 1, first)

    def take(self) -> Tally:
        """What was counted so far; from here on it counts from nothing."""
        lost = [(what, reason, count, first) for (what, reason), (count, first) in self._lost.items()]
        tally = Tally(self.counts, lost)
        self.counts, self._lost = Counts(), {}
        return tally

    def merge(self, tally: Tally) -> None:
        """Count what another process did, which has told it or has it told."""
        with self._lock:
            self.counts.add(tally.counts)
            for what, reason, count, path in tally.lost:
                before, first = self._lost.get((what, reason)) or (0, path)
                self._lost[what, reason] = (before + count, first)

    def summarise(self) -> None:
        """Tell each kind of loss once."""
        for (what, reason), (count, first) in sorted(self._lost.items()):
            hint = "run the restore as root to set owners" if what == "owner" else ""
            message = f"{_LOST[what]} on {count} entries ({reason})"
            self._report(Warn(code=f"lost-{what}", message=message, path=first, hint=hint))
        self._lost.clear()
