"""Bring back a snapshot, or a part of it, into a folder.

The contents of the folder PATH (or the one file PATH) are placed in the target, which is made if it is not there.  What is
there already with the same content is kept; what differs is replaced, as --overwrite says.  Nothing outside the target is
ever written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.cli.helptext import SNAP
from safehold.core.errors import DamageError, SafeholdError, UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.ops.restore import Result

USAGE = "SNAP[:PATH] --target FOLDER [options]"
EXAMPLES = (
    "safehold restore latest --target /mnt/new",
    "safehold restore latest:/home/me/Documents --target ~/Documents --overwrite if-changed",
    "safehold restore '3 days ago:/etc' --target /tmp/etc --include '*.conf' --dry-run",
)
STATUSES = (4, 13)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    from safehold.cli.disc_sets import reach_arguments

    add = parser.add_argument
    add("snap", metavar="SNAP[:PATH]", help=f"{SNAP}; and what of it")
    add("-t", "--target", metavar="FOLDER", required=True, help="where to")
    add(
        "--include",
        metavar="GLOB",
        action="append",
        default=[],
        help="only what this fits (rules as of --exclude); may be repeated",
    )
    add("--delete", action="store_true", help="remove from the target what the snapshot does not have there")
    add(
        "--overwrite",
        choices=("always", "if-changed", "never"),
        default="",
        help="always (the default of files): compare contents; if-changed: trust equal size and time; never: keep what is there",
    )
    add("--numeric-owner", action="store_true", help="set owners by number, not by name")
    add("--verify", action="store_true", help="compare everything with the snapshot afterwards")
    add("--dry-run", action="store_true", help="tell what would be done, and do nothing")
    add("--to-time", metavar="TIME", default="", help="of a database: its state at that time, from base and logs")
    add("--to-lsn", metavar="LSN", default="", help="of a PostgreSQL database: its state at that position")
    add("--to-name", metavar="NAME", default="", help="of a PostgreSQL database: its state at that named restore point")
    add(
        "--to-xid", metavar="XID", default="", help="of a PostgreSQL database: its state with that transaction, and none after it"
    )
    add("--to-position", metavar="FILE:POS", default="", help="of a MariaDB database: its state at that place of the binary log")
    add("--to-gtid", metavar="GTID", default="", help="of a MariaDB database: its state with that transaction, and none after it")
    add(
        "--immediate",
        action="store_true",
        help="of a PostgreSQL database: its state when the base was finished, and no later one",
    )
    add("--exclusive", action="store_true", help="stop just before the --to-time, --to-lsn or --to-xid, and not just after it")
    add("--timeline", metavar="N", default="", help="of a PostgreSQL database: a number, `latest` (the default) or `current`")
    add(
        "--action",
        choices=("promote", "pause", "shutdown"),
        default="",
        help="of a PostgreSQL database: what the server does at the target; promote without it",
    )
    add(
        "--wal",
        choices=("local", "fetch"),
        default="",
        help="of a PostgreSQL database: put the log beside it (local, the default), or have the server fetch it with archive-get",
    )
    add("--plan", action="store_true", help="of a database: say from what it would be restored, and write nothing")
    add("--extract", metavar="DB[.TABLE]", action="append", default=[], help="of a database: only this, as SQL; may be repeated")
    add("--scratch", metavar="FOLDER", default="", help="with --extract: where the database is brought back for a while")
    add(
        "--programs",
        metavar="FOLDER",
        default="",
        help="of a database: where its server's programs are, if not in the usual place",
    )
    add(
        "--tablespace",
        metavar="OLD=NEW",
        action="append",
        default=[],
        help="of a PostgreSQL database: put a tablespace (by its folder, name or number) there; may be repeated",
    )
    add("-v", "--verbose", action="store_true", help="tell of every file")
    reach_arguments(parser)


def run(call: Call) -> int:
    """Restore, and say how it went."""
    from pathlib import Path

    from safehold.cli.databases import OPTIONS, engine
    from safehold.ops.resolve import resolve_path
    from safehold.ops.restore import restore
    from safehold.sources.files.placing.terms import Options

    values = call.values
    if not values.target:
        raise UsageError("The target is empty.", "Name a folder.")
    options = Options(
        overwrite=values.overwrite or "always",
        delete=values.delete,
        numeric_owner=values.numeric_owner,
        dry_run=values.dry_run,
        verbose=values.verbose,
    )
    repository = call.repository()
    stored, path = resolve_path(repository, values.snap)
    database = stored.snapshot.source.database
    if database is not None and not path and not values.include and database.role == "base":
        return int(engine(database.engine).restore(call, stored))
    wrong = next((name for name in OPTIONS if getattr(values, name)), None)
    if wrong:
        raise UsageError(f"--{wrong.replace('_', '-')} is for whole databases, which {values.snap} is not.", "Leave it out.")
    if stored.snapshot.incomplete:
        call.out.note(f"Snapshot {stored.id[:8]} is incomplete: some of its source could not be read when it was made.")
    target = Path(values.target).expanduser()
    if call.volumes is not None and not values.dry_run:
        call.volumes.prepare(repository, stored.snapshot, path, values.include)
    started = call.clock.monotonic()
    result = restore(
        repository, stored.snapshot, target, options, path=path, include=values.include or None, verify=values.verify
    )
    _show(call, stored.id, target, result, call.clock.monotonic() - started)
    if call.volumes is not None:
        call.volumes.restored()
    return _judged(result)


def _judged(result: Result) -> int:
    """The status of what happened.  Raises where not everything is as it should be."""
    if result.damaged:
        raise DamageError(
            f"{result.damaged:,} files or folders were not restored, since what is stored of them is damaged.",
            "`safehold check` says what else is; an older snapshot may hold them whole.",
        )
    if result.differing:
        raise DamageError(
            f"{result.differing:,} things in the target are not as the snapshot has them.", "The warnings above name them."
        )
    if result.counts.failed:
        raise SafeholdError(
            f"{result.counts.failed:,} things could not be restored; all others were.", "The warnings above say which and why."
        )
    return 0


def _show(call: Call, snapshot: str, target: object, result: Result, seconds: float) -> None:
    from safehold.cli.render import words

    counts = result.counts
    value = {
        "event": "restore",
        "snapshot": snapshot,
        "target": str(target),
        "dry_run": call.values.dry_run,
        "created": counts.created,
        "changed": counts.changed,
        "kept": counts.kept,
        "deleted": counts.deleted,
        "skipped": counts.skipped,
        "failed": counts.failed,
        "damaged": result.damaged,
        "differing": result.differing if call.values.verify else None,
        "bytes_written": counts.written,
        "seconds": round(seconds, 3),
    }
    done = [
        f"{number:,} {what}"
        for number, what in (
            (counts.created, "made"),
            (counts.changed, "changed"),
            (counts.kept, "kept"),
            (counts.deleted, "deleted"),
            (counts.skipped, "skipped"),
            (counts.failed, "failed"),
            (result.damaged, "damaged"),
        )
        if number
    ]
    how = "Would restore" if call.values.dry_run else "Restored"
    speed = f"{words.size(counts.written)} written in {words.duration(seconds)}"
    verified = ", and everything is as in the snapshot" if call.values.verify and not result.differing else ""
    call.out.result(f"{how} {snapshot[:8]} to {target}: {', '.join(done) or 'nothing'}; {speed}{verified}.", value)
