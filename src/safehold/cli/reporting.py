"""Telling an online server how a backup went: numbers and a label, never a name of a file.

What it is told lets its page say what is overdue, and lets it notice that a source shrinks suddenly.  A report that does not
arrive changes nothing about the backup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import SafeholdError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.ops.backup.record import Result


def report_done(call: Call, result: Result) -> None:
    """A snapshot was made."""
    snapshot, done = result.snapshot, result.snapshot.statistics
    value: dict[str, object] = {
        "status": "incomplete" if snapshot.incomplete else "done",
        "source": _label(call),
        "snapshot": result.id,
        "files": snapshot.totals.files,
        "bytes": snapshot.totals.bytes,
        "added": done.added_stored,
        "seconds": round(done.seconds),
        "errors": done.errors,
    }
    _send(call, value)


def report_failed(call: Call, error: SafeholdError) -> None:
    """None was made.  Only the kind of error is told: its sentence may name files."""
    _send(call, {"status": "failed", "source": _label(call), "message": error.code})


def _label(call: Call) -> str:
    """What kind of thing was backed up; tags are the owner's own words for it."""
    first = str(call.values.sources[0]) if call.values.sources else ""
    scheme = first.partition(":")[0] if ":" in first else ""
    kind = {"postgresql": "PostgreSQL", "mariadb": "MariaDB", "mysql": "MySQL", "sqlite": "SQLite", "command": "command"}.get(
        scheme, "files"
    )
    return " ".join([kind, *call.values.tag])[:100]


def _send(call: Call, value: dict[str, object]) -> None:
    store = call.online_store
    if store is None or call.values.dry_run:
        return
    try:
        store.report(value)
    except SafeholdError as error:
        call.out.note(f"The server was not told how it went: {error}")
