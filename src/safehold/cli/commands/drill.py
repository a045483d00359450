"""Prove a backup: restore it to a scratch folder, check what came back, and remove it again.

Files are compared with the snapshot, every byte and attribute.  A database is recovered to the latest moment that its log
reaches and opened by a private server of the engine's own, which checks its pages, tables and indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.cli.helptext import SNAP

if TYPE_CHECKING:
    from pathlib import Path

    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.repo.snapshots import Stored

USAGE = "[SNAP|PLAN] [options]"
EXAMPLES = ("safehold drill", "safehold drill latest:shop --scratch /mnt/big", "safehold drill home")
STATUSES = (4, 13)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("snap", metavar="SNAP", nargs="?", default="latest", help=f"{SNAP}; or a plan, of which the last one is meant")
    add("--scratch", metavar="FOLDER", default="", help="where it is restored to for a while; needs room for all of it")
    add(
        "--programs",
        metavar="FOLDER",
        default="",
        help="of a database: where its server's programs are, if not in the usual place",
    )


def run(call: Call) -> int:
    """Prove it."""
    from safehold.cli.databases import engine
    from safehold.cli.render import words
    from safehold.ops.resolve import resolve

    started = call.clock.monotonic()
    stored = resolve(call.repository(), _of_plan(call) or call.values.snap)
    database = stored.snapshot.source.database
    is_base = database is not None and database.role == "base"
    found = engine(database.engine).drill(call, stored) if database is not None and is_base else _files(call, stored)
    seconds = round(call.clock.monotonic() - started, 3)
    value = {"event": "drill", "snapshot": stored.id, "kind": stored.snapshot.source.kind, **found, "seconds": seconds}
    size = words.size(int(str(found["bytes"])))
    call.out.result(f"Snapshot {stored.id[:8]} was restored, {size}, and is whole ({words.duration(seconds)}).", value)
    return 0


def _of_plan(call: Call) -> str:
    """If a plan is named, its last snapshot, in its repository; else empty."""
    from safehold.cli.plans import files_of

    name, files = call.values.snap, files_of(call)
    if not files.has(name):
        return ""
    plan = files.find(name).use()
    call.values.repository = call.values.repository or plan.repository
    call.values.password_file = call.values.password_file or plan.password_file
    call.values.key_file = call.values.key_file or plan.key_file
    return f"latest:{name}"


def _files(call: Call, stored: Stored) -> dict[str, object]:
    import shutil
    import tempfile
    from pathlib import Path

    from safehold.core.errors import TargetError

    near = Path(call.values.scratch).expanduser() if call.values.scratch else None
    try:
        scratch = Path(tempfile.mkdtemp(prefix="safehold-drill-", dir=near))
    except OSError as error:
        raise TargetError(
            f"No scratch folder can be made in {near}: {error.strerror}.", "Name another with --scratch."
        ) from error
    try:
        return _restored(call, stored, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _restored(call: Call, stored: Stored, scratch: Path) -> dict[str, object]:
    from safehold.core.errors import DamageError, SafeholdError
    from safehold.ops.restore import restore
    from safehold.sources.files.placing.terms import Options

    result = restore(call.repository(), stored.snapshot, scratch, Options(), verify=True)
    if result.damaged or result.differing:
        count = result.damaged + result.differing
        raise DamageError(f"{count:,} things did not come back as the snapshot has them.", "The warnings above name them.")
    if result.counts.failed:
        raise SafeholdError(
            f"{result.counts.failed:,} things could not be restored here.", "The warnings above say which and why."
        )
    return {"files": result.counts.created, "bytes": stored.snapshot.totals.bytes}
