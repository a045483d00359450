"""``safehold restore`` of a PostgreSQL base, and of its state at a moment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

assert sys.platform != "win32"

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.ops.databases.postgresql.plan import Plan
    from safehold.ops.databases.postgresql.reading import Cluster
    from safehold.ops.databases.postgresql.recovery import RecoveryOptions
    from safehold.ops.databases.postgresql.restore import Placed
    from safehold.ops.databases.postgresql.scratch import Moment
    from safehold.repo.repository import Repository
    from safehold.repo.snapshots import Stored

_FOR_FILES = ("delete", "numeric_owner")
"""Options of `safehold restore` that have no meaning for a base."""


def restore(call: Call, stored: Stored) -> int:
    """Put a base into a data directory, and have the server that is started on it recover to the target."""
    from safehold.cli.databases.postgresql_plans import plan_lines, plan_value
    from safehold.cli.databases.postgresql_points import target_of
    from safehold.cli.spools import warn_of_spool
    from safehold.ops.databases.postgresql import recovery
    from safehold.ops.databases.postgresql.reading import load
    from safehold.ops.databases.postgresql.restore import RestoreOptions, examine, finish, place
    from safehold.ops.databases.postgresql.scratch import Moment
    from safehold.ops.databases.postgresql.status import cluster_warnings

    values = call.values
    wrong = next((name for name in _FOR_FILES if getattr(values, name)), None)
    if wrong:
        raise UsageError(f"--{wrong.replace('_', '-')} is not for whole databases.", "Leave it out.")
    target = target_of(call)
    repository = call.repository()
    database = stored.snapshot.source.database
    assert database is not None
    cluster = load(repository, database.system)
    for each in cluster_warnings(cluster):
        call.out.report(each)
    warn_of_spool(call, cluster.system)
    plan = _plan(call, stored, cluster, target)
    _require_possible(plan, values.action, values.wal)
    if values.plan:
        call.out.result("\n".join(plan_lines(plan, cluster)), plan_value(plan, cluster))
        return 0
    base = stored if plan.base.id == stored.id else repository.load_snapshots([plan.base.id])[0]
    if base.snapshot.incomplete:
        call.out.note(f"Base {base.id[:8]} is incomplete: pages of the database were damaged when it was made.")
    if values.extract:
        return _extract(call, repository, Moment(base, plan, cluster))
    options = RestoreOptions(
        target=Path(values.target).expanduser().absolute(), tablespaces=values.tablespace, verify=values.verify
    )
    if values.dry_run:
        examine(repository, base, options)
        call.out.result(f"{options.target} can be restored into.", {"event": "restore", "snapshot": base.id, "dry_run": True})
        return 0
    started = call.clock.monotonic()
    placed = place(repository, base, options)
    _set_up(repository, placed, plan, cluster, _recovery(call))
    finish(placed)
    recovery.tell(repository, plan)
    _show(call, placed, plan, call.clock.monotonic() - started)
    return 0


def _require_possible(plan: Plan, action: str, wal: str) -> None:
    """Raise ``UsageError`` for what a server cannot be told that recovers all of the log."""
    if not plan.to_end:
        return
    why = f"{plan.target.text} is after the last transaction of the log"
    if action not in ("", "promote"):
        raise UsageError(f"{why}: at its end a server opens for writing in any case.", f"Leave out --action {action}.")
    if wal == "fetch":
        raise UsageError(f"{why}: a server that fetches it might find later ones.", "Leave out --wal fetch.")


def _extract(call: Call, repository: Repository, moment: Moment) -> int:
    """Bring only some databases or tables back, as SQL."""
    from safehold.cli.render import words
    from safehold.ops.databases.postgresql import scratch

    values = call.values
    started = call.clock.monotonic()
    to_server = "://" in values.target
    near = Path(values.scratch).expanduser() if values.scratch else None if to_server else Path(values.target).expanduser().parent
    with scratch.folder(near) as folder, scratch.opened(repository, moment, folder, values.programs) as opened:
        size = scratch.extract(opened, values.extract, values.target)
    from safehold.sources.postgresql.connecting import public_name

    shown = public_name(values.target) if to_server else values.target
    value = {
        "event": "extract",
        "snapshot": moment.base.id,
        "extracted": values.extract,
        "target": shown,
        "recovers_to": moment.plan.target.text,
        "bytes": size,
        "seconds": round(call.clock.monotonic() - started, 3),
    }
    what = ", ".join(values.extract)
    text = f"Extracted {what} from {moment.base.id[:8]} ({moment.plan.target.text}) into {shown}"
    call.out.result(f"{text}{f', {words.size(size)} of SQL' if size else ''}.", value)
    return 0


def drill(call: Call, stored: Stored) -> dict[str, object]:
    """Bring a base back to the latest moment, open it, and check it; what was looked at.  Raises ``DamageError``."""
    from safehold.ops.databases.postgresql import plan, scratch
    from safehold.ops.databases.postgresql.reading import base_of, load

    values = call.values
    repository = call.repository()
    database = stored.snapshot.source.database
    assert database is not None
    cluster = load(repository, database.system)
    made = plan.make(cluster.bases, cluster.archive, plan.Target(kind="latest", text="the latest state"), base_of(stored))
    near = Path(values.scratch).expanduser() if values.scratch else None
    with scratch.folder(near) as folder:
        with scratch.opened(repository, scratch.Moment(stored, made, cluster), folder, values.programs) as opened:
            found = scratch.prove(opened)
        scratch.prove_pages(opened)
    return {**found, "recovers_to": made.target.text, "segments": len(made.pieces)}


def _plan(call: Call, stored: Stored, cluster: Cluster, target: object) -> Plan:
    """From the base that is named by its id; from the one that is best, where none is."""
    from safehold.ops.databases.postgresql import plan
    from safehold.ops.databases.postgresql.reading import base_of

    assert isinstance(target, plan.Target)
    named = call.values.snap.lower().split(":")[0]
    chosen = base_of(stored) if stored.id.startswith(named) or stored.snapshot.incomplete else None
    bases = cluster.bases
    if chosen is None and named != "latest":
        # A time names the newest base that is not later; whatever comes after it is not meant.
        bases = [base for base in bases if base.stop <= base_of(stored).stop]
    return plan.make(bases, cluster.archive, target, chosen)


def _recovery(call: Call) -> RecoveryOptions:
    from safehold.ops.databases.postgresql.recovery import LOCAL_COMMAND, RecoveryOptions

    values = call.values
    command = LOCAL_COMMAND
    if values.wal == "fetch":
        words = [sys.executable, "-m", "safehold", "pg", "archive-get", "%f", "%p", *_where(call)]
        command = " ".join(f'"{word}"' if word[:1] != "-" else word for word in words)
    return RecoveryOptions(action=values.action or "promote", restore_command=command)


def _where(call: Call) -> list[str]:
    """How the server's own call finds the repository and a key file, be it the configuration's; not a passphrase."""
    values = call.values
    words = ["--repo", str(Path(call.place.location).absolute()) if Path(call.place.location).exists() else call.place.location]
    key_file = values.key_file or call.environ.get("SAFEHOLD_KEY_FILE", "")
    password_file = values.password_file or call.environ.get("SAFEHOLD_PASSWORD_FILE", "")
    if not key_file and not password_file:
        key_file, password_file = call.place.key_file, call.place.password_file
    for option, value in (("--config", values.config), ("--key-file", key_file), ("--password-file", password_file)):
        words += [option, str(Path(value).expanduser().absolute())] if value else []
    return words


def _set_up(repository: Repository, placed: Placed, plan: Plan, cluster: Cluster, options: RecoveryOptions) -> None:
    from safehold.core.errors import TargetError
    from safehold.ops.databases.postgresql import recovery

    folder = placed.target.folder
    try:
        recovery.set_up(repository, folder, plan, cluster, options)
    except OSError as error:
        raise TargetError(
            f"The restore into {folder} failed: {error.strerror}. No server starts on it as it is.",
            "Run it again to complete it.",
        ) from error


def _show(call: Call, placed: Placed, plan: Plan, seconds: float) -> None:
    from safehold.cli.render import words

    value = {
        "event": "restore",
        "snapshot": plan.base.id,
        "target": str(placed.target.folder),
        "dry_run": False,
        "files": placed.files,
        "bytes": placed.bytes,
        "bytes_written": placed.written,
        "removed": placed.removed,
        "segments": len(plan.pieces),
        "timeline": plan.timeline,
        "recovers_to": plan.target.text,
        "seconds": round(seconds, 3),
    }
    text = (
        f"Restored {plan.base.id[:8]} to {placed.target.folder}: {words.count(placed.files, 'file')}, "
        f"{words.size(placed.bytes)}, of which {words.size(placed.written)} were written in {words.duration(seconds)}"
    )
    removed = f"; {placed.removed:,} removed" if placed.removed else ""
    then = f" When started, it recovers to {plan.target.text[:1].lower()}{plan.target.text[1:]}"
    call.out.result(f"{text}{removed}.{then} through {words.count(len(plan.pieces), 'segment')} of WAL.", value)
