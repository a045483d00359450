"""Placing on POSIX systems: every step is one name below an open folder, and no symlink is ever followed."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType

assert sys.platform != "win32"

from safehold.core.entries import DIRECTORY, FILE, Entry
from safehold.core.errors import DamageError, TargetError
from safehold.core.events import Reporter
from safehold.sources.files.compare import differences
from safehold.sources.files.data import Data
from safehold.sources.files.placing.attributes import Attributes
from safehold.sources.files.placing.entering import Entering
from safehold.sources.files.placing.existing import Existing
from safehold.sources.files.placing.folders import Folder, Folders, Spot, names_in
from safehold.sources.files.placing.making import make_plain
from safehold.sources.files.placing.names import refusal
from safehold.sources.files.placing.terms import Counts, Ledger, Options, Outcome
from safehold.sources.files.system import system

_STOPS = {
    errno.ENOSPC: "is full",
    errno.EDQUOT: "is over its quota",
    errno.EROFS: "is read-only",
}


class Placer:
    """Restores entries into a target folder.  ``enter``, ``place`` and ``leave`` may be called from several threads.

    Every folder returned by ``enter`` needs one ``leave`` after everything was placed in it; folders inside it may
    still be open then.  Who places into a folder from several threads calls ``hold`` for each more, and ``leave`` as
    often.
    Failures of one entry are Warn events and counted; only a target that takes nothing more raises (TargetError).
    """

    def __init__(self, target: Path, options: Options, report: Reporter, top: Entry | None = None) -> None:
        """Make the target if it is not there.  ``top``: whose attributes the target gets in ``finish``, if any."""
        self._options = options
        self._target = target
        self.ledger = self._ledger = Ledger(report, options)
        self._folders = Folders(options.open_folders)
        self._attributes = Attributes(self._ledger, options.numeric_owner)
        self._existing = Existing(options, self._ledger, self._attributes, self._folders)
        self._entering = Entering(options, self._ledger, self._attributes, self._folders, self._existing)
        self._lock = threading.Lock()
        self.root = Folder(None, b"", top)
        """The target; give it the ``owners`` and ``groups`` of the Node that is restored into it."""
        self._open_root()

    def __enter__(self) -> Placer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def counts(self) -> Counts:
        """What was done so far."""
        return self._ledger.counts

    def enter(
        self,
        parent: Folder,
        entry: Entry,
        owners: Mapping[int, str] | None = None,
        groups: Mapping[int, str] | None = None,
    ) -> Folder | None:
        """Make or open a folder to place things in; None if that failed (it was told; leave out what is in it).

        ``owners`` and ``groups`` are those of the folder's own Node.
        """
        reason = refusal(entry.name)
        if reason:
            self._refuse(parent, entry, reason)
            return None
        folder = Folder(parent, entry.name, entry)
        folder.owners, folder.groups = owners or {}, groups or {}
        try:
            if not self._entering.enter(parent, folder):
                return None
        except OSError as error:
            self._failed(parent, entry.name, error)
            return None
        except (OverflowError, ValueError) as error:
            self._impossible(parent, entry.name, error)
            return None
        self.hold(parent)
        return folder

    def hold(self, folder: Folder) -> None:
        """Ask for one more ``leave`` before the folder is finished."""
        with self._lock:
            folder.pending += 1

    def leave(self, folder: Folder) -> None:
        """Nothing more will be placed into this folder; its own attributes are set when all in it have left."""
        current: Folder | None = folder
        while current is not None:
            with self._lock:
                current.pending -= 1
                if current.pending:
                    return
            try:
                self._entering.finish(current)
            except OSError as error:
                self._failed(current.parent or current, current.name, error)
            except (OverflowError, ValueError) as error:
                self._impossible(current.parent or current, current.name, error)
            finally:
                if current.parent is not None:
                    self._folders.close(current)
            current = current.parent

    def place(self, folder: Folder, entry: Entry, data: bytes | Data | None = None) -> Outcome:
        """Restore one entry that is no folder.  ``data`` is needed for files: all bytes, or where to fetch them.

        Raises TargetError if the target takes nothing more, and what ``data`` raises, except DamageError.
        """
        reason = refusal(entry.name)
        if reason or entry.kind == DIRECTORY:
            return self._refuse(folder, entry, reason or "stands for a folder")
        try:
            if folder.missing:
                return self._place(folder, -1, entry, data)
            fd = self._folders.acquire(folder)
            try:
                return self._place(folder, fd, entry, data)
            finally:
                self._folders.release(folder)
        except OSError as error:
            return self._failed(folder, entry.name, error)
        except (OverflowError, ValueError) as error:
            return self._impossible(folder, entry.name, error)
        except DamageError as error:
            return self._ledger.failed(error.code, str(error), folder.path(entry.name), error.hint)

    def needs(self, folder: Folder, entry: Entry) -> bool:
        """Whether ``place`` will want the bytes of this file, as far as can be seen without reading any."""
        if refusal(entry.name):
            return False
        if folder.fresh or folder.missing:
            return self._existing.needs(Spot(folder, -1, entry))
        try:
            with self._folders.using(folder) as fd:
                return self._existing.needs(Spot(folder, fd, entry))
        except OSError:
            return True

    def acquire(self, folder: Folder) -> int:
        """A folder's descriptor, open until ``release``.  Raises OSError if the folder cannot be reached any more."""
        return self._folders.acquire(folder)

    def release(self, folder: Folder) -> None:
        """Undo ``acquire``."""
        self._folders.release(folder)

    def adopt(self, fd: int, path: bytes, owners: Mapping[int, str], groups: Mapping[int, str]) -> Folder:
        """An open folder that another process entered and will finish, to place things in until ``drop``."""
        folder = Folder(self.root, path, None)
        folder.owners, folder.groups = owners, groups
        self._folders.add(folder, fd)
        return folder

    def drop(self, folder: Folder) -> None:
        """Close a folder that was adopted."""
        self._folders.close(folder)

    def prune(self, folder: Folder, names: Collection[bytes]) -> None:
        """With ``delete``: remove what the folder holds besides ``names``, all the names the snapshot has in it."""
        if not self._options.delete or folder.fresh or folder.missing:
            return
        try:
            with self._folders.using(folder) as fd:
                for name in sorted(set(names_in(fd)) - set(names)):
                    self._existing.remove(folder, fd, name)
        except OSError as error:
            self._failed(folder, b"", error)

    def verify(self, folder: Folder, entry: Entry, data: bytes | Data | None = None) -> list[str]:
        """How a restored entry differs from what is on disk (``compare.differences``); its bytes too if given."""
        if reason := refusal(entry.name):
            return [f"has a name that {reason}"]
        try:
            with self._folders.using(folder) as fd:
                return differences(fd, entry, data, self._attributes.ids(folder, entry))
        except OSError as error:
            return [f"cannot be read: {error.strerror}"]

    def finish(self) -> Counts:
        """After every other folder was left: attributes of the target, summary warnings, and all on the medium."""
        self.leave(self.root)
        self._ledger.summarise()
        try:
            if self.root.fd >= 0 and not self._options.dry_run:
                system.sync_filesystem(self.root.fd)
        except OSError as error:
            raise TargetError(f"{self._target} did not take everything: {error.strerror}", "check that disk") from error
        finally:
            self.close()
        return self._ledger.counts

    def close(self) -> None:
        """Close all folders; without ``finish`` the restore stays unfinished and can be run again."""
        self._folders.close_all()
        self._folders.close(self.root)

    def _open_root(self) -> None:
        try:
            if not self._options.dry_run:
                self._target.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            if self._options.dry_run and isinstance(error, FileNotFoundError):
                self.root.missing = True
                return
            hint = "name a folder that you may write to"
            raise TargetError(f"Cannot restore into {self._target}: {error.strerror}", hint) from error
        else:
            self._folders.add(self.root, fd)
            self.root.default_acl = system.has_default_acl(fd)

    def _place(self, folder: Folder, fd: int, entry: Entry, data: bytes | Data | None) -> Outcome:
        if type(data) is bytes and entry.more is None and entry.kind == FILE and len(data) == entry.size:
            plain = not (folder.default_acl or self._options.dry_run)
            if plain and make_plain(self._attributes, folder, fd, entry, data):
                self._ledger.created(len(data))
                if not self._ledger.quiet:
                    self._ledger.tell(Outcome.CREATED, folder.path(entry.name), len(data))
                return Outcome.CREATED
        outcome, written = self._existing.place(Spot(folder, fd, entry), data)
        return outcome if outcome is Outcome.FAILED else self._ledger.done(outcome, folder, entry.name, written)

    def _refuse(self, folder: Folder, entry: Entry, reason: str) -> Outcome:
        hint = "the snapshot is hostile or damaged; nothing was written outside the target"
        path = folder.path(entry.name)
        return self._ledger.failed("hostile-name", f"A name that {reason} is not restored", path, hint)

    def _impossible(self, folder: Folder, name: bytes, error: Exception) -> Outcome:
        """A number or text in the entry that no file can have: of a damaged or hostile snapshot."""
        return self._ledger.failed(DamageError.code, f"Its entry cannot be right: {error}", folder.path(name))

    def _failed(self, folder: Folder, name: bytes, error: OSError) -> Outcome:
        if error.errno in _STOPS:
            message = f"The target {self._target} {_STOPS[error.errno]}"
            raise TargetError(message, "see to that or choose another, then run the same restore again") from error
        path = folder.path(name)
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            return self._ledger.failed("swapped", "A symlink was put in its place during the restore", path)
        hint = "if it is immutable or append-only, lift that with chattr -i -a" if error.errno == errno.EPERM else ""
        return self._ledger.failed("not-restored", f"Cannot be restored: {error.strerror}", path, hint)
