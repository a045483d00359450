"""Remove a plan.  Its snapshots stay, and nothing forgets them by itself any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "NAME"
EXAMPLES = ("safehold plan remove home",)
STATUSES: tuple[int, ...] = ()


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("name", metavar="NAME", help="the plan")


def run(call: Call) -> int:
    """Remove it."""
    from safehold.cli.plans import files_of, histories_of

    name = call.values.name
    found = files_of(call).find(name)
    histories = histories_of(call)
    with histories.running(name):
        found.path.unlink()
        histories.forget(name)
    call.out.result(f"Plan {name} is removed; its snapshots stay.", {"event": "plan-remove", "name": name})
    return 0
