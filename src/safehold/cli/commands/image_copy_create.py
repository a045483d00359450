"""Make an image copy: a copy of a database in a folder on another disk, ready to open.

`safehold image-copy update` then rolls it forward with what changed.  A password is taken from the URL, from
PGPASSWORD or ~/.pgpass, or from MYSQL_PWD or ~/.my.cnf, and is not kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "NAME SOURCE --target FOLDER [options]"
EXAMPLES = (
    "safehold image-copy create shop postgresql://backup@db.example/ --target /mnt/second/shop",
    "safehold image-copy create app sqlite:/srv/app/data.db --target /mnt/second/app",
)
STATUSES: tuple[int, ...] = ()


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("name", metavar="NAME", help="what to call it")
    add("source", metavar="SOURCE", help="the original: postgresql://user@host:port/, mariadb://user@host/ or sqlite:PATH")
    add("-t", "--target", metavar="FOLDER", required=True, help="where to; empty, or not there yet")
    add(
        "--log",
        choices=("slot", "archive"),
        default="slot",
        help="of PostgreSQL: a replication slot on the original gives it (default), or the repository",
    )
    add(
        "--programs", metavar="FOLDER", default="", help="where the database server's own programs are, if not in the usual place"
    )


def run(call: Call) -> int:
    """Make it."""
    from pathlib import Path

    from safehold.cli.image_copies import given, registry, tell
    from safehold.ops.image_copies.lifecycle import create

    values = call.values
    facts = {"programs": values.programs} if values.programs else {}
    if values.source.startswith("sqlite:"):
        facts["identities"] = str(call.state / "sqlite")
    if values.log != "slot":
        if not values.source.startswith("postgres"):
            raise UsageError("--log is for PostgreSQL.", "Leave it out.")
        facts["log"] = values.log
    started = call.clock.monotonic()
    target = Path(values.target).expanduser()
    state = create(registry(call), values.name, values.source, target, facts, given(call))
    tell(call, "create", state, target, call.clock.monotonic() - started)
    return 0
