"""Free the space of what no snapshot needs any more: snapshots whose time in the trash is over, and leftovers.

Backups may go on meanwhile; what they could still need goes at a later prune.  Only the owner may."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[options]"
EXAMPLES = ("safehold prune --dry-run", "safehold prune", "safehold prune --empty-trash")
STATUSES = (4, 13, 15)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    from safehold.cli.pruning import prune_arguments

    parser.add_argument("--dry-run", action="store_true", help="tell what would be freed, and free nothing")
    prune_arguments(parser)


def run(call: Call) -> int:
    """Prune."""
    from safehold.cli.pruning import prune

    return prune(call, call.repository())
