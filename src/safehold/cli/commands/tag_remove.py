"""Take tags from a snapshot.

A snapshot never changes: a new one of the same content is made, and the old one goes to the trash.  Only the owner may."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.cli import tagging

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "SNAP TAG... [options]"
EXAMPLES = ("safehold tag remove latest keep",)
STATUSES = (13,)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    tagging.arguments(parser, "a tag to take away")


def run(call: Call) -> int:
    """Do it."""
    return tagging.change(call, set.difference)
