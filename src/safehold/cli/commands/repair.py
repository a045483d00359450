"""Put right what can be put right after damage: what is whole is saved, and what lost something gets a repaired twin.

Nothing is ever deleted: damaged objects are moved into quarantine.  It reads everything first.  Only the owner may."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.repo.repair import RepairPlan, RepairResult

USAGE = "[options]"
EXAMPLES = ("safehold repair --dry-run", "safehold repair")
STATUSES = (4, 13, 15)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("--dry-run", action="store_true", help="tell what would be done, and do nothing")


def run(call: Call) -> int:
    """Plan, and unless it is a dry run, execute."""
    from safehold.cli.checking import report_value, show_report
    from safehold.repo.repair import execute, plan

    repository = call.repository(fresh=True)
    planned = plan(repository)
    done = None if call.values.dry_run else execute(repository, planned)
    if call.out.as_json:
        value = {"event": "repair", "dry_run": done is None, **_value(planned, done), **report_value(planned.report)}
        call.out.result("", value)
        return 0
    show_report(call, planned.report)
    call.out.result(_sentence(planned, done))
    return 0


def _value(planned: RepairPlan, done: RepairResult | None) -> dict[str, object]:
    return {
        "hurt": planned.hurt,
        "gone": planned.gone,
        "twins": done.twins if done else planned.twins,
        "quarantined": done.quarantined if done else planned.quarantine,
        "packs_salvaged": len(planned.salvage),
        "index_replaced": planned.replace,
    }


def _sentence(planned: RepairPlan, done: RepairResult | None) -> str:
    from safehold.cli.render import words

    if planned.empty:
        return "There is nothing to repair."
    twins = done.twins if done else planned.twins
    moved = done.quarantined if done else planned.quarantine
    would, twin = "" if done else "Would have ", words.count(len(twins), "snapshot")
    text = (
        f"{would}saved what is whole of {words.count(len(planned.salvage), 'pack')}, made repaired twins of {twin}, "
        f"and moved {words.count(len(moved), 'object')} into quarantine."
    )
    return text[:1].upper() + text[1:]
