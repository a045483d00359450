"""Receive the log of a PostgreSQL server as it is written, and bring it to the repository.

The server keeps for the slot what was not received yet.  Nothing is told to be safe before it is on this machine's disk; whole
segments go from the spool to the repository.  It goes on until it is stopped, and after interruptions where it ended.  If the
server no longer has what comes next, it ends and says so: then a new base is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "URL [options]"
EXAMPLES = ("safehold pg receive postgresql://replicator@db.example/ --slot safehold",)
STATUSES = (15,)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    from safehold.cli.commands.pg_archive_push import spool_arguments
    from safehold.cli.commands.pg_archive_upload import upload_arguments

    add = parser.add_argument
    add("url", metavar="URL", help="the server: postgresql://user@host:port/; the user needs the right REPLICATION")
    add("--slot", metavar="NAME", default="safehold", help="the replication slot, made if it is not there (safehold)")
    add("--after-gap", action="store_true", help="go on where the server is: log before that was lost")
    add("--no-upload", action="store_true", help="leave everything in the spool")
    spool_arguments(parser)
    upload_arguments(parser)


def run(call: Call) -> int:
    """Receive."""
    from contextlib import nullcontext

    from safehold.cli.archive_push import parse_size
    from safehold.cli.spools import only_uploader, spool_of, uploader
    from safehold.ops.databases.postgresql.streaming import Streaming
    from safehold.sources.postgresql.connecting import parameters, public_name

    values = call.values
    parameters(values.url)
    spool = spool_of(call)
    made = uploader(
        call,
        spool,
        batch=parse_size(values.batch),
        age_seconds=values.max_age,
        name=values.name or public_name(values.url),
    )
    if not values.no_upload:
        call.repository()  # so that a wrong key shows now
    streaming = Streaming(values.url, spool, values.slot, made, call.clock, call.out.report)
    with nullcontext() if values.no_upload else only_uploader(spool):
        streaming.run(after_gap=values.after_gap, upload=not values.no_upload)
    return 0
