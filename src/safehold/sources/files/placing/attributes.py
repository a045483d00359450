"""Owners, attributes, permissions, times and flags, put on in the order in which none undoes another.

Owner first: a change of owner clears set-user-id bits and capabilities.  Then extended attributes, ACLs and
capabilities; then permissions, which must agree with the ACL's mask; then times, which everything before may change;
flags last, because an immutable file takes nothing more.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable
from functools import partial

assert sys.platform != "win32"

from safehold.core.entries import DIRECTORY, FILE, SYMLINK, Entry
from safehold.sources.files.metadata import group_number, owner_number, read_flags, read_xattrs
from safehold.sources.files.placing.folders import Folder, Spot
from safehold.sources.files.placing.terms import Ledger
from safehold.sources.files.system import system

_REFUSED = frozenset({errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EOVERFLOW})

Where = int | tuple[int, bytes]
"""An open file, or an open folder and a name in it."""
Xattrs = dict[str, bytes]


class Attributes:
    """Puts the attributes of entries on files.  One for a whole restore; may be used from several threads."""

    def __init__(self, ledger: Ledger, numeric_owner: bool) -> None:
        self._ledger = ledger
        self._numeric = numeric_owner
        self._root = os.geteuid() == 0
        self._groups = {os.getegid(), *os.getgroups()}

    def ids(self, folder: Folder, entry: Entry) -> tuple[int, int]:
        """Numbers of the entry's owner and group on this machine: by name if it has that name, else by number."""
        uid = folder.uids.get(entry.uid)
        if uid is None:
            uid = folder.uids[entry.uid] = self._local(entry.uid, folder.owners.get(entry.uid), owner_number)
        gid = folder.gids.get(entry.gid)
        if gid is None:
            gid = folder.gids[entry.gid] = self._local(entry.gid, folder.groups.get(entry.gid), group_number)
        return uid, gid

    def _local(self, number: int, name: str | None, find: Callable[[str], int | None]) -> int:
        found = find(name) if name and not self._numeric else None
        return number if found is None else found

    def foreign(self, spot: Spot, found: os.stat_result) -> bool:
        """Whether a file belongs to somebody else than it will: who may have it open, and must not see what comes."""
        return found.st_uid != (self.ids(spot.folder, spot.entry)[0] if self._root else os.geteuid())

    def plain(self, fd: int, folder: Folder, entry: Entry) -> None:
        """Finish a new file that has nothing but owner, permissions and time: two or three system calls."""
        mode = entry.mode & 0o7777 if self._born_right(fd, folder, entry) else self._own(fd, Spot(folder, -1, entry))
        os.fchmod(fd, mode)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    def _born_right(self, fd: int, folder: Folder, entry: Entry) -> bool:
        """Whether a file was made with its owner and group.

        All that this process makes in one folder have the same, unless somebody changes the folder meanwhile; nobody else may
        change one that this restore has made and not finished.
        """
        if not folder.fresh:
            return False
        if folder.born is None:
            made = os.fstat(fd)
            folder.born = (made.st_uid, made.st_gid)
        return folder.born == self.ids(folder, entry)

    def early(self, fd: int, spot: Spot) -> None:
        """Flags that only take effect on an empty file."""
        flags = spot.entry.more.flags & system.EARLY_FLAGS if spot.entry.more else 0
        if flags:
            self._flags(fd, spot, system.EARLY_FLAGS)

    def finish(self, fd: int, spot: Spot, fresh: bool) -> None:
        """Put everything on an open file or folder.

        ``fresh``: new, so it has no attributes or flags that must go.
        """
        if fresh and spot.entry.more is None:
            return self.plain(fd, spot.folder, spot.entry)
        wanted = (spot.entry.more.xattrs if spot.entry.more else None) or {}
        mode = self._own(fd, spot)
        if wanted or not fresh:
            self._xattrs(fd, spot, {} if fresh else read_xattrs(fd) or {}, wanted)
        os.fchmod(fd, mode)
        if spot.entry.more and spot.entry.more.birth_ns is not None:
            system.write_birth(fd, spot.entry.more.birth_ns)
        os.utime(fd, ns=(spot.entry.mtime_ns, spot.entry.mtime_ns))
        if (spot.entry.more and spot.entry.more.flags) or not fresh:
            self._flags(fd, spot, system.RESTORED_FLAGS)
        return None

    def strip_inherited(self, fd: int) -> None:
        """Remove an ACL that a new file or folder has from the folder it was made in."""
        for name in read_xattrs(fd) or {}:
            if name.startswith("system.posix_acl_"):
                system.remove_xattr(fd, name)

    def finish_name(self, spot: Spot) -> None:
        """The same for what is not opened: symlinks, FIFOs, sockets and device nodes; never follows a symlink."""
        mode = self._own((spot.parent, spot.entry.name), spot)
        where = system.path_in(spot.parent, spot.entry.name)
        wanted = (spot.entry.more.xattrs if spot.entry.more else None) or {}
        present = read_xattrs(where, follow=False) or {}
        if wanted or present:
            self._xattrs(where, spot, present, wanted)
        if spot.entry.kind != SYMLINK:
            system.chmod_in(spot.parent, spot.entry.name, mode)
        times = (spot.entry.mtime_ns, spot.entry.mtime_ns)
        os.utime(spot.entry.name, ns=times, dir_fd=spot.parent, follow_symlinks=False)

    def right(self, spot: Spot, found: os.stat_result) -> bool:
        """Whether what lies there already has the entry's owner, permissions, time and extended attributes."""
        uid, gid = self.ids(spot.folder, spot.entry)
        if self._root and (found.st_uid, found.st_gid) != (uid, gid):
            return False
        if spot.entry.kind != SYMLINK and stat.S_IMODE(found.st_mode) != spot.entry.mode & 0o7777:
            return False
        wanted = spot.entry.more.xattrs if spot.entry.more else None
        return found.st_mtime_ns == spot.entry.mtime_ns and read_xattrs(
            system.path_in(spot.parent, spot.entry.name), follow=False
        ) == (wanted or None)

    def open_right(self, fd: int, spot: Spot) -> bool:
        """Whether an open file or folder has all the entry's attributes."""
        found = os.fstat(fd)
        owner = (found.st_uid, found.st_gid) if self._root else self.ids(spot.folder, spot.entry)
        return (
            (stat.S_IMODE(found.st_mode), found.st_mtime_ns, *owner)
            == (spot.entry.mode & 0o7777, spot.entry.mtime_ns, *self.ids(spot.folder, spot.entry))
            and read_xattrs(fd) == ((spot.entry.more.xattrs if spot.entry.more else None) or None)
            and self.flags_right(fd, spot, found.st_dev)
        )

    def flags_right(self, fd: int, spot: Spot, device: int) -> bool:
        """Whether an open file has the entry's inode flags."""
        return read_flags(fd, device) == (spot.entry.more.flags if spot.entry.more else 0)

    def _own(self, where: Where, spot: Spot) -> int:
        """Set owner and group.  Returns the permissions that may be set after that."""
        ids = self.ids(spot.folder, spot.entry)
        if self._root:
            try:
                _chown(where, *ids)
                return spot.entry.mode & 0o7777
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
        return self._own_as_user(where, spot.folder, spot.entry, ids)

    def _own_as_user(self, where: Where, folder: Folder, entry: Entry, ids: tuple[int, int]) -> int:
        """Give a group that the user is in.  Returns the mode without set-id bits that would now mean someone else."""
        found, (uid, gid) = _stat(where), ids
        if found.st_gid != gid and gid in self._groups:
            try:
                _chown(where, -1, gid)
                found = _stat(where)
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
        mode = entry.mode & 0o7777
        if (found.st_uid, found.st_gid) == (uid, gid):
            return mode
        self._ledger.lost("owner", "not permitted", folder, entry.name)
        if entry.kind == DIRECTORY:
            return mode
        return mode & ~((stat.S_ISUID if found.st_uid != uid else 0) | (stat.S_ISGID if found.st_gid != gid else 0))

    def _xattrs(self, where: int | bytes, spot: Spot, present: Xattrs, wanted: Xattrs) -> None:
        """Make the attributes of an open file, or of a path that is not followed, those that are wanted."""
        for name, value in wanted.items():
            if present.get(name) != value:
                self._try(spot, name, partial(system.write_xattr, where, name, value, False))
        for name in present.keys() - wanted.keys():
            if name != "security.selinux":
                self._try(spot, name, partial(system.remove_xattr, where, name, False))

    def _try(self, spot: Spot, name: str, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS}:
                raise
            kind = name if name.startswith("system.") else name.split(".", maxsplit=1)[0]
            self._ledger.lost("xattr", f"{kind}: {error.strerror}", spot.folder, spot.entry.name)

    def _flags(self, fd: int, spot: Spot, among: int) -> None:
        flags = spot.entry.more.flags if spot.entry.more else 0
        try:
            system.write_flags(fd, flags, among)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            if flags:
                self._ledger.lost("flags", error.strerror or "", spot.folder, spot.entry.name)


def _stat(where: Where) -> os.stat_result:
    if isinstance(where, int):
        return os.fstat(where)
    return os.stat(where[1], dir_fd=where[0], follow_symlinks=False)


def _chown(where: Where, uid: int, gid: int) -> None:
    if isinstance(where, int):
        os.fchown(where, uid, gid)
    else:
        os.chown(where[1], uid, gid, dir_fd=where[0], follow_symlinks=False)


def unlock(fd: int, entry: Entry) -> bool:
    """Lift the flags that forbid writing, if the snapshot's entry has them: then an earlier restore set them.

    Returns whether there were any.  What else is locked stays so: somebody locked it for a reason.
    """
    locking = entry.more.flags & system.LOCKING_FLAGS if entry.more else 0
    if not locking or entry.kind not in (FILE, DIRECTORY):
        return False
    if not read_flags(fd, os.fstat(fd).st_dev) & system.LOCKING_FLAGS:
        return False
    system.write_flags(fd, 0, system.LOCKING_FLAGS)
    return True
