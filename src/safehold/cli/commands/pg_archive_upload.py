"""Bring the WAL files that wait in the spool into the repository.

A key that may only write is enough.  A file leaves the spool when it is safe in the repository, and not before.  Without --watch
it ends when nothing is left; with it, it goes on for good, and tries again after errors.  Where an uploader is at work already
(archive-push starts one), that one is told not to wait any longer, and this command ends when it has brought everything in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import SafeholdError, UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.sources.postgresql.spool import Spool

USAGE = "[options]"
EXAMPLES = ("safehold pg archive-upload", "safehold pg archive-upload --watch --max-age 10")
STATUSES = (15,)
LOOK_SECONDS = 0.2
PATIENCE_SECONDS = 5.0
"""An uploader that fails for longer is not waited for."""


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    from safehold.cli.commands.pg_archive_push import spool_arguments

    spool_arguments(parser)
    parser.add_argument("--watch", action="store_true", help="go on, committing what comes")
    upload_arguments(parser)
    parser.add_argument(
        "--until-idle", metavar="SECONDS", type=float, default=0.0, help="with --watch: end when nothing has come for so long"
    )


def upload_arguments(parser: Parser) -> None:
    """Declare when commits are made."""
    add = parser.add_argument
    add("--batch", metavar="SIZE", default="64M", help="commit when so much WAL waits (64M)")
    add("--max-age", metavar="SECONDS", type=float, default=30.0, help="commit what has waited for so long (30)")
    add("--name", metavar="NAME", default="", help="what the database is called in listings")


def run(call: Call) -> int:
    """Upload."""
    from safehold.cli.archive_push import parse_size
    from safehold.cli.spools import only_uploader, spool_of, uploader

    values = call.values
    if values.max_age < 0 or values.until_idle < 0:
        raise UsageError("--max-age and --until-idle are numbers of seconds.", "Write, for instance, --max-age 30.")
    spool = spool_of(call)
    if not values.watch and (brought := _by_the_other(call, spool)):
        return _say(call, spool, brought)
    with only_uploader(spool):
        made = uploader(
            call,
            spool,
            batch=parse_size(values.batch),
            age_seconds=values.max_age,
            until_idle=values.until_idle,
            name=values.name,
        )
        if values.watch:
            made.watch()
            return 0
        try:
            count = made.upload()
        except Exception as error:
            made.failed(error)
            raise
    return _say(call, spool, count)


def _by_the_other(call: Call, spool: Spool) -> int:
    """Have the uploader that is at work bring everything in; how many files.  0 if there is none.  Raises ``SafeholdError``."""
    from safehold.cli.archive_push import is_held
    from safehold.ops.databases.postgresql.uploading import HURRY, load_state
    from safehold.sources.postgresql.spool import LOCK

    names = set(spool.names())
    end = call.clock.monotonic() + PATIENCE_SECONDS
    while is_held(spool.path(LOCK)) and names & set(spool.names()):
        spool.note(HURRY, b"")
        if call.clock.monotonic() > end and (error := load_state(spool).error):
            raise SafeholdError(f"The uploader that is at work fails: {error}", "It tries again by itself.")
        call.clock.sleep(LOOK_SECONDS)
    return len(names - set(spool.names()))


def _say(call: Call, spool: Spool, count: int) -> int:
    from safehold.ops.databases.postgresql.uploading import load_state

    left = len(spool.names())
    value = {"event": "archive-upload", "files": count, "waiting": left, "snapshot": load_state(spool).snapshot if count else ""}
    call.out.result(f"Committed {count:,} WAL files; {left:,} wait." if count else "Nothing waits in the spool.", value)
    return 0
