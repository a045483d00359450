"""Bring shares that always show the latest backup up to date.  Links and passwords stay the same.

A backup made on the machine that shares does it by itself; this is for backups that other machines made."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[options]"
EXAMPLES = ("safehold share refresh",)
STATUSES = (4, 13, 15)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""


def run(call: Call) -> int:
    """Refresh them."""
    from safehold.cli import sharing
    from safehold.cli.render import words

    made = sharing.refresh(call)
    value = {
        "event": "share-refresh",
        "refreshed": [each.record.share.hex() for each in made],
        "bytes_stored": sum(each.added for each in made),
    }
    call.out.result(f"Brought {words.count(len(made), 'share')} up to date.", value)
    return 0
