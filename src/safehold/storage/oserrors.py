"""What the operating system says of a file, as what a user should know of the store."""

from __future__ import annotations

import errno

from safehold.core.errors import StoreError, StoreFull, StoreUnreachable

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_GONE = {
    number
    for name in (
        *("ENODEV", "ENXIO", "ESTALE", "ENOTCONN", "ECONNABORTED", "ESHUTDOWN"),
        *("ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN"),
    )
    if (number := getattr(errno, name, None)) is not None
}
"""ECONNABORTED is what Linux gives to who was waiting for a FUSE program that ended; later it is ENOTCONN (fs/fuse/dev.c)."""
_WINDOWS_FULL = {39, 112}
"""ERROR_HANDLE_DISK_FULL, ERROR_DISK_FULL (winerror.h)."""
_WINDOWS_GONE = {21, 53, 55, 64, 67, 1167}
"""ERROR_NOT_READY, _BAD_NETPATH, _DEV_NOT_EXIST, _NETNAME_DELETED, _BAD_NET_NAME, _DEVICE_NOT_CONNECTED (winerror.h)."""

_HINTS = {
    errno.EACCES: "Check who owns the folder and its permissions.",
    errno.EPERM: "Check who owns the folder, and whether it is marked as immutable.",
    errno.EROFS: "The filesystem is mounted read-only; after an error systems do that on their own: look at the system log.",
    errno.EIO: "The drive reports a fault: look at the system log, and copy what matters to another drive.",
    errno.ELOOP: "There is a symbolic link inside the store; a store never follows one.",
    errno.EFBIG: "The filesystem doesn't hold files that large.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
    errno.ENFILE: "The system has run out of open files.",
}


def explained(error: OSError, key: str, location: str) -> StoreError:
    """The error to raise for ``error``, met at the object ``key`` (or a folder, or a temporary file) of a store."""
    code = error.errno or 0
    windows_code = getattr(error, "winerror", None)
    if code in _FULL or windows_code in _WINDOWS_FULL:
        return StoreFull(
            f"The store {location} is full; {key} could not be stored.",
            "Free some space there (prune, or other files), and run it again.",
        )
    if code in _GONE or windows_code in _WINDOWS_GONE:
        return unreachable(location)
    return StoreError(f"{key} in the store {location}: {error.strerror or error}.", _HINTS.get(code, ""))


def unreachable(location: str) -> StoreUnreachable:
    """The store's folder isn't there, or not any more."""
    return StoreUnreachable(f"The store {location} is not there.", "Is the drive plugged in and mounted? Is the path right?")
