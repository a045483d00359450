"""What ``pg_controldata`` says of a data folder: how it was left, and from where it would recover."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec

from safehold.core.errors import DamageError
from safehold.sources.postgresql.positions import parse_lsn


class ControlData(msgspec.Struct, frozen=True, kw_only=True):
    """The lines that are used."""

    system: str
    state: str
    """``shut down``, ``in production``, ``shut down in recovery``, ``in archive recovery`` ..."""
    timeline: int
    redo: int
    """Where the last checkpoint's replay begins."""
    redo_segment: str
    """The name of the segment of the log that it is in."""
    segment: int
    """Bytes of a segment of the log."""
    page: int
    """Bytes of a page."""
    relation_pages: int
    """Pages of a file, before a relation goes on in the next one."""
    checkpoint: int
    """Where the last checkpoint's record begins."""
    reached: int
    """Of a recovery: where the files are consistent from on (``minRecoveryPoint``); 0 where there was none."""
    reached_timeline: int
    checksums: bool
    settings: dict[str, str]
    """What a hot standby must have at least as large as the original."""
    mark: str
    """Changes whenever a server has written to the folder."""


_SETTINGS = ("max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_xacts", "max_locks_per_xact")
_NAMES = {"max_prepared_xacts": "max_prepared_transactions", "max_locks_per_xact": "max_locks_per_transaction"}


def read(programs: Path, data: Path) -> ControlData:
    """Run it.  Raises ``DamageError``."""
    command = [str(programs / "pg_controldata"), "-D", str(data)]
    environment = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise DamageError(f"The control file in {data} cannot be read: {done.stderr.strip()}.", "The folder is no whole copy.")
    if "WARNING" in done.stdout.split("pg_control version")[0]:
        raise DamageError(f"The control file in {data} is damaged.", "The folder is no whole copy.")
    return parse(done.stdout)


def parse(text: str) -> ControlData:
    """Its lines.  Raises ``DamageError``."""
    lines = dict(line.partition(":")[::2] for line in text.splitlines() if ":" in line)
    values = {name.strip(): value.strip() for name, value in lines.items()}
    try:
        return ControlData(
            system=values["Database system identifier"],
            state=values["Database cluster state"],
            timeline=int(values["Latest checkpoint's TimeLineID"]),
            redo=parse_lsn(values["Latest checkpoint's REDO location"]),
            redo_segment=values["Latest checkpoint's REDO WAL file"],
            segment=int(values["Bytes per WAL segment"]),
            page=int(values["Database block size"]),
            relation_pages=int(values["Blocks per segment of large relation"]),
            checkpoint=parse_lsn(values["Latest checkpoint location"]),
            reached=parse_lsn(values["Minimum recovery ending location"]),
            reached_timeline=int(values["Min recovery ending loc's timeline"]),
            checksums=values["Data page checksum version"] != "0",
            settings={_NAMES.get(name, name): values[f"{name} setting"] for name in _SETTINGS},
            mark="; ".join(values[name] for name in ("Database cluster state", "pg_control last modified", *_POINTS)),
        )
    except (KeyError, ValueError) as error:
        raise DamageError(f"What pg_controldata says cannot be understood: {error}.") from error


_POINTS = ("Latest checkpoint location", "Latest checkpoint's REDO location", "Minimum recovery ending location")
