"""Follow a database's log into the repository, so that every moment from a base on can be restored.

It runs until it is stopped, and goes on where it was after that, or after a crash.  While the server or the repository cannot be
reached it waits and tries again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "URL [options]"
EXAMPLES = (
    "safehold db watch mariadb://backup@localhost/",
    "safehold db watch 'mariadb://backup@/?socket=/run/mysqld/mysqld.sock' --every 10",
    "safehold db watch mariadb://backup@localhost/ --once",
)
STATUSES = (14, 15)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("url", metavar="URL", help="the database, as for `safehold backup`")
    add("--every", metavar="SECONDS", type=float, default=30.0, help="how often to look for what is new (30)")
    add("--once", action="store_true", help="store what is there by now, and end")
    add("--host", metavar="NAME", default="", help="back up as this host, instead of this machine's name")


def run(call: Call) -> int:
    """Follow the log."""
    from safehold.cli.databases import SCHEMES, engine
    from safehold.cli.sources import kind_of

    values = call.values
    if not 0.1 <= values.every <= 86_400:
        raise UsageError("--every is a number of seconds from 0.1 to 86400.", "30 is what is used without it.")
    kind = kind_of(values.url)
    module = engine(SCHEMES[kind]) if kind in SCHEMES else None
    if module is None or not hasattr(module, "watch"):
        raise UsageError(f"{values.url} is no database whose log can be followed.", "Name one, like mariadb://user@host/.")
    return int(module.watch(call, values.url))
