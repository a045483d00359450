"""What the ways to take a base have in common: what is asked for, what is known, what comes of it."""

from __future__ import annotations

import json

import msgspec

from safehold.core.events import Reporter, Warn
from safehold.ops.databases.recording import RecordOptions
from safehold.repo.snapshots import Database
from safehold.sources.postgresql.connecting import Server, public_name

ENGINE = "postgresql"
LOCAL, STREAM, INCREMENTAL = "local", "stream", "incremental"
MANIFEST_NOTE = "postgresql manifest"
"""The local memory's note of the last base's manifest."""
_SHOWN = 10


class BaseOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a base is taken."""

    url: str
    method: str = ""
    """``local``, ``stream`` or ``incremental``; empty: whichever is possible, the fastest first."""
    max_rate: int = 0
    """Of a stream: KiB a second; 0: as fast as it goes."""
    record: RecordOptions = RecordOptions()


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a base when it has been taken."""

    method: str
    timeline: int
    start: int
    stop: int
    stop_ns: int
    tablespaces: dict[str, str]
    """Their folders, by number."""
    errors: int = 0
    facts: dict[str, str] = {}


def describe(options: BaseOptions, server: Server, taken: Taken, names: dict[str, str]) -> Database:
    """What a snapshot says of its base.  ``names``: of tablespaces, by number.  The words of ``facts``: docs/postgresql.md."""
    places = {oid: {"path": path, "name": names.get(oid, "")} for oid, path in sorted(taken.tablespaces.items())}
    facts = {
        "major": str(server.major),
        "wal_segment_size": str(server.segment),
        "block_size": str(server.page),
        "checksums": "on" if server.checksums else "off",
        "standby": "yes" if server.standby else "no",
        "tablespaces": json.dumps(places),
        "superuser": server.superuser,
        "data_directory": server.settings.get("data_directory", ""),
        "config_file": server.settings.get("config_file", ""),
        "hba_file": server.settings.get("hba_file", ""),
        "ident_file": server.settings.get("ident_file", ""),
        **taken.facts,
    }
    return Database(
        engine=ENGINE,
        system=server.system,
        name=public_name(options.url),
        version=server.version,
        method=taken.method,
        timeline=taken.timeline,
        start=taken.start,
        stop=taken.stop,
        stop_ns=taken.stop_ns,
        facts={word: value for word, value in facts.items() if value},
    )


def tell_damage(report: Reporter, path: bytes, pages: list[int]) -> bool:
    """Warn of damaged pages of a file, by their block numbers in the relation; whether there are any."""
    if not pages:
        return False
    numbers = ", ".join(map(str, pages[:_SHOWN])) + (f" and {len(pages) - _SHOWN} more" if len(pages) > _SHOWN else "")
    report(
        Warn(
            code="page-checksum",
            message=f"PostgreSQL's file has damaged pages: block {numbers}. They are stored as they are.",
            path=path.decode(errors="surrogateescape"),
            hint="Look for a base from before the damage, and check the disk.",
        )
    )
    return True
