"""SQLite's part of the command line.  ``docs/sqlite.md``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safehold.cli.databases import OPTIONS, record_options
from safehold.cli.render import words
from safehold.cli.sources import writable
from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.ops.backup.options import BackupOptions
    from safehold.ops.backup.record import Result
    from safehold.ops.databases.sqlite.recovery import Plan
    from safehold.ops.databases.sqlite.restore import Restored
    from safehold.ops.databases.sqlite.watch import Told
    from safehold.repo.snapshots import Stored

PREFIX = "sqlite:"
LATEST = "latest"
_TAKEN = ("to_time", "plan", "extract")
"""The database options of `safehold restore` that mean something here."""


def path_of(source: str) -> str:
    """The file that a source names.  Raises ``UsageError``."""
    path = source.removeprefix(PREFIX)
    if not path:
        raise UsageError(f"After `{PREFIX}` there is no path.", "Write, for instance, sqlite:/srv/app/data.db.")
    return str(Path(path).expanduser().absolute())


def state_folder(call: Call) -> Path:
    """Where this machine keeps what it must not forget: which database is which, and what is not yet in the repository."""
    return call.state / "sqlite"


def back_up(call: Call, options: BackupOptions) -> Result:
    """Back up one database."""
    from safehold.ops.databases.sqlite.backup import BaseOptions, back_up

    path = path_of(options.paths[0])
    if call.values.name:
        raise UsageError("--name is for standard input and commands.", "Databases keep their names.")
    base = BaseOptions(record=record_options(options), check=call.values.check)
    return back_up(writable(call), path, state_folder(call), base)


def restore(call: Call, stored: Stored) -> int:
    """Restore a database, or tables of it, or tell how that would be done."""
    from safehold.ops.databases.sqlite.recovery import make_plan

    _require_sensible(call)
    repository = call.repository()
    plan = make_plan(repository, stored, _wanted(call))
    if call.values.plan or call.values.dry_run:
        _show_plan(call, plan)
        return 0
    _carry_out(call, plan)
    return 0


def drill(call: Call, stored: Stored) -> dict[str, object]:
    """Bring a database back for a while, as it was last, and have SQLite check all of it.  Raises ``DamageError``."""
    import tempfile

    from safehold.ops.databases.sqlite.recovery import make_plan, moment_text
    from safehold.ops.databases.sqlite.restore import restore

    repository = call.repository()
    plan = make_plan(repository, stored, None if stored.snapshot.incomplete else 0)
    near = str(Path(call.values.scratch).expanduser()) if call.values.scratch else None
    with tempfile.TemporaryDirectory(prefix="safehold-drill-", dir=near) as folder:
        done = restore(repository, plan, Path(folder) / "database", verify=True)
    return {"bytes": done.bytes, "transactions": done.transactions, "recovers_to": moment_text(plan.as_of_ns)}


def _require_sensible(call: Call) -> None:
    values = call.values
    wrong = next((name for name in OPTIONS if getattr(values, name) and name not in _TAKEN), None)
    wrong = wrong or next((name for name in ("delete", "numeric_owner") if getattr(values, name)), None)
    if wrong or values.overwrite in ("if-changed", "never"):
        option = wrong.replace("_", "-") if wrong else f"overwrite {values.overwrite}"
        raise UsageError(f"--{option} means nothing for an SQLite database.", "Leave it out.")


def _wanted(call: Call) -> int | None:
    """The time that is wanted, in ns: to the end of the microsecond; 0: the latest; None: the base as it is."""
    from safehold.ops.resolve import moment_ns

    text = call.values.to_time
    if not text:
        return None
    return 0 if text.strip().lower() == LATEST else moment_ns(text, call.clock.now_ns()) + 999


def _target(call: Call, plan: Plan) -> Path:
    """A file; in a folder, one of the database's name."""
    target = Path(call.values.target).expanduser().absolute()
    name = Path(plan.base.snapshot.source.paths[0].decode(errors="surrogateescape")).name
    return target / name if target.is_dir() and not call.values.extract else target


def _carry_out(call: Call, plan: Plan) -> None:
    from safehold.ops.databases.sqlite.restore import extract, restore

    values = call.values
    target, started = _target(call, plan), call.clock.monotonic()
    overwrite = values.overwrite == "always"
    repository = call.repository()
    if plan.base.snapshot.incomplete:
        call.out.note(f"Snapshot {plan.base.id[:8]} is incomplete: SQLite found the database damaged when it was backed up.")
    if values.extract:
        done = extract(repository, plan, values.extract, target, overwrite=overwrite)
    else:
        done = restore(repository, plan, target, overwrite=overwrite, verify=values.verify)
    _show(call, plan, target, done, call.clock.monotonic() - started)


def _plan_value(plan: Plan) -> dict[str, object]:
    def spans(found: list[tuple[int, int]]) -> list[dict[str, str]]:
        return [{"from": words.iso(start), "to": words.iso(end)} for start, end in found]

    return {
        "engine": "sqlite",
        "snapshot": plan.base.id,
        "database": plan.base.snapshot.source.paths[0].decode(errors="surrogateescape"),
        "base_time": words.iso(plan.base.snapshot.source.database.stop_ns) if plan.base.snapshot.source.database else "",
        "as_of": words.iso(plan.as_of_ns),
        "changed_next": words.iso(plan.next_ns) if plan.next_ns else None,
        "size": plan.size,
        "logs": len(plan.logs),
        "log_bytes": plan.log_bytes,
        "reachable": spans(plan.reaches),
        "gaps": spans(plan.gaps),
    }


def _show_plan(call: Call, plan: Plan) -> None:
    from safehold.ops.databases.sqlite.recovery import moment_text

    lines = [f"Base: snapshot {plan.base.id[:8]} of {words.moment(plan.base.snapshot.time_ns)}"]
    lines.append(f"Logs: {words.count(len(plan.logs), 'file')}, {words.size(plan.log_bytes)}")
    lines.append(f"Result: {words.size(plan.size)}, as it was at {moment_text(plan.as_of_ns)}")
    for start, end in plan.reaches:
        last = f" to {moment_text(end)}" if end > start else ", without logs"
        lines.append(f"Can be restored: {moment_text(start, up=True)}{last}")
    for start, end in plan.gaps:
        lines.append(f"Gap: {moment_text(start)} to {moment_text(end, up=True)}: nothing is known of it")
    call.out.result("\n".join(lines), {"event": "plan", **_plan_value(plan)})


def _show(call: Call, plan: Plan, target: Path, done: Restored, seconds: float) -> None:
    from safehold.ops.databases.sqlite.recovery import LATE_NS, moment_text

    value = {
        "event": "restore", **_plan_value(plan), "target": str(target), "dry_run": False, "bytes_written": done.bytes,
        "transactions": done.transactions, "rows": done.rows if call.values.extract else None,
        "verified": bool(call.values.verify), "seconds": round(seconds, 3),
    }  # fmt: skip
    if plan.next_ns and plan.wanted_ns - plan.as_of_ns > LATE_NS:
        call.out.note(
            f"The database was not followed between {moment_text(plan.as_of_ns)} and {moment_text(plan.next_ns)}: "
            "what was changed in between, up to the time that was asked for, is not in it."
        )
    what = f"{words.count(done.rows, 'row')} of {', '.join(call.values.extract)}" if call.values.extract else "the database"
    logs = f", with {words.count(done.transactions, 'transaction')} of its logs" if plan.logs else ""
    verified = "; SQLite finds it whole" if call.values.verify and not call.values.extract else ""
    call.out.result(
        f"Restored {what} of {plan.base.id[:8]} to {target}, as of {moment_text(plan.as_of_ns)}{logs}; "
        f"{words.size(done.bytes)} written in {words.duration(seconds)}{verified}.",
        value,
    )


def watch(call: Call) -> int:
    """Follow databases until told to stop."""
    from safehold.ops.databases.recording import RecordOptions
    from safehold.ops.databases.sqlite.watch import WatchOptions, watch

    values = call.values
    state = state_folder(call)
    journal = Path(values.journal).expanduser().absolute() if values.journal else state / "journal"
    options = WatchOptions(
        journal=journal, state=state, record=RecordOptions(tags=values.tag, host=values.host), every=values.every,
        share=values.base_after / 100, max_wal=values.max_wal << 20, max_journal=values.max_journal << 20,
    )  # fmt: skip
    paths = [path_of(source) for source in values.sources]
    watch(call.repository(), paths, options, lambda told: _tell(call, told), lambda: True)
    return 0


def _tell(call: Call, told: Told) -> None:
    import sys

    sentences = {
        "started": "Following {path}" + (", from where it was stopped" if told.resumed else ""),
        "base": f"Base of {{path}}: snapshot {told.snapshot[:8]}, {words.size(told.bytes)}",
        "logs": f"Logs of {{path}}: {words.count(told.transactions, 'transaction')}, {words.size(told.bytes)}",
        "doubt": f"Following of {{path}} was broken off: {told.reason}",
        "stopped": "Stopped following {path}",
    }
    value = {
        "event": "watch", "action": told.action, "path": told.path, "time": words.iso(call.clock.now_ns()),
        "snapshot": told.snapshot, "position": told.position, "bytes": told.bytes, "transactions": told.transactions,
        "resumed": told.resumed, "reason": told.reason,
    }  # fmt: skip
    if call.out.as_json or not call.out.quiet:
        call.out.result(sentences[told.action].format(path=told.path), value)
        sys.stdout.flush()
