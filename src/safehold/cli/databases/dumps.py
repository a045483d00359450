"""Logical dumps on the command line: engines that have nothing else, and ``--method dump`` of those that have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.ops.backup.options import BackupOptions
    from safehold.ops.backup.record import Result


def back_up(call: Call, options: BackupOptions) -> Result:
    """Dump what the source names."""
    from safehold.cli.databases import record_options
    from safehold.cli.sources import writable
    from safehold.ops.databases import dumps
    from safehold.sources.database_url import parse

    if call.values.method not in ("", "dump"):
        raise UsageError(
            f"--method {call.values.method} is not for {options.paths[0]}.", "It can be dumped only: leave --method out."
        )
    url = parse(options.paths[0])
    return dumps.back_up(writable(call), url, record_options(options))
