"""Placing on POSIX systems: every step is one name below an open folder, and no symlink is ever followed."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

assert sys.platform != "win32"

from safehold.core.entries import FILE, Entry
from safehold.core.errors import TargetError
from safehold.core.events import Reporter
from safehold.sources.files.compare import differences
from safehold.sources.files.data import Data
from safehold.sources.files.placing.attributes import Attributes
from safehold.sources.files.placing.entering import Entering
from safehold.sources.files.placing.existing import Existing
from safehold.sources.files.placing.folders import Folder, Folders, Spot, names_in
from safehold.sources.files.placing.frame import PROBE, Frame
from safehold.sources.files.placing.making import NEW_FILE, make_plain
from safehold.sources.files.placing.names import refusal
from safehold.sources.files.placing.terms import Options, Outcome
from safehold.sources.files.system import system


class Placer(Frame[Folder]):
    """The placer of POSIX systems."""

    def __init__(self, target: Path, options: Options, report: Reporter, top: Entry | None = None) -> None:
        """Make the target if it is not there.  ``top``: whose attributes the target gets in ``finish``, if any."""
        super().__init__(target, options, report)
        self._folders = Folders(options.open_folders)
        self._attributes = Attributes(self._ledger, options.numeric_owner)
        self._existing = Existing(options, self._ledger, self._attributes, self._folders)
        self._entering = Entering(options, self._ledger, self._attributes, self._folders, self._existing)
        self.root = Folder(None, b"", top)
        self._open_root()

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

    def close(self) -> None:
        """Close all folders; without ``finish`` the restore stays unfinished and can be run again."""
        self._folders.close_all()
        self._folders.close(self.root)

    def _below(self, parent: Folder, entry: Entry) -> Folder:
        return Folder(parent, entry.name, entry)

    def _above(self, folder: Folder) -> Folder | None:
        return folder.parent

    def _enter(self, parent: Folder, folder: Folder) -> bool:
        return self._entering.enter(parent, folder)

    def _complete(self, folder: Folder) -> None:
        self._entering.finish(folder)

    def _dismiss(self, folder: Folder) -> None:
        self._folders.close(folder)

    def _put(self, folder: Folder, entry: Entry, data: bytes | Data | None) -> Outcome:
        if folder.missing:
            return self._place(folder, -1, entry, data)
        fd = self._folders.acquire(folder)
        try:
            return self._place(folder, fd, entry, data)
        finally:
            self._folders.release(folder)

    def _settle(self) -> None:
        try:
            if self.root.fd >= 0 and not self._options.dry_run:
                system.sync_filesystem(self.root.fd)
        except OSError as error:
            raise TargetError(f"{self._target} did not take everything: {error.strerror}", "check that disk") from error
        finally:
            self.close()

    def _takes_files(self) -> bool:
        try:
            with self._folders.using(self.root) as fd:
                os.close(os.open(PROBE, NEW_FILE, 0o600, dir_fd=fd))
                os.unlink(PROBE, dir_fd=fd)
        except FileExistsError:
            return True
        except OSError:
            return False
        return True

    def _has_folders(self) -> bool:
        try:
            with self._folders.using(self.root) as fd, os.scandir(fd) as found:
                return any(entry.is_dir(follow_symlinks=False) for entry in found)
        except OSError:
            return False

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
