"""Follow databases' logs into the repository, so that every moment from a base on can be restored.

It runs until it is stopped (SIGTERM, SIGINT), and goes on where it was after that, or after a crash.  SQLite databases in WAL
mode, as many as you like, are a second behind in a journal here and a few more in the repository; of a MariaDB or MySQL server,
one at a time, the binary log is followed.  docs/sqlite.md and docs/mariadb.md say how.  For PostgreSQL there is
`safehold pg receive`."""

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
    "safehold db watch 'mariadb://backup@/?socket=/run/mysqld/mysqld.sock'",
)
STATUSES = (13, 14, 15)
OF_SQLITE = {"journal": "", "base_after": 50.0, "max_wal": 16, "max_journal": 1024, "tag": []}
EVERY = {"sqlite": 10.0, "mariadb": 30.0}


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("sources", metavar="SOURCE", nargs="+", help="a database: sqlite:PATH, or a URL as for `safehold backup`")
    add("--every", metavar="SECONDS", type=float, default=None,
        help="commit into the repository so often while there are changes (SQLite 10, others 30)")  # fmt: skip
    add("--once", action="store_true", help="of MariaDB: store what is there by now, and end")
    add(
        "--journal",
        metavar="FOLDER",
        default="",
        help="of SQLite: keep here what is not yet in the repository (in this user's state folder)",
    )
    add("--base-after", metavar="PERCENT", type=float, default=50.0,
        help="of SQLite: make a new base when the logs since the last are so much of the database (50)")  # fmt: skip
    add("--max-wal", metavar="MIB", type=int, default=16,
        help="of SQLite: stop writes for a few milliseconds to cut the WAL when it is larger; 0: never (16)")  # fmt: skip
    add("--max-journal", metavar="MIB", type=int, default=1024,
        help="of SQLite: give the history up, and begin anew, when more than this waits for the repository (1024)")  # fmt: skip
    add("--tag", metavar="T", action="append", default=[], help="of SQLite: give bases and logs this tag; may be repeated")
    add("--host", metavar="NAME", default="", help="back up as this host, instead of this machine's name")


def run(call: Call) -> int:
    """Follow until it is told to stop."""
    from safehold.cli.databases import SCHEMES, engine
    from safehold.cli.sources import kind_of

    values = call.values
    engines = {SCHEMES.get(kind_of(source), "") for source in values.sources}
    name = engines.pop() if len(engines) == 1 else ""
    if name == "postgresql":
        raise UsageError("A PostgreSQL server's log is followed by another command.", "`safehold pg receive URL`.")
    if name not in EVERY or (name != "sqlite" and len(values.sources) > 1):
        raise UsageError(
            "Only SQLite databases, or one MariaDB server, can be followed.", "Write sqlite:PATH, or mariadb://user@host/."
        )
    values.every = EVERY[name] if values.every is None else values.every
    _require_sensible(call, name)
    return int(engine("sqlite").watch(call) if name == "sqlite" else engine(name).watch(call, values.sources[0]))


def _require_sensible(call: Call, name: str) -> None:
    from safehold.cli.tagging import check_tags

    values = call.values
    check_tags(values.tag)
    if not (1 if name == "sqlite" else 0.1) <= values.every <= 86_400 or values.base_after <= 0:
        raise UsageError(
            "--every is a number of seconds, for SQLite at least 1, and --base-after is more than 0.", "Leave them out."
        )
    if values.max_wal < 0 or values.max_journal < 1:
        raise UsageError("--max-wal is not less than 0, and --max-journal more than 0.", "Leave them out.")
    wrong = [word for word, usual in OF_SQLITE.items() if getattr(values, word) != usual] if name != "sqlite" else []
    wrong += ["once"] if name == "sqlite" and values.once else []
    if wrong:
        raise UsageError(f"--{wrong[0].replace('_', '-')} means nothing for {values.sources[0]}.", "Leave it out.")
