"""What a server says of its archiving and its slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from safehold.sources.postgresql.connecting import Session


class Archiving(msgspec.Struct, frozen=True, kw_only=True):
    """``pg_stat_archiver``, and how much waits.  Times in seconds since 1970; 0: never."""

    mode: str
    """``archive_mode``: off, on or always."""
    command: str
    last: str
    """The last file that was archived."""
    last_time: float
    failed: str
    """The file that failed last."""
    failed_time: float
    failures: int

    @property
    def failing(self) -> bool:
        """Whether the last attempt failed."""
        return self.failed_time > self.last_time


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A physical replication slot."""

    name: str
    active: bool
    lag: int
    """Bytes of log that the server keeps for it; -1: not known."""
    status: str
    """reserved, extended, unreserved (about to be lost) or lost; empty while it has not been used."""
    safe: int
    """Bytes that may yet be written before it is in danger; -1: no limit is set."""

    @property
    def in_danger(self) -> bool:
        """Whether the server has dropped log that it needs, or is about to."""
        return self.status in {"unreserved", "lost"}


def archiving(session: Session) -> Archiving:
    """How the server archives its log."""
    row = session.execute(
        "SELECT current_setting('archive_mode'), current_setting('archive_command'), coalesce(last_archived_wal, ''),"
        " coalesce(extract(epoch FROM last_archived_time), 0)::float8, coalesce(last_failed_wal, ''),"
        " coalesce(extract(epoch FROM last_failed_time), 0)::float8, failed_count FROM pg_stat_archiver"
    ).fetchone()
    assert row is not None
    mode, command, last, last_time, failed, failed_time, failures = row
    return Archiving(
        mode=str(mode),
        command=str(command),
        last=str(last),
        last_time=float(str(last_time)),
        failed=str(failed),
        failed_time=float(str(failed_time)),
        failures=int(str(failures)),
    )


def slots(session: Session) -> list[Slot]:
    """The physical slots of a server, by name."""
    rows = session.execute(
        "SELECT slot_name, active, coalesce(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn()"
        " ELSE pg_current_wal_lsn() END, restart_lsn), -1)::int8, coalesce(wal_status, ''), coalesce(safe_wal_size, -1)"
        " FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary ORDER BY slot_name"
    ).fetchall()
    return [
        Slot(name=str(name), active=bool(active), lag=int(str(lag)), status=str(status), safe=int(str(safe)))
        for name, active, lag, status, safe in rows
    ]
