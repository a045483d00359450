"""Each engine's part of the command line: ``back_up(call, options)`` and ``restore(call, stored)``, imported when it is called.

``back_up`` is given the values of `safehold backup` and returns the operation's result; ``restore`` those of `safehold restore`
and a snapshot of that engine, and returns the exit status.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from safehold.core.errors import UsageError

SCHEMES = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mariadb": "mariadb",
    "mysql": "mariadb",
    "sqlite": "sqlite",
}
"""The word before the colon of a source -> the engine."""
ENGINES: frozenset[str] = frozenset()
"""Those that this version can back up and restore."""
POINTS = ("to_time", "to_lsn", "to_name", "to_xid", "to_position", "to_gtid")
"""Options of `safehold restore` that name a moment in a database's history."""
OPTIONS = (*POINTS, "plan", "extract", "tablespace")
"""All options of `safehold restore` that only databases have."""


def engine(name: str) -> ModuleType:
    """The module of an engine.  Raises ``UsageError`` for one that this version does not know."""
    if name not in ENGINES:
        raise UsageError(f"This version of Safehold can't yet back up {name} databases.", "Name files or folders.")
    return importlib.import_module(f"safehold.cli.databases.{name}")
