"""Logical dumps as snapshots: the SQL (or whatever the engine writes) of a database, file by file.  ``docs/dumps.md``."""

from __future__ import annotations

from safehold.ops.backup.memory import Memory
from safehold.ops.backup.record import Result
from safehold.ops.databases.assembly import Assembly, Attributes
from safehold.ops.databases.recording import Filled, RecordOptions, record_database
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Database
from safehold.sources import dumps
from safehold.sources.database_url import DatabaseUrl

ENGINES = {"postgres": "postgresql", "mysql": "mariadb"}
"""Schemes of a URL that are not the engine's name."""


def back_up(repository: Repository, url: DatabaseUrl, options: RecordOptions) -> Result:
    """Dump a database, or all of a server, and keep the files as one snapshot.

    Raises ``CommandFailed``, with no snapshot made, unless every program wrote a whole dump.
    """
    engine = ENGINES.get(url.scheme, url.scheme)
    now_ns = repository.clock.now_ns

    def fill(assembly: Assembly, memory: Memory) -> Filled:
        del memory
        for part in dumps.parts(url):
            with dumps.running(part) as read:
                assembly.stream(part.name.encode(), read, Attributes(mtime_ns=now_ns()), text=True)
        database = Database(engine=engine, role="dump", system=url.public, name=url.public, method="dump", stop_ns=now_ns())
        return Filled(database=database)

    return record_database(repository, engine, f"dump\0{url.public}", options, fill)
