"""What lies in the target already: kept, made right, or replaced, as the options say (``docs/restore.md``)."""

from __future__ import annotations

import errno
import os
import stat
import sys

assert sys.platform != "win32"

from safehold.core.entries import BLOCK_DEVICE, CHAR_DEVICE, FILE, KIND_NAMES, SYMLINK, Entry
from safehold.sources.files.data import Data
from safehold.sources.files.folders import kind_of
from safehold.sources.files.placing.attributes import Attributes, unlock
from safehold.sources.files.placing.contents import equals, hole_pairs, update
from safehold.sources.files.placing.folders import Folder, Folders, Spot, names_in, open_folder
from safehold.sources.files.placing.links import Group, Groups
from safehold.sources.files.placing.making import Absent, NeedsRoot, checked, make_file, make_node
from safehold.sources.files.placing.removing import Remover
from safehold.sources.files.placing.terms import Ledger, Options, Outcome

_EXISTING = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
Result = tuple[Outcome, int]
"""What became of an entry, and how many bytes were written for it."""


def lookup(parent: int, name: bytes) -> os.stat_result | None:
    """What lies under a name, not followed; None if nothing does."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


class Existing:
    """Places entries where something may be.  May be used from several threads."""

    def __init__(self, options: Options, ledger: Ledger, attributes: Attributes, folders: Folders) -> None:
        self._options = options
        self._ledger = ledger
        self._attributes = attributes
        self._folders = folders
        self._groups = Groups()

    def needs(self, spot: Spot) -> bool:
        """Whether placing will want the file's bytes.  Without a descriptor in ``spot`` nothing can be there yet."""
        entry, group = spot.entry, self._groups.of(spot.entry)
        if entry.kind != FILE or (group is not None and group.folder is not None):
            return False
        found = None if spot.parent < 0 else lookup(spot.parent, entry.name)
        if found is None:
            return True
        if self._options.overwrite == "never":
            return False
        return not self._trusted(entry, found) or found.st_nlink > 1 or self._attributes.foreign(spot, found)

    def place(self, spot: Spot, data: bytes | Data | None) -> Result:
        """Restore one entry, as one more name of a file that is placed already if it is one.  Raises OSError."""
        group = self._groups.of(spot.entry)
        if group is None:
            return self._place(spot, data)
        with group.lock:
            if group.folder is not None and (result := self._link(spot, group)) is not None:
                return result
            result = self._place(spot, data)
            if result[0] not in (Outcome.FAILED, Outcome.SKIPPED):
                found = None if spot.folder.missing else lookup(spot.parent, spot.entry.name)
                group.folder, group.name = spot.folder, spot.entry.name
                group.identity = (found.st_dev, found.st_ino) if found else None
            return result

    def clear(self, folder: Folder, parent: int, name: bytes, found: os.stat_result) -> bool:
        """Remove what lies where something else belongs; False (and told) if it must stay."""
        if not stat.S_ISDIR(found.st_mode):
            if not self._options.dry_run:
                os.unlink(name, dir_fd=parent)
            return True
        if self._options.delete:
            return self._options.dry_run or self.remove(folder, parent, name)
        try:
            if not self._options.dry_run:
                os.rmdir(name, dir_fd=parent)
            elif not _is_empty(parent, name):
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            message = "A folder with something in it is where something else belongs"
            self._ledger.failed("in-the-way", message, folder.path(name), "restore with --delete to remove the folder")
            return False
        return True

    def remove(self, folder: Folder, parent: int, name: bytes) -> bool:
        """Remove a name and everything below it, telling each; whether it is gone."""
        if self._options.dry_run:
            self._ledger.deleted(folder.path(name))
            return True
        return Remover(self._ledger.deleted, self._not_removed).remove(parent, name, folder.path())

    def _not_removed(self, path: bytes, error: OSError) -> None:
        self._ledger.failed("not-deleted", f"Cannot be deleted: {error.strerror}", path)

    def _trusted(self, entry: Entry, found: os.stat_result) -> bool:
        return (
            self._options.overwrite == "if-changed"
            and stat.S_ISREG(found.st_mode)
            and (found.st_size, found.st_mtime_ns) == (entry.size, entry.mtime_ns)
        )

    def _place(self, spot: Spot, data: bytes | Data | None) -> Result:
        found = None if spot.folder.missing else lookup(spot.parent, spot.entry.name)
        if found is None:
            return self._create(spot, data, Outcome.CREATED)
        if self._options.overwrite == "never":
            return Outcome.KEPT, 0
        if kind_of(found.st_mode) != spot.entry.kind:
            return self._replace(spot, data, found)
        if spot.entry.kind == FILE:
            return self._file(spot, data, found)
        return self._node(spot, found)

    def _create(self, spot: Spot, data: bytes | Data | None, outcome: Outcome) -> Result:
        if self._options.dry_run:
            return outcome, spot.entry.size if spot.entry.kind == FILE else 0
        if spot.entry.kind == FILE:
            return outcome, make_file(self._attributes, spot, checked(spot.entry, data))
        try:
            make_node(self._attributes, spot)
        except NeedsRoot:
            path = spot.folder.path(spot.entry.name)
            message = f"Only root can make a {KIND_NAMES[spot.entry.kind]}; it was left out"
            return self._ledger.skipped("needs-root", message, path, "run the restore as root"), 0
        return outcome, 0

    def _replace(self, spot: Spot, data: bytes | Data | None, found: os.stat_result) -> Result:
        outcome = Outcome.CHANGED if kind_of(found.st_mode) == spot.entry.kind else Outcome.REPLACED
        if spot.entry.kind == FILE:
            data = checked(spot.entry, data)
            if isinstance(data, Absent):
                data.read(0, 0)
        if not self.clear(spot.folder, spot.parent, spot.entry.name, found):
            return Outcome.FAILED, 0
        return self._create(spot, data, outcome)

    def _node(self, spot: Spot, found: os.stat_result) -> Result:
        if not _same_node(spot, found):
            return self._replace(spot, None, found)
        if self._attributes.right(spot, found):
            return Outcome.KEPT, 0
        if not self._options.dry_run:
            self._attributes.finish_name(spot)
        return Outcome.CHANGED, 0

    def _file(self, spot: Spot, data: bytes | Data | None, found: os.stat_result) -> Result:
        trusted = self._trusted(spot.entry, found)
        flags = spot.entry.more.flags if spot.entry.more else 0
        if trusted and not flags and self._attributes.right(spot, found):
            return Outcome.KEPT, 0
        content = checked(spot.entry, None if trusted else data)
        if self._options.dry_run or found.st_nlink > 1 or self._attributes.foreign(spot, found):
            return self._untouchable(spot, checked(spot.entry, data), trusted, found)
        fd = self._open(spot)
        if fd is None:
            return self._replace(spot, checked(spot.entry, data), found)
        try:
            now = os.fstat(fd)
            if (now.st_dev, now.st_ino, now.st_nlink) != (found.st_dev, found.st_ino, 1):
                raise OSError(errno.ELOOP, "It was replaced during the restore")
            return self._update(fd, spot, content, trusted)
        finally:
            os.close(fd)

    def _update(self, fd: int, spot: Spot, data: Data, trusted: bool) -> Result:
        before = os.fstat(fd)
        if before.st_mode & ~spot.entry.mode & 0o7777:
            os.fchmod(fd, before.st_mode & spot.entry.mode & 0o7777)
        holes = hole_pairs(spot.entry.more.holes if spot.entry.more else None, spot.entry.size)
        written = 0 if trusted else update(fd, data, holes, before.st_size)
        if not written and self._right(fd, spot):
            return Outcome.KEPT, 0
        self._attributes.finish(fd, spot, fresh=False)
        return Outcome.CHANGED, written

    def _right(self, fd: int, spot: Spot) -> bool:
        found = os.fstat(fd)
        return self._attributes.right(spot, found) and self._attributes.flags_right(fd, spot, found.st_dev)

    def _untouchable(self, spot: Spot, whole: Data, trusted: bool, found: os.stat_result) -> Result:
        """A file that may only be looked at: in a dry run, or because others must not see or suffer the change."""
        fd = os.open(spot.entry.name, os.O_RDONLY | _EXISTING, dir_fd=spot.parent)
        try:
            holes = hole_pairs(spot.entry.more.holes if spot.entry.more else None, spot.entry.size)
            same = trusted or equals(fd, whole, holes, os.fstat(fd).st_size)
            if same and self._right(fd, spot):
                return Outcome.KEPT, 0
        finally:
            os.close(fd)
        if self._options.dry_run:
            return Outcome.CHANGED, 0 if same else spot.entry.size
        return self._replace(spot, whole, found)

    def _open(self, spot: Spot) -> int | None:
        """Open a file for reading and writing; None if only a new file can take its place (no right, being run)."""
        try:
            return os.open(spot.entry.name, os.O_RDWR | _EXISTING, dir_fd=spot.parent)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.ETXTBSY):
                return None
            if error.errno != errno.EPERM:
                raise
        fd = os.open(spot.entry.name, os.O_RDONLY | _EXISTING, dir_fd=spot.parent)
        try:
            unlock(fd, spot.entry)
        finally:
            os.close(fd)
        return os.open(spot.entry.name, os.O_RDWR | _EXISTING, dir_fd=spot.parent)

    def _link(self, spot: Spot, group: Group) -> Result | None:
        """Make one more name of a placed file; None if the system cannot link these two, so it must be copied."""
        found = None if spot.folder.missing else lookup(spot.parent, spot.entry.name)
        if found and (group.identity == (found.st_dev, found.st_ino) or self._options.overwrite == "never"):
            return Outcome.KEPT, 0
        if found and not self.clear(spot.folder, spot.parent, spot.entry.name, found):
            return Outcome.FAILED, 0
        outcome = Outcome.CREATED
        if found:
            outcome = Outcome.CHANGED if kind_of(found.st_mode) == spot.entry.kind else Outcome.REPLACED
        if self._options.dry_run:
            return outcome, 0
        assert group.folder is not None
        try:
            with self._folders.using(group.folder) as source:
                os.link(group.name, spot.entry.name, src_dir_fd=source, dst_dir_fd=spot.parent, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EACCES, errno.ENOTSUP):
                return None
            raise
        self._check_link(spot, group)
        return outcome, 0

    def _check_link(self, spot: Spot, group: Group) -> None:
        found = os.stat(spot.entry.name, dir_fd=spot.parent, follow_symlinks=False)
        if (found.st_dev, found.st_ino) != group.identity:
            os.unlink(spot.entry.name, dir_fd=spot.parent)
            raise OSError(errno.ESTALE, "The first name of this file was replaced during the restore")


def _same_node(spot: Spot, found: os.stat_result) -> bool:
    if spot.entry.kind == SYMLINK:
        return os.readlink(spot.entry.name, dir_fd=spot.parent) == (spot.entry.more.target if spot.entry.more else None)
    if spot.entry.kind in (CHAR_DEVICE, BLOCK_DEVICE):
        device = spot.entry.more.device if spot.entry.more else None
        return (os.major(found.st_rdev), os.minor(found.st_rdev)) == device
    return True


def _is_empty(parent: int, name: bytes) -> bool:
    fd = open_folder(name, parent)
    try:
        return not names_in(fd)
    finally:
        os.close(fd)
