"""Run the restores that an owner ordered onto this machine from the browser.

It runs what waits, and ends.  With --watch it stays, and looks every half minute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import StoreUnreachable

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[options]"
EXAMPLES = (
    "safehold device run-restores",
    "safehold --key-file ~/reader.key device run-restores --watch",
)
STATUSES = (13, 14)
LOOK_SECONDS = 30.0


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("--watch", action="store_true", help="stay, and run what is ordered from now on, too")


def run(call: Call) -> int:
    """Run them."""
    from safehold.cli.restore_jobs import run_waiting

    while call.values.watch:
        try:
            run_waiting(call)
        except StoreUnreachable as error:
            call.out.note(f"{error} It is tried again.")
        call.clock.sleep(LOOK_SECONDS)
    if not run_waiting(call):
        call.out.note("Nothing waits for this machine.")
    return 0
