"""Remember whose key is whose: type the six words that somebody read to you, and this machine shares with them.

They see their words by `safehold account key`.  If the server shows a key with other words, it has put another in its place, and
could read what you share: nothing is remembered then."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "NAME WORDS [options]"
EXAMPLES = ("safehold account trust bert acid-bench-corn-dust-echo-fuel",)
STATUSES = (13, 14)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("name", metavar="NAME", help="of their account on the server")
    parser.add_argument("words", metavar="WORDS", nargs="+", help="the six words, as they said them")


def run(call: Call) -> int:
    """Remember it."""
    from safehold.cli.acquaintances import People

    server, api = call.server()
    People(call.state, server).trust(api, call.values.name, " ".join(call.values.words))
    name = call.values.name
    text = f"The key of {name} at {server} is theirs. Share with them: safehold share create SNAP:PATH --with {name}"
    call.out.result(text, {"event": "account-trust", "name": name})
    return 0
