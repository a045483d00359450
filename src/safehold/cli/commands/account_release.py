"""Release the brake of an online repository for an hour: more may then be deleted at once than a quarter of it in a day.

The brake stops a thief, or a slip, from emptying a repository. Give your second factor first: `safehold account confirm`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[options]"
EXAMPLES = ("safehold -r https://backup.example.org/anna/home account release",)
STATUSES = (13, 14)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""


def run(call: Call) -> int:
    """Release it."""
    address, api = call.online()
    api.tell("POST", f"{address.base}/brake/release")
    call.out.result("The brake is released for an hour.", {"event": "account-release", "location": address.text})
    return 0
