"""Setting a placed base up for a recovery: its log beside it, the settings, the signal file.  ``docs/postgresql.md``.

The order makes that a folder never starts as something that it is not: first the log files, then the settings, durable, and
the signal file last; only then whoever placed the base makes it startable.
"""

from __future__ import annotations

import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from safehold.core.errors import DamageError
from safehold.core.events import Note, Progress
from safehold.ops.databases.postgresql.plan import Plan
from safehold.ops.databases.postgresql.reading import Cluster, content
from safehold.repo.repository import Repository
from safehold.sources.postgresql.positions import format_lsn
from safehold.storage.filesystem import flush_folder

FOLDER = "safehold_wal"
"""In the data directory: the log files of a recovery."""
SIGNAL = "recovery.signal"
AUTO_CONF = "postgresql.auto.conf"
ACTIONS = ("promote", "pause", "shutdown")
LOCAL_COMMAND = f'cp "{FOLDER}/%f" "%p"'
END_COMMAND = f'rm -rf "{FOLDER}"'
"""The server runs both in its data directory."""
_STALE = re.compile(
    rb"^\s*(restore_command|recovery_end_command|archive_cleanup_command|recovery_target\w*|recovery_min_apply_delay"
    rb"|primary_conninfo|primary_slot_name|archive_mode)\s*[ =]",
    re.IGNORECASE,
)
"""Settings of an earlier recovery, or of a server that the restored one is not."""
_REASON = b"# By safehold restore. archive_mode: a restored server must not archive into the log of the one it comes from."


class RecoveryOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a recovery ends, and where its log comes from."""

    action: str = "promote"
    restore_command: str = LOCAL_COMMAND
    """Another one than this means that no log files are placed."""


def set_up(repository: Repository, folder: Path, plan: Plan, cluster: Cluster, options: RecoveryOptions) -> None:
    """Make the base in ``folder`` recover to the plan's target when a server is started on it.

    Raises ``DamageError``, ``OSError``.

    The log files that the base itself brought, in ``pg_wal``, stay: the server takes those of the archive first.
    """
    if options.restore_command == LOCAL_COMMAND:
        _place_log(repository, folder, plan, cluster)
    _write_settings(folder, settings(plan, options))
    (folder / "standby.signal").unlink(missing_ok=True)
    _write(folder / SIGNAL, b"", like=folder)
    flush_folder(str(folder))


def settings(plan: Plan, options: RecoveryOptions) -> dict[str, str]:
    """What the server is told, by the names of its settings."""
    target = plan.target
    chosen = {
        "restore_command": options.restore_command,
        "recovery_target_timeline": "current" if plan.timeline == plan.base.timeline else str(plan.timeline),
        "recovery_target_action": options.action,
        "archive_mode": "off",
        "recovery_end_command": END_COMMAND,
    }
    if target.kind == "immediate":
        chosen["recovery_target"] = "immediate"
    elif target.kind != "latest" and not plan.to_end:
        chosen[f"recovery_target_{target.kind}"] = _value(plan)
        if target.kind != "name" and not target.inclusive:
            chosen["recovery_target_inclusive"] = "off"
    else:
        del chosen["recovery_target_action"]
    return chosen


def _value(plan: Plan) -> str:
    target = plan.target
    if target.kind == "time":
        return f"{datetime.fromtimestamp(target.value // 10**9, UTC):%Y-%m-%d %H:%M:%S}.{target.value // 1000 % 10**6:06d}+00"
    if target.kind == "lsn":
        return format_lsn(target.value)
    return target.name if target.kind == "name" else str(target.value)


def _place_log(repository: Repository, folder: Path, plan: Plan, cluster: Cluster) -> None:
    place = folder / FOLDER
    if not plan.pieces and not cluster.archive.history_files:
        return
    place.mkdir(mode=0o700, exist_ok=True)
    _own(place, folder)
    wanted = {piece.name: piece.stored for piece in plan.pieces}
    # All histories: by them the server knows which number is free for the timeline that it begins.
    wanted |= {stored.log.name: stored for stored in cluster.archive.history_files.values()}
    for name in set(os.listdir(place)) - wanted.keys():
        (place / name).unlink()
    total, done = sum(stored.entry.size for stored in wanted.values()), 0
    for name, stored in wanted.items():
        data = content(repository, stored)
        if len(data) != stored.entry.size:
            raise DamageError(f"The WAL file {name} has not the size that it was stored with.", "Run `safehold check`.")
        _write(place / name, data, like=folder)
        done += len(data)
        repository.report(Progress(phase="wal", bytes=done, total_bytes=total, files=0, path=name))
    flush_folder(str(place))


def _write_settings(folder: Path, chosen: dict[str, str]) -> None:
    """Settings of an earlier recovery go from both files; of ``postgresql.conf`` they stay there as comments."""
    main = folder / "postgresql.conf"
    if main.exists():
        before = main.read_bytes().splitlines(keepends=True)
        after = [b"#" + line if _STALE.match(line) and not _is_archive_mode(line) else line for line in before]
        if after != before:
            _write(main, b"".join(after), like=folder)
    auto = folder / AUTO_CONF
    lines = auto.read_bytes().splitlines() if auto.exists() else []
    kept = [line for line in lines if not _STALE.match(line) and line != _REASON]
    made = [f"{name} = '{_quoted(value)}'".encode() for name, value in chosen.items()]
    _write(auto, b"".join(line + b"\n" for line in (*kept, _REASON, *made)), like=folder)


def _is_archive_mode(line: bytes) -> bool:
    return line.strip().lower().startswith(b"archive_mode")


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


def _write(path: Path, data: bytes, like: Path) -> None:
    """A file, durable and all or nothing, with the owner of the folder ``like``."""
    temporary = path.with_name(path.name + ".safehold")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    _own(temporary, like)
    os.replace(temporary, path)


def _own(path: Path, like: Path) -> None:
    if sys.platform != "win32" and os.geteuid() == 0:
        status = os.stat(like / "PG_VERSION" if (like / "PG_VERSION").exists() else like)
        os.chown(path, status.st_uid, status.st_gid)


def tell(repository: Repository, plan: Plan) -> None:
    """What the user has to know of the restored folder."""
    archive = (
        "archive_mode is off in the restored server, lest it archives into the old log. Turn it on with an archive of its own."
    )
    for note in (*plan.notes, archive):
        repository.report(Note(message=note))
