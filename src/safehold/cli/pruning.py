"""What ``prune`` and ``forget --prune`` share."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import msgspec

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.repo.prune import Options, PrunePlan, PruneResult
    from safehold.repo.repository import Repository


def prune_arguments(parser: Parser) -> None:
    """Declare how a prune is done."""
    add = parser.add_argument
    add("--trash-days", metavar="N", type=int, default=None, help="remove what has been in the trash for so many days")
    add("--empty-trash", action="store_true", help="remove everything that is in the trash")
    add("--max-unused", metavar="N%", default="", help="leave so much unused space rather than packing again (default: 5%%)")
    add("--confirm-large", action="store_true", help="it is meant that a large part of the repository goes")


def prune(call: Call, repository: Repository) -> int:
    """Plan, and unless it is a dry run, execute."""
    from safehold.repo.prune import execute, plan

    repository.require_owner("prune")
    if call.volumes is not None:
        call.volumes.settle()  # what was just forgotten is told to the drives first
    for each in call.repositories(repository):
        retire_logs(call, each)
        planned = plan(each, _options(call))
        if call.values.dry_run:
            _show_plan(call, planned)
        else:
            _show(call, execute(each, planned))
    return 0


def retire_logs(call: Call, repository: Repository, gone: Collection[str] = ()) -> None:
    """Let go of databases' logs that no base needs any more.  ``gone``: bases that a dry run would forget."""
    from safehold.cli.render import words
    from safehold.ops.databases.retirement import retire

    dry = call.values.dry_run
    retired = retire(repository, gone=gone if dry else (), dry_run=dry)
    if retired.logs:
        what = f"{words.count(retired.logs, 'log file')} of databases ({words.size(retired.bytes)}), which no base needs"
        call.out.note(f"{'Would let' if dry else 'Let'} go of {what}.")


def _options(call: Call) -> Options:
    from safehold.repo.prune import Options

    values = call.values
    options = Options(empty_trash=values.empty_trash, confirm_large=values.confirm_large)
    if values.trash_days is not None:
        if values.trash_days < 0:
            raise UsageError("--trash-days is a number of days.", "0 empties the trash.")
        options = msgspec.structs.replace(options, trash_ns=values.trash_days * 86_400 * 10**9)
    if values.max_unused:
        options = msgspec.structs.replace(options, max_unused=percent(values.max_unused, "--max-unused") / 100)
    elif call.volumes is not None and call.volumes.write_once:
        options = msgspec.structs.replace(options, max_unused=1.0)  # packing again frees nothing there
    return options


def percent(text: str, option: str) -> float:
    """``5%`` or ``5``.  Raises ``UsageError``."""
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = -1
    if not 0 <= number <= 100:
        raise UsageError(f"{option} is a part from 0% to 100%, not {text}.", "Write, for instance, 5%.")
    return number


def _show_plan(call: Call, plan: PrunePlan) -> None:
    from safehold.cli.render import words

    value = {
        "event": "prune",
        "dry_run": True,
        "snapshots": plan.snapshots,
        "packs_deleted": len(plan.delete) + len(plan.unindexed),
        "packs_repacked": len(plan.repack),
        "bytes_freed": plan.freed,
        "bytes_before": plan.bytes_before,
        "bytes_after": plan.bytes_after,
    }
    text = (
        f"Would remove {words.count(len(plan.snapshots), 'snapshot')} from the trash, delete "
        f"{words.count(len(plan.delete) + len(plan.unindexed), 'pack')}, pack {len(plan.repack):,} again, "
        f"and free {words.size(plan.freed)} of {words.size(plan.bytes_before)}."
    )
    call.out.result("There is nothing to prune." if plan.empty else text, value)


def _show(call: Call, result: PruneResult) -> None:
    from safehold.cli.render import words

    value = {
        "event": "prune",
        "dry_run": False,
        "snapshots": result.snapshots,
        "packs_deleted": result.deleted,
        "packs_repacked": result.repacked,
        "packs_rescued": result.rescued,
        "bytes_freed": result.freed,
        "bytes_waiting": result.waiting,
        "sessions": result.sessions,
    }
    text = (
        f"Removed {words.count(len(result.snapshots), 'snapshot')}, deleted {words.count(result.deleted, 'pack')}, "
        f"packed {result.repacked:,} again; freed {words.size(result.freed)}."
    )
    call.out.result(text, value)
    if result.waiting:
        who = ", ".join(result.sessions) or "other sessions"
        call.out.note(f"{words.size(result.waiting)} more are freed by a later prune, when these have ended: {who}.")
