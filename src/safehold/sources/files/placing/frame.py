"""What the placers of all systems have in common: names are refused, failures are told, folders are finished when all in them is.

A placer says how a folder and an entry come about on its system; what becomes of that is here.
"""

from __future__ import annotations

import errno
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from safehold.core.entries import DIRECTORY, Entry
from safehold.core.errors import DamageError, TargetError
from safehold.core.events import Reporter
from safehold.sources.files.data import Data
from safehold.sources.files.placing.names import refusal
from safehold.sources.files.placing.terms import Counts, Ledger, Located, Options, Outcome

PROBE = ".safehold-probe"
"""A file of this name is made, and removed at once, to see whether the target takes any."""
_STOPS = {
    errno.ENOSPC: "is full",
    errno.EDQUOT: "is over its quota",
    errno.EROFS: "is read-only",
}


class Filled(Located, Protocol):
    """A folder of the target that is being filled.  ``owners`` and ``groups`` are the names in its Node."""

    owners: Mapping[int, str]
    groups: Mapping[int, str]
    pending: int
    """How many times it has yet to be left."""


F = TypeVar("F", bound=Filled)


class Frame(ABC, Generic[F]):
    """Restores entries into a target folder.  ``enter``, ``place`` and ``leave`` may be called from several threads.

    Every folder returned by ``enter`` needs one ``leave`` after everything was placed in it; folders inside it may
    still be open then.  Who places into a folder from several threads calls ``hold`` for each more, and ``leave`` as
    often.
    Failures of one entry are Warn events and counted; only a target that takes nothing more, or nothing at all, raises
    (TargetError).
    """

    root: F
    """The target; give it the ``owners`` and ``groups`` of the Node that is restored into it."""

    def __init__(self, target: Path, options: Options, report: Reporter) -> None:
        self._target = target
        self._options = options
        self.ledger = self._ledger = Ledger(report, options)
        self._lock = threading.Lock()
        self._reason = ""
        """Why the first entry failed that did."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def counts(self) -> Counts:
        """What was done so far."""
        return self._ledger.counts

    def enter(
        self,
        parent: F,
        entry: Entry,
        owners: Mapping[int, str] | None = None,
        groups: Mapping[int, str] | None = None,
    ) -> F | None:
        """Make or open a folder to place things in; None if that failed (it was told; leave out what is in it).

        ``owners`` and ``groups`` are those of the folder's own Node.
        """
        reason = refusal(entry.name)
        if reason:
            self._refuse(parent, entry, reason)
            return None
        folder = self._below(parent, entry)
        folder.owners, folder.groups = owners or {}, groups or {}
        try:
            if not self._enter(parent, folder):
                return None
        except OSError as error:
            self._failed(parent, entry.name, error)
            return None
        except (OverflowError, ValueError) as error:
            self._impossible(parent, entry.name, error)
            return None
        self.hold(parent)
        return folder

    def hold(self, folder: F) -> None:
        """Ask for one more ``leave`` before the folder is finished."""
        with self._lock:
            folder.pending += 1

    def leave(self, folder: F) -> None:
        """Nothing more will be placed into this folder; its own attributes are set when all in it have left."""
        current: F | None = folder
        while current is not None:
            with self._lock:
                current.pending -= 1
                if current.pending:
                    return
            above = self._above(current)
            try:
                self._complete(current)
            except OSError as error:
                self._failed(current, b"", error)
            except (OverflowError, ValueError) as error:
                self._impossible(current, b"", error)
            finally:
                if above is not None:
                    self._dismiss(current)
            current = above

    def place(self, folder: F, entry: Entry, data: bytes | Data | None = None) -> Outcome:
        """Restore one entry that is no folder.  ``data`` is needed for files: all bytes, or where to fetch them.

        Raises TargetError if the target takes nothing more, and what ``data`` raises, except DamageError.
        """
        reason = refusal(entry.name)
        if reason or entry.kind == DIRECTORY:
            return self._refuse(folder, entry, reason or "stands for a folder")
        try:
            return self._put(folder, entry, data)
        except OSError as error:
            return self._failed(folder, entry.name, error)
        except (OverflowError, ValueError) as error:
            return self._impossible(folder, entry.name, error)
        except DamageError as error:
            return self._ledger.failed(error.code, str(error), folder.path(entry.name), error.hint)

    def finish(self) -> Counts:
        """After every other folder was left: attributes of the target, summary warnings, and all on the medium."""
        if self._reason and self._is_untouched() and not self._takes_files():
            raise self._useless()
        self.leave(self.root)
        self._ledger.summarise()
        self._settle()
        return self._ledger.counts

    @abstractmethod
    def close(self) -> None:
        """Let go of everything; without ``finish`` the restore stays unfinished and can be run again."""

    @abstractmethod
    def _below(self, parent: F, entry: Entry) -> F:
        """The folder of an entry, as long as nothing is known of it."""

    @abstractmethod
    def _above(self, folder: F) -> F | None:
        """The folder that a folder lies in; None for the target."""

    @abstractmethod
    def _enter(self, parent: F, folder: F) -> bool:
        """Make ``folder`` usable; False if it must be left out (then that was told).  Raises OSError."""

    @abstractmethod
    def _complete(self, folder: F) -> None:
        """Put the folder's own attributes on.  Raises OSError."""

    @abstractmethod
    def _dismiss(self, folder: F) -> None:
        """The folder is not used any more."""

    @abstractmethod
    def _put(self, folder: F, entry: Entry, data: bytes | Data | None) -> Outcome:
        """Restore and count one entry.  Raises OSError, DamageError."""

    @abstractmethod
    def _settle(self) -> None:
        """Have everything on the medium.  Raises TargetError."""

    @abstractmethod
    def _takes_files(self) -> bool:
        """Whether a file can be made in the target, found by making one."""

    @abstractmethod
    def _has_folders(self) -> bool:
        """Whether there is any folder in the target, which may take files that the target itself does not."""

    def _refuse(self, folder: F, entry: Entry, reason: str) -> Outcome:
        hint = "the snapshot is hostile or damaged; nothing was written outside the target"
        path = folder.path(entry.name)
        return self._ledger.failed("hostile-name", f"A name that {reason} is not restored", path, hint)

    def _impossible(self, folder: F, name: bytes, error: Exception) -> Outcome:
        """A number or text in the entry that no file can have: of a damaged or hostile snapshot."""
        return self._ledger.failed(DamageError.code, f"Its entry cannot be right: {error}", folder.path(name))

    def _failed(self, folder: F, name: bytes, error: OSError) -> Outcome:
        if error.errno in _STOPS:
            message = f"The target {self._target} {_STOPS[error.errno]}"
            raise TargetError(message, "see to that or choose another, then run the same restore again") from error
        if not self._reason and not self._options.dry_run:
            self._reason = error.strerror or str(error)
            if self._is_untouched() and not self._takes_files() and not self._has_folders():
                raise self._useless() from error
        path = folder.path(name)
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            return self._ledger.failed("swapped", "A symlink was put in its place during the restore", path)
        hint = "if it is immutable or append-only, lift that with chattr -i -a" if error.errno == errno.EPERM else ""
        return self._ledger.failed("not-restored", f"Cannot be restored: {error.strerror}", path, hint)

    def _is_untouched(self) -> bool:
        """Whether nothing in the target is as the snapshot has it so far."""
        counts = self._ledger.counts
        return not (counts.created or counts.changed or counts.kept or counts.deleted)

    def _useless(self) -> TargetError:
        message = f"Nothing could be restored into {self._target}, since it takes no files: {self._reason}"
        return TargetError(message, "name a folder that you may write to")
