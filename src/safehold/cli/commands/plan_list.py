"""List the plans: when each ran, when it runs next, and whether all is well."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.jobs.plan_files import Found

USAGE = "[options]"
EXAMPLES = ("safehold plan list", "safehold plan list --overdue")
STATUSES: tuple[int, ...] = ()
_HEADINGS = ["Plan", "When", "Last", "Next", "State"]
_WRONG = ("failed", "overdue", "broken")


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument(
        "--overdue", action="store_true", help="only what is overdue or failed; then the status is 1, for monitoring"
    )


def run(call: Call) -> int:
    """List them."""
    from safehold.cli.plans import files_of, histories_of
    from safehold.cli.render.words import table

    plans = [_value(call, found) for found in files_of(call).all()]
    wrong = [value for value in plans if value["state"] in _WRONG]
    shown = wrong if call.values.overdue else plans
    agent = histories_of(call).has_agent()
    call.out.result("", {"plans": shown, "agent": agent}) if call.out.as_json else None
    if call.out.as_json:
        return 1 if call.values.overdue and wrong else 0
    if not plans:
        call.out.result("There are no plans. `safehold plan add` makes one.")
        return 0
    if shown:
        call.out.result("\n".join(table([_HEADINGS, *map(_row, shown)])))
    else:
        call.out.result("Nothing is overdue or failed.")
    for value in shown:
        if value["message"]:
            call.out.note(f"{value['name']}: {value['message']}")
    if not agent and any(value["when"] for value in plans):
        call.out.note("No agent runs here: `safehold agent install` has them run by themselves.")
    return 1 if call.values.overdue and wrong else 0


def _value(call: Call, found: Found) -> dict[str, object]:
    from safehold.cli.plans import run_value, standing
    from safehold.cli.render.words import iso

    value: dict[str, object] = {"name": found.name, "file": str(found.path)}
    if found.plan is None:
        nothing: dict[str, object] = {
            "sources": [],
            "repository": "",
            "when": "",
            "next": None,
            "last": None,
            "last_backup": None,
        }
        return {**value, **nothing, "state": "broken", "message": str(found.wrong)}
    plan, stands = found.plan, standing(call, found, found.plan)
    last, backed_up = stands.history.last, stands.history.last_backup_ns
    worst = last.worst if last is not None else None
    return {
        **value,
        "sources": plan.sources,
        "repository": plan.repository,
        "when": plan.schedule.words(),
        "next": None if stands.next_ns is None else iso(max(stands.next_ns, call.clock.now_ns())),
        "last": None if last is None else run_value(last),
        "last_backup": iso(backed_up) if backed_up else None,
        "state": stands.state,
        "message": "" if worst is None else f"{worst.name}: {worst.message or 'not everything could be read'}",
    }


def _row(value: dict[str, object]) -> list[str]:
    from safehold.cli.render.words import size

    last = value["last"]
    told = f"{_minute(value['last_backup'])}, {size(last['bytes_stored'])}" if isinstance(last, dict) and last["snapshot"] else ""
    told = told or (_minute(value["last_backup"]) if value["last_backup"] else "never")
    return [str(value["name"]), str(value["when"]) or "by hand", told, _minute(value["next"]), str(value["state"])]


def _minute(time: object) -> str:
    return str(time)[:16].replace("T", " ") if time else ""
