"""Give your second factor, so that for a quarter of an hour this machine may delete on the server.

An online server deletes nothing without it, whatever a token may do; and what is deleted stays in its trash for two weeks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[options]"
EXAMPLES = ("safehold -r https://backup.example.org/anna/home account confirm",)
STATUSES = (13, 14)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("--code", metavar="DIGITS", default="", help="the code of your authenticator (asked for)")


def run(call: Call) -> int:
    """Give it."""
    from safehold.cli.accounts import ask_code

    address, api = call.online()
    api.tell("POST", "/api/v1/step-up", {"code": ask_code(call.environ, call.values.code)})
    call.out.result("Confirmed, for a quarter of an hour.", {"event": "account-confirm", "location": address.text})
    return 0
