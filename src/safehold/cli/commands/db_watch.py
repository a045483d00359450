"""Follow databases, so that every moment can be restored: what is committed is in a journal within a second, and in the
repository every few seconds.

Runs until it is told to stop (SIGTERM, SIGINT), and stores what is left then.  Started again, it goes on where it stopped, or
makes a new base if something may be missing.  SQLite databases in WAL mode can be followed; docs/sqlite.md says how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "SOURCE... [options]"
EXAMPLES = (
    "safehold db watch sqlite:/srv/app/data.db",
    "safehold db watch sqlite:/srv/a.db sqlite:/srv/b.db --every 60 --journal /fast/journal",
)
STATUSES = (13, 15)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("sources", metavar="SOURCE", nargs="+", help="a database, such as sqlite:PATH")
    add(
        "--every",
        metavar="SECONDS",
        type=float,
        default=10.0,
        help="commit into the repository so often while there are changes (10)",
    )
    add(
        "--journal",
        metavar="FOLDER",
        default="",
        help="keep here what is not yet in the repository (in this user's state folder)",
    )
    add("--base-after", metavar="PERCENT", type=float, default=50.0,
        help="make a new base when the logs since the last are so much of the database (50)")  # fmt: skip
    add("--max-wal", metavar="MIB", type=int, default=16,
        help="stop writes for a few milliseconds to cut the WAL when it is larger; 0: never (16)")  # fmt: skip
    add("--max-journal", metavar="MIB", type=int, default=1024,
        help="give the history up, and begin anew, when more than this waits for the repository (1024)")  # fmt: skip
    add("--tag", metavar="T", action="append", default=[], help="give bases and logs this tag; may be repeated")
    add("--host", metavar="NAME", default="", help="back up as this host, instead of this machine's name")


def run(call: Call) -> int:
    """Follow until it is told to stop."""
    from safehold.cli.databases import SCHEMES, engine
    from safehold.cli.sources import kind_of
    from safehold.cli.tagging import check_tags

    values = call.values
    check_tags(values.tag)
    engines = {SCHEMES.get(kind_of(source), "") for source in values.sources}
    if engines != {"sqlite"}:
        raise UsageError("Only SQLite databases can be followed.", "Write sqlite:PATH.")
    if values.every < 1 or values.base_after <= 0 or values.max_wal < 0 or values.max_journal < 1:
        raise UsageError("--every is at least 1, --base-after and --max-journal more than 0.", "Leave them out.")
    return int(engine("sqlite").watch(call))
