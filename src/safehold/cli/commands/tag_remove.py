"""Take tags from a snapshot.

A snapshot never changes: a new one of the same content is made, and the old one goes to the trash.  Only the owner may."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "SNAP TAG... [options]"
EXAMPLES = ("safehold tag remove latest keep",)
STATUSES = (13,)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("snap", metavar="SNAP", help="an id (4 digits or more), `latest`, `latest:TAG`, or a time")
    parser.add_argument("tags", metavar="TAG", nargs="+", help="a tag to take away")


def run(call: Call) -> int:
    """Do it."""
    from safehold.cli.tagging import change

    return change(call, lambda tags: tags - set(call.values.tags))
