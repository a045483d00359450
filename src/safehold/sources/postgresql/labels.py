"""``backup_label``: from where a base has to be recovered."""

from __future__ import annotations

import re
from datetime import datetime

import msgspec

from safehold.core.errors import DatabaseFailed
from safehold.sources.postgresql.controldata import ControlData
from safehold.sources.postgresql.positions import format_lsn, parse_lsn

_START = re.compile(r"^START WAL LOCATION: (\S+) \(file ([0-9A-F]{24})\)$", re.MULTILINE)
_TIMELINE = re.compile(r"^START TIMELINE: (\d+)$", re.MULTILINE)
_INCREMENTAL = re.compile(rb"^INCREMENTAL FROM [^\n]*\n", re.MULTILINE)


class Label(msgspec.Struct, frozen=True):
    """What a backup label says."""

    start: int
    """Where the recovery begins (LSN)."""
    timeline: int


def parse(data: bytes) -> Label:
    """Raises ``DatabaseFailed`` for what is no label."""
    text = data.decode(errors="replace")
    start, timeline = _START.search(text), _TIMELINE.search(text)
    if start is None:
        raise DatabaseFailed("The server's backup label says no start position; no snapshot was made.", "Run it again.")
    return Label(parse_lsn(start[1]), int(timeline[1]) if timeline else int(start[2][:8], 16))


def without_incremental(data: bytes) -> bytes:
    """The label of a base that was merged from an incremental one: nothing it depends upon is left."""
    return _INCREMENTAL.sub(b"", data)


def of_standby(control: ControlData, moment: datetime) -> bytes:
    """The label of a data directory that was shut down in the middle of a recovery: as that of a base taken from a standby.

    It has no end of a backup to look for: the control file says from where on the files are consistent.
    """
    lines = (
        f"START WAL LOCATION: {format_lsn(control.redo)} (file {control.redo_segment})",
        f"CHECKPOINT LOCATION: {format_lsn(control.checkpoint)}",
        "BACKUP METHOD: streamed",
        "BACKUP FROM: standby",
        f"START TIME: {moment:%Y-%m-%d %H:%M:%S} UTC",
        "LABEL: safehold image-copy",
        f"START TIMELINE: {control.timeline}",
    )
    return "".join(f"{line}\n" for line in lines).encode()
