"""Take a share back: its link opens nothing from now on, and downloads that are under way stop.

What somebody has already downloaded is theirs.  The next prune removes what was stored for the share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "SHARE... [options]"
EXAMPLES = ("safehold share revoke 1a2b3c4d",)
STATUSES = (13,)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("shares", metavar="SHARE", nargs="+", help="an id (4 digits or more), or a link")


def run(call: Call) -> int:
    """Take them back."""
    from safehold.cli import sharing
    from safehold.ops import share

    repository = call.repository()
    for record in [share.chosen(repository, text) for text in call.values.shares]:
        share.revoke(repository, record, sharing.registry(call) if record.server else None)
        ended = "Its file still opens: a file cannot be taken back." if not record.server else "It opens nothing any more."
        value = {"event": "share-revoke", "id": record.share.hex()}
        call.out.result(f"Took back the share of {record.name}.  {ended}", value)
    return 0
