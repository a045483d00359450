"""MariaDB, and MySQL, on the command line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from safehold.core.errors import DamageError, DatabaseFailed, DatabaseUnreachable, SessionExpired, StoreError, UsageError
from safehold.core.events import Warn

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.ops.backup.options import BackupOptions
    from safehold.ops.backup.record import Result
    from safehold.ops.databases.mariadb.asking import BaseOptions
    from safehold.ops.databases.mariadb.extract import Wanted
    from safehold.ops.databases.mariadb.following import Polled
    from safehold.ops.databases.mariadb.history import Goal
    from safehold.ops.databases.mariadb.planning import Plan
    from safehold.repo.snapshots import Stored
    from safehold.sources.database_url import DatabaseUrl
    from safehold.sources.mariadb.connecting import Address

QUERY = ("socket", "host", "port", "user", "password", "defaults-file", "ssl-ca", "ssl-cert", "ssl-key")
MOST_WAIT = 300.0
"""Seconds between tries while something fails."""
OWN = ("parallel", "checkpoint", "delta", "system")


def address_of(call: Call, text: str) -> Address:
    """Where the server is.  Raises ``UsageError``, also for words in the URL's query that mean nothing."""
    from safehold.sources import database_url
    from safehold.sources.mariadb.connecting import address

    url = database_url.parse(text)
    unknown = [name for name in url.query if name not in (*QUERY, *OWN)]
    if unknown:
        raise UsageError(f"{unknown[0]!r} in the address means nothing.", f"There are: {', '.join((*QUERY, *OWN))}.")
    if url.database:
        raise UsageError(
            f"A base holds the whole server, not only {url.database}.",
            "Leave the name out; `safehold restore --extract` brings one database back, and --method dump backs one up.",
        )
    return address(url, call.environ)


def base_options(url: DatabaseUrl) -> BaseOptions:
    """What the URL's query says of how a base is taken."""
    from safehold.ops.databases.mariadb.asking import BaseOptions

    parallel = url.query.get("parallel", "2")
    if not parallel.isdigit() or not 1 <= int(parallel) <= 64:
        raise UsageError(f"parallel={parallel} in the address is no number from 1 to 64.", "2 is what is used without it.")
    said = {name: url.query.get(name, "yes") for name in ("checkpoint", "delta")}
    for name, value in said.items():
        if value not in ("yes", "no"):
            raise UsageError(f"{name}= in the address is yes or no.", "yes is what is used without it.")
    return BaseOptions(
        parallel=int(parallel),
        checkpoint=said["checkpoint"] == "yes",
        delta=said["delta"] == "yes",
        system=url.query.get("system", ""),
    )


def back_up(call: Call, options: BackupOptions) -> Result:
    """Take a base."""
    from safehold.cli.databases import record_options
    from safehold.cli.sources import writable
    from safehold.core.threads import beside
    from safehold.ops.databases.mariadb.asking import ask

    if call.values.method:
        raise UsageError(f"There is no method {call.values.method} for MariaDB.", "Leave it out, or write --method dump.")
    where = address_of(call, options.paths[0])
    base, record = base_options(where.url), record_options(options)
    asked = beside(lambda: ask(where, base), "asking")
    repository = writable(call)
    from safehold.ops.databases.mariadb.backup import back_up

    return back_up(repository, asked.result(), base, record)


def restore(call: Call, stored: Stored) -> int:
    """Restore a base to a moment: into a folder, or with --extract into SQL; with --plan, only say how."""
    from safehold.ops.databases.mariadb.planning import plan

    values = call.values
    wanted = [_wanted(text) for text in values.extract]
    repository = call.repository()
    found = plan(repository, stored, goal_of(call))
    if values.plan or values.dry_run:
        return _show_plan(call, found)
    if wanted:
        return _extract(call, found, wanted)
    return _restore(call, found)


def drill(call: Call, stored: Stored) -> dict[str, object]:
    """Bring a base back for a while, up to the end of its log as far as that reaches, and have every table checked."""
    from pathlib import Path

    from safehold.ops.databases.mariadb.extract import verify
    from safehold.ops.databases.mariadb.history import Goal
    from safehold.ops.databases.mariadb.planning import plan

    repository = call.repository()
    found = plan(repository, stored, Goal())
    if found.history.reaches_base:
        found = plan(repository, stored, Goal(position=found.history.end_name()))
    checked = verify(repository, found, Path(call.values.scratch).expanduser() if call.values.scratch else None)
    for problem in checked.problems:
        call.out.report(Warn(code="table", message=problem))
    if checked.problems:
        raise DamageError(
            f"{len(checked.problems)} of {checked.tables} tables are not as they should be.", "The warnings above name them."
        )
    position = f"{found.stop.name}:{found.stop.offset}" if found.stop else ""
    return {"bytes": stored.snapshot.totals.bytes, "tables": checked.tables, "position": position, "gap": found.history.gap}


def watch(call: Call, url: str) -> int:
    """Follow the binary log: until it is stopped, or with --once up to now."""
    from safehold.core.errors import LogGap
    from safehold.ops.databases.mariadb.following import Follower
    from safehold.ops.databases.recording import RecordOptions

    where = address_of(call, url)
    follower = Follower(call.repository(), where, RecordOptions(host=call.values.host), where.url.query.get("system", ""))
    if call.values.once:
        polled = follower.poll()
        _show_polled(call, polled)
        if polled.gaps:
            raise LogGap(f"The stored log has a gap: {polled.gaps[0]}.", "Take a new base now: `safehold backup`.")
        return 0
    failures = 0
    while True:
        try:
            polled = follower.poll()
        except (DatabaseUnreachable, DatabaseFailed, StoreError, SessionExpired) as error:
            failures += 1
            call.out.report(Warn(code=error.code, message=f"{error}  Trying again.", hint=error.hint))
        else:
            failures = 0
            if polled.pieces:
                _show_polled(call, polled)
        call.clock.sleep(min(call.values.every * 2 ** min(failures, 6), max(call.values.every, MOST_WAIT)))


def _show_polled(call: Call, polled: Polled) -> None:
    from safehold.cli.render import words

    value = {"event": "watch", "pieces": polled.pieces, "bytes": polled.bytes, "position": polled.end, "gaps": polled.gaps}
    text = f"Stored {words.size(polled.bytes)}, up to {polled.end}." if polled.pieces else "Nothing new."
    call.out.result(text, value)
    sys.stdout.flush()


def goal_of(call: Call) -> Goal:
    """The moment that the options name.  Raises ``UsageError``."""
    from safehold.ops.databases.mariadb.history import Goal
    from safehold.ops.resolve import moment_ns

    values = call.values
    for name in ("to_lsn", "to_name", "to_xid", "tablespace"):
        if getattr(values, name, None):
            raise UsageError(
                f"--{name.replace('_', '-')} is for PostgreSQL.", "--to-time, --to-position and --to-gtid are for MariaDB."
            )
    if sum(map(bool, (values.to_time, values.to_position, values.to_gtid))) > 1:
        raise UsageError("Only one moment can be restored to.", "Give one of --to-time, --to-position and --to-gtid.")
    if values.to_time == "latest":
        return Goal(latest=True)
    time_ns = moment_ns(values.to_time, call.clock.now_ns()) if values.to_time else 0
    return Goal(time_ns=time_ns, position=values.to_position, gtid=values.to_gtid)


def _wanted(text: str) -> Wanted:
    from safehold.ops.databases.mariadb.extract import Wanted

    database, _, table = text.partition(".")
    if not database:
        raise UsageError(f"`{text}` names no database.", "Write DATABASE or DATABASE.TABLE.")
    return Wanted(database, table)


def _restore(call: Call, plan: Plan) -> int:
    from pathlib import Path

    from safehold.cli.render import words
    from safehold.ops.databases.mariadb.restore import restore

    target = Path(call.values.target).expanduser()
    started = call.clock.monotonic()
    done = restore(call.repository(), plan, target, verify=call.values.verify)
    seconds = call.clock.monotonic() - started
    counts, mark = done.counts, done.mark
    value = {
        "event": "restore",
        "snapshot": plan.stored.id,
        "target": str(target),
        "position": mark.binlog,
        "gtid": mark.gtid,
        "time": words.iso(done.transactions_to) if done.transactions_to else "",
        "logs": len(plan.logs),
        "created": counts.created,
        "changed": counts.changed,
        "kept": counts.kept,
        "bytes_written": counts.written,
        "seconds": round(seconds, 3),
    }
    what = f" up to {mark.binlog}" if mark.binlog else ""
    speed = f"{words.size(counts.written)} written in {words.duration(seconds)}"
    call.out.result(f"Restored {plan.stored.id[:8]}{what} to {target}, ready to be started; {speed}.", value)
    return 0


def _extract(call: Call, plan: Plan, wanted: list[Wanted]) -> int:
    from pathlib import Path

    from safehold.cli.render import words
    from safehold.ops.databases.mariadb import extract

    target = call.values.target
    if "://" in target:
        where = address_of(call, target)
        target = where.url.public
        size = extract.to_server(call.repository(), plan, wanted, where)
    else:
        size = extract.to_file(call.repository(), plan, wanted, Path(target).expanduser())
    names = ", ".join(map(str, wanted))
    value = {"event": "extract", "snapshot": plan.stored.id, "target": target, "extracted": list(map(str, wanted)), "bytes": size}
    call.out.result(f"Extracted {names} from {plan.stored.id[:8]} to {target}: {words.size(size)} of SQL.", value)
    return 0


def _show_plan(call: Call, plan: Plan) -> int:
    """Say what a restore would do; if it cannot be done, why not is the error."""
    base, history = plan.base, plan.history
    lines = [f"Base: {plan.stored.id[:8]} of {base.name}, {base.version}, taken {_moment(base.stop_ns)}"]
    if base.facts.get("binlog"):
        lines.append(f"Begins at: {base.facts['binlog']}:{base.facts['position']} {base.facts.get('gtid', '')}".rstrip())
    if plan.stop is not None:
        size = sum(file.size for file in plan.logs)
        lines.append(f"Logs: {len(plan.logs)}, {plan.logs[0].name} to {plan.logs[-1].name}, {_size(size)}")
        lines.append(f"Ends at: {plan.stop.name}:{plan.stop.offset} {plan.stop.gtid}".rstrip())
    lines.append(f"Reachable: {_moment(base.stop_ns)} to {_moment(_latest(plan))}")
    if history.gap:
        lines.append(f"Missing: {history.gap}")
    lines.append(f"Needs: {_size(plan.bytes)} on disk")
    call.out.result("\n".join(lines), _plan_value(plan))
    if plan.refused is not None:
        raise plan.refused
    return 0


def _plan_value(plan: Plan) -> dict[str, Any]:
    from safehold.cli.render import words

    base, history, stop = plan.base, plan.history, plan.stop
    return {
        "event": "plan",
        "snapshot": plan.stored.id,
        "engine": base.engine,
        "system": base.system,
        "version": base.version,
        "base": f"{base.facts.get('binlog', '')}:{base.facts.get('position', '')}".strip(":"),
        "stop": f"{stop.name}:{stop.offset}" if stop else "",
        "gtid": stop.gtid if stop else base.facts.get("gtid", ""),
        "logs": [file.name for file in plan.logs],
        "earliest": words.iso(base.stop_ns),
        "latest": words.iso(_latest(plan)),
        "latest_position": history.end_name() if history.reaches_base else "",
        "gap": history.gap,
        "bytes": plan.bytes,
        "possible": plan.refused is None,
    }


def _latest(plan: Plan) -> int:
    return plan.history.last_ns if plan.history.reaches_base else plan.base.stop_ns


def _moment(time_ns: int) -> str:
    from safehold.cli.render import words

    return words.moment(time_ns)


def _size(count: int) -> str:
    from safehold.cli.render import words

    return words.size(count)
