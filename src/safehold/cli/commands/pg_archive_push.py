"""Take a WAL file of a PostgreSQL server into the spool: what its archive_command calls.

When it returns, the file is safe on this machine's disk; an uploader, which is started if none runs, brings it to the repository.
The same file again is success; another one of the same name is an error.  If the spool is full it fails, so that the server keeps
its log: nothing is ever dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "PATH [options]"
EXAMPLES = (
    "safehold pg archive-push pg_wal/0000000100000000000000A1 --spool /var/lib/safehold/main",
    "archive_command = '/usr/local/bin/safehold pg archive-push %p'",
    "archive_command = '/usr/local/bin/safehold pg archive-push %p --spool /var/lib/safehold/main'",
)
STATUSES = (15,)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("path", metavar="PATH", help="the file, as the server names it: %%p")
    spool_arguments(parser)
    parser.add_argument("--no-upload", action="store_true", help="start no uploader")


def spool_arguments(parser: Parser) -> None:
    """Declare where the spool is, and how large it may be."""
    parser.add_argument("--spool", metavar="DIR", default="", help="the folder of the spool ($SAFEHOLD_SPOOL)")
    parser.add_argument("--spool-limit", metavar="SIZE", default="", help="how much may wait in it (16G)")


def run(call: Call) -> int:
    """Push it."""
    from safehold.cli.archive_push import push

    values = call.values
    words = {
        "--spool": values.spool,
        "--spool-limit": values.spool_limit,
        "--repo": values.repository,
        "--config": values.config,
        "--password-file": values.password_file,
        "--key-file": values.key_file,
        "--no-upload": "yes" if values.no_upload else "",
    }
    return push(values.path, {name: value for name, value in words.items() if value}, call.environ)
