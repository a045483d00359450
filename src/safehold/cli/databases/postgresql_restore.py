"""``safehold restore`` of a PostgreSQL base."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

assert sys.platform != "win32"

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.ops.databases.postgresql.restore import Placed
    from safehold.repo.snapshots import Stored

_FOR_FILES = ("delete", "numeric_owner", "verify")
"""Options of `safehold restore` that have no meaning for a base."""


def restore(call: Call, stored: Stored) -> int:
    """Put a base into a data directory."""
    from safehold.ops.databases.postgresql.restore import RestoreOptions, examine, finish, place

    values = call.values
    wrong = next((name for name in _FOR_FILES if getattr(values, name)), None)
    if wrong:
        raise UsageError(f"--{wrong.replace('_', '-')} is not for whole databases.", "Leave it out.")
    if stored.snapshot.incomplete:
        call.out.note(f"Base {stored.id[:8]} is incomplete: pages of the database were damaged when it was made.")
    options = RestoreOptions(target=Path(values.target).expanduser().absolute(), tablespaces=values.tablespace)
    repository = call.repository()
    if values.dry_run:
        examine(repository, stored, options)
        call.out.result(f"{options.target} can be restored into.", {"event": "restore", "snapshot": stored.id, "dry_run": True})
        return 0
    started = call.clock.monotonic()
    placed = place(repository, stored, options)
    finish(placed)
    _show(call, stored, placed, call.clock.monotonic() - started)
    return 0


def _show(call: Call, stored: Stored, placed: Placed, seconds: float) -> None:
    from safehold.cli.render import words

    value = {
        "event": "restore",
        "snapshot": stored.id,
        "target": str(placed.target.folder),
        "dry_run": False,
        "files": placed.files,
        "bytes": placed.bytes,
        "bytes_written": placed.written,
        "removed": placed.removed,
        "seconds": round(seconds, 3),
    }
    text = (
        f"Restored {stored.id[:8]} to {placed.target.folder}: {words.count(placed.files, 'file')}, {words.size(placed.bytes)}, "
        f"of which {words.size(placed.written)} were written in {words.duration(seconds)}"
    )
    call.out.result(f"{text}; {placed.removed:,} removed." if placed.removed else f"{text}.", value)
