"""Forget a login on this machine, and withdraw its token on the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import SafeholdError, UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "URL [options]"
EXAMPLES = ("safehold logout https://backup.example.org",)
STATUSES = (14,)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("place", metavar="URL", help="the server or repository, as in `safehold login`")


def run(call: Call) -> int:
    """Do it."""
    from safehold.cli.logins import Logins, connect
    from safehold.storage.online.address import parse

    address = parse(call.values.place, repository=False)
    logins = Logins(call.state, call.environ)
    login = logins.forget(address.text)
    if login is None:
        raise UsageError(f"This machine is not logged in at {address.text}.", "`safehold login` says where it can be.")
    token = login.token.removeprefix("shp_").partition("_")[0]
    try:
        connect(address, login).tell("DELETE", f"/api/v1/tokens/{token}")
    except SafeholdError as error:
        call.out.note(f"The token was forgotten here, but could not be withdrawn: {error}")
    call.out.result(f"Logged out of {address.text}.", {"event": "logout", "location": address.text})
    return 0
