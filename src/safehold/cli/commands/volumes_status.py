"""Say of a volume set at a glance: what is protected by how many copies, which volumes are overdue, what to do.

It needs no passphrase, and no volume has to be here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[NAME...] [options]"
EXAMPLES = ("safehold volumes status home", "safehold volumes status --json")
STATUSES: tuple[int, ...] = ()


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("names", metavar="NAME", nargs="*", default=[], help="the sets; without it, all of them")


def run(call: Call) -> int:
    """Say it."""
    from safehold.cli.volume_listing import show_status
    from safehold.storage.volumes import catalogue

    names = call.values.names or catalogue.names(call.state)
    for name in names:
        show_status(call, name)
    if not names and not call.out.as_json:
        call.out.result("There is no volume set.")
    return 0
