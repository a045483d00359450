"""How far behind its server the stored binary log is: the server is asked, since whoever should follow it may have stopped."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from datetime import datetime

import msgspec

from safehold.core.clock import NS
from safehold.core.events import Warn
from safehold.ops.databases import logs
from safehold.ops.databases.mariadb.following import BEGIN, resume
from safehold.ops.databases.mariadb.state import State
from safehold.repo.repository import Repository
from safehold.sources.mariadb import binlog, dumping
from safehold.sources.mariadb import server as servers
from safehold.sources.mariadb.connecting import Address, connect
from safehold.sources.mariadb.dumping import LogPurged
from safehold.sources.mariadb.server import Binlog, number_of

LATE_SECONDS = 600
"""Something that is older and not stored yet needs attention: `safehold db watch` looks every 30 seconds."""
_AGAIN = "Run `safehold db watch`; it ought to be a service."
_BASE = "Take a new base now: `safehold backup`.  Moments after the gap cannot be reached from older ones."


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a server's log stands to what is stored of it."""

    engine: str
    system: str
    log: str
    """FILE:POSITION where the server is; empty: it writes no log."""
    stored: str = ""
    """FILE:POSITION up to which it is stored; empty: none of it is."""
    behind: int = 0
    """Bytes in between."""
    since_ns: int = 0
    """When the first event in between was written; 0: there is none."""
    warnings: list[Warn] = []


def look(repository: Repository, where: Address, named: str) -> Standing:
    """Ask a server; ``named`` as of ``Server.system``.  Raises ``DatabaseUnreachable``, and ``NotPermitted`` for a writer."""
    with closing(connect(where)) as connection:
        server = servers.ask(connection)
        existing = servers.binlogs(connection) if server.has_log else []
    system = server.system(named)
    if not existing:
        return Standing(engine=server.engine, system=system, log="")
    newest = existing[-1]
    log = f"{newest.name}:{newest.size}"
    state = resume(logs.catalogue(repository, server.engine, system))
    if state is None:
        return Standing(engine=server.engine, system=system, log=log)
    stored = f"{state.name}:{state.position}"
    if not existing[0].number <= number_of(state.name) <= newest.number:
        return Standing(engine=server.engine, system=system, log=log, stored=stored, warnings=[_gap(stored, existing)])
    return _behind(repository, where, Standing(engine=server.engine, system=system, log=log, stored=stored), state, existing)


def _gap(stored: str, existing: list[Binlog]) -> Warn:
    has = f"{existing[0].name} to {existing[-1].name}"
    message = f"The log is stored up to {stored}, and the server has only {has}: what lies between is lost."
    return Warn(code="log-gap", message=message, hint=_BASE)


def _behind(repository: Repository, where: Address, standing: Standing, state: State, existing: list[Binlog]) -> Standing:
    number = number_of(state.name)
    behind = sum(each.size for each in existing if each.number >= number) - state.position
    since_ns = 0
    try:
        with closing(_times(where, state)) as times:
            since_ns = next(times, 0) * NS
    except LogPurged:
        return msgspec.structs.replace(standing, behind=behind, warnings=[_gap(standing.stored, existing)])
    late = []
    if since_ns and repository.clock.now_ns() - since_ns > LATE_SECONDS * NS:
        since = f"{datetime.fromtimestamp(since_ns // NS):%Y-%m-%d %H:%M:%S}"
        message = f"The log is stored up to {standing.stored} only: {behind:,} bytes, the first of {since}, are not backed up."
        late = [Warn(code="log-behind", message=message, hint=_AGAIN)]
    return msgspec.structs.replace(standing, behind=behind, since_ns=since_ns, warnings=late)


def _times(where: Address, state: State) -> Generator[int, None, None]:
    """When the events after that place were written, in seconds since 1970, as far as they say it."""
    for item in dumping.follow(where, state.name, max(state.position, BEGIN)):
        if isinstance(item, binlog.Event) and item.time and item.kind != binlog.FORMAT:
            yield item.time
