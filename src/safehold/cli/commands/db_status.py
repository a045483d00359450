"""Say of every database how far back and how close to now it can be recovered, and what is wrong.

With a URL the server is asked, too: PostgreSQL's whether its archive_command fails, and whether a slot is about to lose log;
MariaDB's how far its binary log is ahead of what is stored.  The status is 0 if all is well, and 16 if something needs
attention; the warnings say what."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from safehold.core.errors import SafeholdError, Unhealthy

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.databases.reachable import Reachable
    from safehold.cli.parsing import Parser
    from safehold.core.events import Warn

USAGE = "[URL|NAME] [options]"
EXAMPLES = ("safehold db status", "safehold db status postgresql://postgres@/postgres?host=/run/postgresql --json")
STATUSES = (13, 16)
_Key = tuple[str, str]
"""Engine and system; empty where no URL says them."""


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("database", metavar="URL|NAME", nargs="?", default="", help="only this one: its URL, name, or system identifier")
    add("--spool", metavar="DIR", default="", help="the folder of the spool on this machine ($SAFEHOLD_SPOOL)")


def run(call: Call) -> int:
    """Say it."""
    from safehold.cli.databases import reachable
    from safehold.cli.spools import spool_value

    wanted = call.values.database
    key, server, warnings = _asked(call, wanted)
    repository = call.repository()
    every = reachable.found(repository, repository.visible_snapshots())
    found = [each for each in every if not wanted or _is_meant(each, wanted, key)]
    if wanted and not found:
        raise SafeholdError(f"The repository has nothing of {wanted}.", "Make a base: safehold backup postgresql://...")
    warnings += [warning for each in found for warning in _warned(call, each)]
    spool = spool_value(call)
    if not call.out.as_json:
        _tell(call, found, [*_server_lines(server), *_spool_lines(spool)])
    told = [{"code": each.code, "message": each.message, "hint": each.hint} for each in warnings]
    answer = {"server": server or None, "spool": spool, "warnings": told, "healthy": not warnings}
    call.out.result("All is well." if not warnings else "", {"databases": [reachable.value(each) for each in found], **answer})
    if warnings:
        count = "1 thing needs" if len(warnings) == 1 else f"{len(warnings)} things need"
        raise Unhealthy(f"{count} attention.", "The warnings say what to do.")
    return 0


def _warned(call: Call, each: Reachable) -> list[Warn]:
    """Report what is wrong with a database and with this machine's spool of it."""
    from safehold.cli.spools import warn_of_spool

    for warning in each.warnings:
        call.out.report(warning)
    return each.warnings + (warn_of_spool(call, each.system) if each.engine == "postgresql" else [])


def _tell(call: Call, found: list[Reachable], of_server: list[str]) -> None:
    """For people: what the server and the spool say stands behind the clusters that they are of."""
    from safehold.cli.databases import reachable

    clusters = [each for each in found if each.engine == "postgresql"]
    others = [each for each in found if each.engine != "postgresql"]
    for line in [line for each in clusters for line in reachable.lines(each)] + of_server:
        call.out.result(line)
    for line in (line for each in others for line in reachable.lines(each)):
        call.out.result(line)


def _server_lines(server: dict[str, object]) -> list[str]:
    """What the server says, for people."""
    if not server:
        return []
    if "log" in server:
        return [_log_line(server)]
    failed = f", last failed on {server['last_failed']}" if server["last_failed"] else ""
    archived = f"last archived {server['last_archived']}{failed}" if server["last_archived"] else f"nothing archived yet{failed}"
    lines = [f"Server: archive_mode {server['archive_mode']}, {archived}"]
    slots = server["slots"] if isinstance(server["slots"], list) else []
    for slot in slots:
        lines.append(
            f"Slot {slot['name']}: {'in use' if slot['active'] else 'idle'}, {slot['lag']:,} bytes behind, {slot['status']}"
        )
    return lines


def _spool_lines(spool: dict[str, object] | None) -> list[str]:
    """What waits on this machine, for people."""
    if spool is None:
        return []
    since = f", the oldest since {datetime.fromisoformat(str(spool['oldest'])).astimezone():%F %T}" if spool["oldest"] else ""
    lines = [f"Spool {spool['folder']}: {spool['files']} files, {spool['bytes']:,} bytes wait{since}"]
    lines += [f"  last error: {spool['error']}"] if spool["error"] else []
    return lines + ([f"  gap: {spool['gap']}"] if spool["gap"] else [])


def _log_line(server: dict[str, object]) -> str:
    """What a server says of its binary log."""
    if not server["log"]:
        return "Server: it writes no binary log"
    stored = f"stored up to {server['stored']}" if server["stored"] else "nothing of it is stored"
    since = f"; {server['behind']:,} bytes wait" if server["behind"] else ""
    since += f" since {datetime.fromisoformat(str(server['since'])).astimezone():%F %T}" if server["since"] else ""
    return f"Server: its log is at {server['log']}, {stored}{since}"


def _is_meant(each: Reachable, wanted: str, key: _Key) -> bool:
    if key[1]:
        return (each.engine, each.system) == key
    return wanted in {each.name, each.system}


def _asked(call: Call, wanted: str) -> tuple[_Key, dict[str, object], list[Warn]]:
    """Which database a URL means, what its server says, and what is wrong with that; nothing of anything else."""
    if wanted.startswith(("postgresql://", "postgres://")):
        system, said, warnings = _server(call, wanted)
        return ("postgresql", system), said, warnings
    if wanted.startswith(("mariadb://", "mysql://")):
        return _binlog(call, wanted)
    return ("", ""), {}, []


def _binlog(call: Call, url: str) -> tuple[_Key, dict[str, object], list[Warn]]:
    """The same of MariaDB and MySQL."""
    from safehold.cli.databases.mariadb import address_of
    from safehold.cli.render import words
    from safehold.ops.databases.mariadb.status import look

    where = address_of(call, url)
    found = look(call.repository(), where, where.url.query.get("system", ""))
    for each in found.warnings:
        call.out.report(each)
    since = words.iso(found.since_ns) if found.since_ns else None
    said: dict[str, object] = {"log": found.log, "stored": found.stored, "behind": found.behind, "since": since}
    return (found.engine, found.system), said, found.warnings


def _server(call: Call, url: str) -> tuple[str, dict[str, object], list[Warn]]:
    """The system identifier of a server, what it says of its archiving, and what is wrong with that."""
    from safehold.ops.databases.postgresql.status import server_warnings
    from safehold.sources.postgresql import connecting, monitoring

    with connecting.connect(url) as session:
        system = connecting.inquire(session).system
        archiving, slots = monitoring.archiving(session), monitoring.slots(session)
    warnings = server_warnings(archiving, slots)
    for each in warnings:
        call.out.report(each)
    said: dict[str, object] = {
        "archive_mode": archiving.mode,
        "last_archived": archiving.last or None,
        "last_failed": archiving.failed or None,
        "failing": archiving.failing,
        "slots": [{"name": s.name, "active": s.active, "lag": s.lag, "status": s.status, "safe": s.safe} for s in slots],
    }
    return system, said, warnings
