"""PostgreSQL's part of ``safehold backup`` and ``safehold restore``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.ops.backup.options import BackupOptions
    from safehold.ops.backup.record import Result
    from safehold.repo.snapshots import Stored

METHODS = ("", "local", "stream", "incremental")
_RATES = (32, 1048576)
"""KiB a second that the server allows."""


def back_up(call: Call, options: BackupOptions) -> Result:
    """Take a base of the cluster at that URL."""
    from safehold.cli.databases import record_options
    from safehold.cli.sources import writable
    from safehold.cli.spools import warn_of_spool
    from safehold.ops.databases.postgresql.backup import back_up as take
    from safehold.ops.databases.postgresql.terms import BaseOptions
    from safehold.sources.postgresql.connecting import parameters

    url = options.paths[0]
    if call.values.method not in METHODS:
        raise UsageError(f"--method {call.values.method} is not for PostgreSQL.", "It is local, stream, incremental or dump.")
    if call.values.max_rate and not _RATES[0] <= call.values.max_rate <= _RATES[1]:
        raise UsageError("--max-rate is a number from 32 to 1048576.", "PostgreSQL allows no other.")
    parameters(url)  # so that a wrong one shows before anybody is asked for a passphrase
    values = call.values
    wanted = BaseOptions(url=url, method=values.method, max_rate=values.max_rate, record=record_options(options))
    result = take(writable(call), wanted)
    database = result.snapshot.source.database
    if database is not None:
        warn_of_spool(call, database.system)
    return result


def drill(call: Call, stored: Stored) -> dict[str, object]:
    """Bring a base back for a while, and check it."""
    if sys.platform == "win32":
        raise UsageError("A PostgreSQL base is not restored on Windows.", "Drill it on the system that it is for.")
    else:
        from safehold.cli.databases import postgresql_restore

        return postgresql_restore.drill(call, stored)


def restore(call: Call, stored: Stored) -> int:
    """Put a base into a data directory."""
    if sys.platform == "win32":
        raise UsageError("A PostgreSQL base is not restored on Windows.", "Restore it on the system that it is for.")
    else:
        from safehold.cli.databases import postgresql_restore

        return postgresql_restore.restore(call, stored)
