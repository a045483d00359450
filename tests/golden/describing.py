"""What a folder holds, as plain records: written into a manifest when a golden repository is made, compared ever after.

It asks the operating system only, so that a mistake of the program cannot hide in it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

Record = dict[str, Any]

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "char-device",
    stat.S_IFBLK: "block-device",
}


def describe(top: Path) -> dict[str, Record]:
    """Path below ``top`` -> record, for everything in it."""
    found: dict[str, Record] = {}
    first: dict[tuple[int, int], str] = {}
    for path in sorted(_below(os.fsencode(top))):
        name = os.fsdecode(os.path.relpath(path, os.fsencode(top)))
        st = os.lstat(path)
        if st.st_nlink > 1 and not stat.S_ISDIR(st.st_mode):
            known = first.setdefault((st.st_dev, st.st_ino), name)
            if known != name:
                found[name] = {"same_as": known}
                continue
        found[name] = _record(path, st)
    return found


def _below(folder: bytes) -> list[bytes]:
    paths = []
    for here, folders, files in os.walk(folder):
        paths += [os.path.join(here, name) for name in folders + files]
    return paths


def _record(path: bytes, st: os.stat_result) -> Record:
    kind = _KINDS[stat.S_IFMT(st.st_mode)]
    record: Record = {"kind": kind, "uid": st.st_uid, "gid": st.st_gid, "mtime_ns": st.st_mtime_ns}
    if kind != "symlink":
        record["mode"] = stat.S_IMODE(st.st_mode)
    if kind == "file":
        record |= {"size": st.st_size, "sha256": hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest()}
        record["holes"] = _holes(path, st.st_size)
    if kind == "symlink":
        record["target"] = os.fsdecode(os.readlink(path))
    if kind.endswith("device"):
        record["device"] = [os.major(st.st_rdev), os.minor(st.st_rdev)]
    names = sorted(os.listxattr(path, follow_symlinks=False))
    record["xattrs"] = {name: os.getxattr(path, name, follow_symlinks=False).hex() for name in names}
    return record


def _holes(path: bytes, size: int) -> list[int]:
    holes: list[int] = []
    fd = os.open(path, os.O_RDONLY)
    try:
        at = 0
        while at < size:
            try:
                data = os.lseek(fd, at, os.SEEK_DATA)
            except OSError:
                data = size
            if data > at:
                holes += [at, data - at]
            at = os.lseek(fd, data, os.SEEK_HOLE) if data < size else size
    finally:
        os.close(fd)
    return holes
