"""Each engine's part of the command line: ``back_up(call, options)`` and ``restore(call, stored)``, imported when it is called.

``back_up`` is given the values of `safehold backup` and returns the operation's result; ``restore`` those of `safehold restore`
and a snapshot of that engine, and returns the exit status.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.ops.backup.options import BackupOptions
    from safehold.ops.databases.recording import RecordOptions

SCHEMES = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mariadb": "mariadb",
    "mysql": "mariadb",
    "sqlite": "sqlite",
    "mongodb": "dumps",
    "redis": "dumps",
}
"""The word before the colon of a source -> the engine."""
ENGINES = frozenset({"dumps", "mariadb", "postgresql", "sqlite"})
"""Those that this version can back up and restore."""
POINTS = ("to_time", "to_lsn", "to_name", "to_xid", "to_position", "to_gtid")
"""Options of `safehold restore` that name a moment in a database's history."""
OPTIONS = (*POINTS, "immediate", "exclusive", "timeline", "action", "wal", "plan", "extract", "tablespace")
"""All options of `safehold restore` that only databases have."""


def record_options(options: BackupOptions) -> RecordOptions:
    """What of a backup's options holds for databases.  Raises ``UsageError`` for those that are for files only."""
    from safehold.ops.databases.recording import RecordOptions

    wrong = {
        "--exclude": bool(options.excludes),
        "--exclude-caches": options.exclude_caches,
        "--one-file-system": options.one_file_system,
        "--parent": bool(options.parent),
        "--paged": options.paged,
        "--page-size": bool(options.page_size),
    }
    given = [name for name, is_given in wrong.items() if is_given]
    if given:
        raise UsageError(f"{given[0]} is for files and folders, not for {options.paths[0]}.", "Leave it out.")
    return RecordOptions(
        tags=options.tags, host=options.host, writer=options.writer, dry_run=options.dry_run, whole=options.force
    )


def engine(name: str) -> ModuleType:
    """The module of an engine.  Raises ``UsageError`` for one that this version does not know."""
    name = SCHEMES.get(name, name)
    if name not in ENGINES:
        raise UsageError(f"This version of Safehold can't yet back up {name} databases.", "Name files or folders.")
    return importlib.import_module(f"safehold.cli.databases.{name}")
