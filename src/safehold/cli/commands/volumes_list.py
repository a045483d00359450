"""List the volume sets, or the volumes of one: which are here, where the others are, how they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[NAME] [options]"
EXAMPLES = ("safehold volumes list", "safehold volumes list home --json")
STATUSES: tuple[int, ...] = ()


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="the set; without it, all sets are listed")


def run(call: Call) -> int:
    """List them."""
    from safehold.cli.volume_listing import list_sets, list_volumes

    if call.values.name:
        list_volumes(call, call.values.name)
    else:
        list_sets(call)
    return 0
