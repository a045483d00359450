"""Windows: file attributes, security descriptors as SDDL, alternate data streams.

Alternate data streams are kept as extended attributes named ``ads.NAME``.  Constants are those of ``winnt.h``,
``accctrl.h`` and ``sddl.h``.
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import wintypes
from functools import cache
from pathlib import Path

assert sys.platform == "win32"

EARLY_FLAGS = 0
LOCKING_FLAGS = 0
RESTORED_FLAGS = 0
SETTABLE_ATTRIBUTES = 0x1 | 0x2 | 0x4 | 0x20 | 0x100 | 0x2000
"""Read-only, hidden, system, archive, temporary, not indexed."""

_SE_FILE_OBJECT = 1
_OWNER, _GROUP, _DACL = 1, 2, 4
_SDDL_REVISION_1 = 1
_STREAMS = "ads."


class _StreamData(ctypes.Structure):
    _fields_ = (("size", ctypes.c_int64), ("name", ctypes.c_wchar * 296))


@cache
def _kernel32() -> ctypes.WinDLL:
    library = ctypes.WinDLL("kernel32", use_last_error=True)
    library.FindFirstStreamW.restype = ctypes.c_void_p
    library.FindNextStreamW.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    library.FindClose.argtypes = [ctypes.c_void_p]
    library.LocalFree.argtypes = [ctypes.c_void_p]
    return library


@cache
def _advapi32() -> ctypes.WinDLL:
    return ctypes.WinDLL("advapi32", use_last_error=True)


def _checked(succeeded: int) -> None:
    if not succeeded:
        raise ctypes.WinError(ctypes.get_last_error())


def _stream_names(path: str) -> list[str]:
    """Names of the alternate data streams of a file: ``:NAME:$DATA`` without its frame, the main stream left out."""
    found = _StreamData()
    handle = _kernel32().FindFirstStreamW(path, 0, ctypes.byref(found), 0)
    if handle in (None, ctypes.c_void_p(-1).value):
        return []
    names = [found.name]
    while _kernel32().FindNextStreamW(handle, ctypes.byref(found)):
        names.append(found.name)
    _kernel32().FindClose(handle)
    return [name.split(":")[1] for name in names if not name.startswith("::")]


def read_xattrs(where: bytes, follow: bool = True) -> dict[str, bytes] | None:
    """The alternate data streams of a path, as attributes; None if there are none."""
    path = os.fsdecode(where)
    return {_STREAMS + name: Path(f"{path}:{name}").read_bytes() for name in _stream_names(path)} or None


def write_xattr(where: bytes, name: str, value: bytes, follow: bool = True) -> None:
    """Write one alternate data stream; attributes of other systems are refused with OSError."""
    stream = name.removeprefix(_STREAMS)
    if stream == name or not stream or any(sign in stream for sign in ":\\/\0"):
        raise OSError(f"{name} is not an attribute of Windows")
    Path(f"{os.fsdecode(where)}:{stream}").write_bytes(value)


def remove_xattr(where: bytes, name: str, follow: bool = True) -> None:
    """Remove one alternate data stream."""
    Path(f"{os.fsdecode(where)}:{name.removeprefix(_STREAMS)}").unlink()


def read_flags(fd: int, device: int) -> int:
    """Windows has attributes instead (``read_windows``)."""
    return 0


def read_birth(found: os.stat_result) -> int | None:
    """Creation time in nanoseconds."""
    return found.st_ctime_ns


def holes(fd: int, size: int) -> list[int]:
    """Holes are not looked for: zeros are stored once anyway."""
    return []


def read_windows(path: bytes) -> tuple[int, str]:
    """File attributes, and owner, group and access list as SDDL."""
    name = os.fsdecode(path)
    return os.stat(name, follow_symlinks=False).st_file_attributes, _sddl(name)


def _sddl(path: str) -> str:
    descriptor, text = ctypes.c_void_p(), wintypes.LPWSTR()
    parts = _OWNER | _GROUP | _DACL
    failed = _advapi32().GetNamedSecurityInfoW(
        path, _SE_FILE_OBJECT, parts, None, None, None, None, ctypes.byref(descriptor)
    )
    if failed:
        raise ctypes.WinError(failed)
    try:
        _checked(
            _advapi32().ConvertSecurityDescriptorToStringSecurityDescriptorW(
                descriptor, _SDDL_REVISION_1, parts, ctypes.byref(text), None
            )
        )
        value = text.value or ""
        _kernel32().LocalFree(text)
        return value
    finally:
        _kernel32().LocalFree(descriptor)


def write_windows(path: bytes, attributes: int, sddl: str) -> None:
    """Set the access list, owner and group from SDDL, then the file attributes."""
    name = os.fsdecode(path)
    descriptor = ctypes.c_void_p()
    _checked(
        _advapi32().ConvertStringSecurityDescriptorToSecurityDescriptorW(
            sddl, _SDDL_REVISION_1, ctypes.byref(descriptor), None
        )
    )
    try:
        _checked(_advapi32().SetFileSecurityW(name, _OWNER | _GROUP | _DACL, descriptor))
    finally:
        _kernel32().LocalFree(descriptor)
    _checked(_kernel32().SetFileAttributesW(name, attributes & SETTABLE_ATTRIBUTES))
