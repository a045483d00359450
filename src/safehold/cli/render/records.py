"""Snapshots and entries as JSON values and as rows of tables."""

from __future__ import annotations

import os
import stat

from safehold.cli.render import words
from safehold.core.entries import BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY, FIFO, FILE, KIND_NAMES, SOCKET, SYMLINK, Entry, Totals
from safehold.repo.snapshots import Snapshot, Stored

HEADINGS = ("ID", "Time", "Host", "Files", "Size", "Tags", "Source")
"""Of the columns of ``row``."""
SHORT = 8
"""Digits of an id that people are shown."""
_FORMATS = {
    FILE: stat.S_IFREG,
    DIRECTORY: stat.S_IFDIR,
    SYMLINK: stat.S_IFLNK,
    FIFO: stat.S_IFIFO,
    SOCKET: stat.S_IFSOCK,
    CHAR_DEVICE: stat.S_IFCHR,
    BLOCK_DEVICE: stat.S_IFBLK,
}


def text(path: bytes) -> str:
    """A path for JSON."""
    return os.fsdecode(path)


def totals(value: Totals) -> dict[str, object]:
    """Totals for JSON."""
    return {"files": value.files, "directories": value.directories, "others": value.others, "bytes": value.bytes}


def snapshot(stored: Stored) -> dict[str, object]:
    """A snapshot for JSON."""
    value, done = stored.snapshot, stored.snapshot.statistics
    return {
        "id": stored.id,
        "time": words.iso(value.time_ns),
        "host": value.host,
        "user": value.user,
        "kind": value.source.kind,
        "paths": [os.fsdecode(path) for path in value.source.paths],
        "excludes": value.source.excludes,
        "tags": value.tags,
        "incomplete": value.incomplete,
        "totals": totals(value.totals),
        "bytes_read": done.read,
        "bytes_added": done.added_raw,
        "bytes_stored": done.added_stored,
        "seconds": done.seconds,
        "parent": value.parent,
        "original": value.original,
        "program": value.program,
    }


def row(stored: Stored) -> list[str]:
    """A snapshot for a table: id, time, host, files, size, tags, source."""
    value = stored.snapshot
    files, size = f"{value.totals.files:,}", words.size(value.totals.bytes)
    tags = ", ".join([*value.tags, *(["(incomplete)"] if value.incomplete else [])])
    return [stored.id[:SHORT], words.moment(value.time_ns), value.host, files, size, tags, source(value)]


def source(value: Snapshot) -> str:
    """What was backed up, in one line."""
    return value.source.command or ", ".join(map(words.printable, value.source.paths))


def entry(path: bytes, value: Entry, owner: str = "", group: str = "") -> dict[str, object]:
    """An entry for JSON."""
    made: dict[str, object] = {
        "path": os.fsdecode(path),
        "type": KIND_NAMES[value.kind],
        "size": size_of(value),
        "mode": f"{value.mode:04o}",
        "uid": value.uid,
        "gid": value.gid,
        "owner": owner,
        "group": group,
        "mtime": words.iso(value.mtime_ns),
    }
    if value.more is not None and value.more.target is not None:
        made["target"] = os.fsdecode(value.more.target)
    return made


def size_of(value: Entry) -> int:
    """Bytes of a file, or of everything in a folder."""
    if value.kind == DIRECTORY and value.more is not None and value.more.totals is not None:
        return value.more.totals.bytes
    return value.size


def long_line(path: bytes, value: Entry, owner: str, group: str) -> str:
    """An entry as `ls -l` shows it, with the size of folders being that of all they hold."""
    mode = stat.filemode(_FORMATS[value.kind] | value.mode)
    more = value.more
    target = f" -> {words.printable(more.target)}" if more is not None and more.target is not None else ""
    who = f"{owner or value.uid:<8} {group or value.gid:<8}"
    return f"{mode} {who} {words.size(size_of(value)):>9} {words.moment(value.mtime_ns)} {words.printable(path)}{target}"
