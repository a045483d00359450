"""What a file has besides its bytes, read and written in the way of the running system.

Every system module has the same names, so callers say ``metadata.read_xattrs(fd)`` and need not know where they run.
Reading is on the hot path of a backup: one system call for a file without attributes, one for its flags.
"""

from __future__ import annotations

import sys
from functools import cache

from safehold.sources.files.system import system

if sys.platform != "win32":
    import grp
    import pwd

read_xattrs = system.read_xattrs
write_xattr = system.write_xattr
remove_xattr = system.remove_xattr
read_flags = system.read_flags
read_birth = system.read_birth
holes = system.holes


def read_windows(path: bytes) -> tuple[int, str] | None:
    """On Windows: file attributes and the security descriptor as SDDL.  Elsewhere None."""
    if sys.platform == "win32":
        return system.read_windows(path)
    return None


@cache
def owner_name(uid: int) -> str:
    """The name of a user on this machine, empty if it has none."""
    if sys.platform != "win32":
        try:
            return pwd.getpwuid(uid).pw_name
        except (KeyError, OverflowError):
            return ""
    return ""


@cache
def group_name(gid: int) -> str:
    """The name of a group on this machine, empty if it has none."""
    if sys.platform != "win32":
        try:
            return grp.getgrgid(gid).gr_name
        except (KeyError, OverflowError):
            return ""
    return ""


@cache
def owner_number(name: str) -> int | None:
    """The number of a user on this machine, None if there is no such user."""
    if sys.platform != "win32":
        try:
            return pwd.getpwnam(name).pw_uid
        except (KeyError, ValueError):
            return None
    return None


@cache
def group_number(name: str) -> int | None:
    """The number of a group on this machine, None if there is no such group."""
    if sys.platform != "win32":
        try:
            return grp.getgrnam(name).gr_gid
        except (KeyError, ValueError):
            return None
    return None
