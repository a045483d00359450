"""Show the six words of your account's key, by which others know that what they give you reaches you.

Whoever wants to share something with you by your account's name has to hear them from you: at a meeting, by telephone, not by the
server.  The key is made when you first ask for it; the server keeps it sealed by your password."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[options]"
EXAMPLES = ("safehold -r https://backup.example.org account key",)
STATUSES = (13, 14)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument(
        "--new", action="store_true", help="make another key: what was given to you before cannot be opened by your account then"
    )


def run(call: Call) -> int:
    """Show them."""
    from safehold.cli import acquaintances

    server, api = call.server()
    mine = acquaintances.own(call, api, new=call.values.new)
    text = f"The words of {mine.name} at {server}: {mine.words}\n"
    text += f"Who shares with you types: safehold account trust {mine.name} {mine.words}"
    call.out.result(text, {"event": "account-key", "name": mine.name, "words": mine.words})
    return 0
