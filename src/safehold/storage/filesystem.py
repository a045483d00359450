"""What the local driver needs of an operating system, and where they differ.

Nothing here knows of keys or stores; every function raises ``OSError``.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from io import FileIO
from pathlib import Path

if sys.platform != "win32":
    import fcntl

WINDOWS = sys.platform == "win32"

FOLDER_MODE = 0o700
OBJECT_MODE = 0o600 if WINDOWS else 0o400
"""Objects are never written again.  Windows would not even let one with the read-only attribute be deleted."""

_BINARY: int = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOINHERIT", 0)
_NO_SURPRISE: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
"""Never through a link, and never waiting for the other end of a planted FIFO."""

_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.ENOTTY}
_NO_HARD_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


def open_new(path: str) -> int:
    """A descriptor for writing a file that was not there before."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY | _NO_SURPRISE, OBJECT_MODE)


def open_object(path: str) -> tuple[int, int]:
    """A descriptor for reading a regular file, and the file's size; what is no regular file is ``FileNotFoundError``."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _BINARY | _NO_SURPRISE)
    except IsADirectoryError:
        raise FileNotFoundError(errno.ENOENT, "not a file", path) from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "not a file", path)
    return descriptor, status.st_size


def read_all(file: FileIO, size: int) -> bytes:
    """What is left of a file that should have ``size`` bytes left; one call for the usual case."""
    data = file.read(size)
    return data if len(data) == size else data + file.readall()


def write_all(descriptor: int, data: memoryview) -> None:
    """Write every byte, however many calls the system makes of it."""
    while data:
        data = data[os.write(descriptor, data) :]


def flush_file(descriptor: int) -> None:
    """Return when the file's bytes survive a loss of power.

    On macOS ``fsync`` leaves them in the drive's own cache (its fsync(2)); ``F_FULLFSYNC`` doesn't, where it is supported.
    """
    if sys.platform == "darwin":
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        else:
            return
    os.fsync(descriptor)


def flush_folder(path: str) -> None:
    """Return when the names in a folder survive a loss of power.

    Windows has no such call (NTFS journals names itself), and some network and FUSE filesystems refuse it.
    """
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flush_file(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def flush_renamed(path: str) -> None:
    """Return when a renamed file survives a loss of power under its new name, with its bytes; before its folder is flushed.

    Linux's vfat gives it a new entry in the folder that says 0 bytes, and keeps its size in memory until the file itself is
    written out again (fs/fat/namei_vfat.c, ``vfat_rename``): flushing the folder alone writes an empty file to the drive.
    """
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY | _NO_SURPRISE)
    try:
        flush_file(descriptor)
    finally:
        os.close(descriptor)


def replace_durably(source: str, target: str) -> None:
    """Give a flushed file another name, in the place of what has it; return when that survives a loss of power."""
    os.replace(source, target)
    flush_renamed(target)
    flush_folder(os.path.dirname(target) or ".")


def start_writeback(descriptor: int, offset: int, length: int) -> None:
    """Have the system begin to write these bytes, without waiting, so that the flush at the end is short.

    Linux begins write-back of dirty pages for ``POSIX_FADV_DONTNEED`` (mm/fadvise.c), and keeps the pages until it is done.
    """
    if sys.platform == "linux":
        os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_DONTNEED)


def make_folders(path: Path) -> None:
    """Make a folder and its parents, durably."""
    if path.is_dir():
        return
    make_folders(path.parent)
    path.mkdir(FOLDER_MODE, exist_ok=True)
    flush_folder(str(path.parent))


def renumbers(device: int) -> bool:
    """Whether folders on a device (``st_dev``) may get other inode numbers while it is mounted.

    FUSE programs such as exfat-fuse count what the system looks up, and count anew what it forgot meanwhile; their device's
    number tells one mount from another all the same.
    """
    if sys.platform != "linux":
        return False
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        if before.split(" ")[2:3] == [wanted]:
            return after.startswith("fuse")
    return False


def hold(descriptor: int) -> bool:
    """Mark a file as in use by this process until it is closed; False if another process, or thread, holds it.

    Where a filesystem has no locks, everybody succeeds.  On Windows an open file can't be removed anyway.
    """
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
    return True


def has_name(descriptor: int) -> bool:
    """Whether an open file can still be found in its folder.  Windows keeps the name of a file that is open."""
    return sys.platform == "win32" or os.fstat(descriptor).st_nlink > 0


def is_held(path: str) -> bool:
    """Whether some process is seen to hold a file.  Raises ``OSError``."""
    if sys.platform == "win32":
        return True  # whoever has it open holds it
    descriptor, _ = open_object(path)
    try:
        return not hold(descriptor)
    finally:
        os.close(descriptor)


def remove_unless_held(path: str) -> bool:
    """Remove a file that no live process holds; whether it was removed."""
    if sys.platform == "win32":
        try:
            os.unlink(path)
        except PermissionError:
            return False
        return True
    descriptor, _ = open_object(path)
    try:
        free = hold(descriptor)
        if free:
            os.unlink(path)
        return free
    finally:
        os.close(descriptor)


def move_exclusive(source: str, target: str, lock: str) -> None:
    """Give a file another name in one step, or raise ``FileExistsError`` if that name is taken; never replaces anything.

    ``lock`` is the path of a lock file that every user of the same folder names, for filesystems without hard links.
    """
    if sys.platform == "win32":
        os.rename(source, target)  # On Windows it refuses to replace.
        return
    try:
        os.link(source, target)
    except FileExistsError:
        # A repeated request over NFS may find its own first try.
        if not os.path.samefile(source, target):
            raise
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        _rename_exclusive(source, target, lock)
        return
    os.unlink(source)


def _rename_exclusive(source: str, target: str, lock: str) -> None:
    """The same for FAT and its like: look, then rename, under a lock that keeps others from doing so in between."""
    descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | _BINARY | _NO_SURPRISE, 0o600)
    try:
        _wait_for(descriptor)
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "exists", target)
        os.rename(source, target)
        flush_renamed(target)
        # Else the drive may hold both names of the same clusters, and fsck.vfat would empty one of the two files.
        flush_folder(os.path.dirname(source))
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int) -> None:
    """Take the lock of a file, which ends when it is closed."""
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
