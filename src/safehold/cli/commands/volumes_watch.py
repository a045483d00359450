"""Wait for drives of a set, and run the backups that wait for them, until it is told to stop.

For systems without udev and systemd, for users who are not root, and for drives that send no message when they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "NAME [options]"
EXAMPLES = ("safehold volumes watch home", "safehold volumes watch home --poll 60")
STATUSES = (3, 15)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("name", metavar="NAME", help="the set")
    add("--every", metavar="HOURS", type=float, default=0, help="a backup is overdue on a drive after so many hours (20)")
    add("--poll", metavar="SECONDS", type=float, default=30, help="look so often where the system doesn't tell of drives (30)")
    add("--once", action="store_true", help="end after the first drive that came")


def run(call: Call) -> int:
    """Wait."""
    from safehold.cli.volume_jobs import EVERY_HOURS, run_due
    from safehold.cli.volume_sets import catalogue_of, require_drives
    from safehold.storage.volumes.drives.arrivals import Arrivals
    from safehold.storage.volumes.drives.presence import look

    values = call.values
    catalogue = catalogue_of(call, values.name)
    require_drives(catalogue)
    known: set[str] = set()
    with Arrivals() as arrivals:
        call.out.note(f"Waiting for drives of {values.name}; Ctrl-C ends it.")
        while True:
            here = {each.volume.uuid for each in look(catalogue, call.clock.now_ns()).present}
            if here - known:
                status = run_due(call, catalogue, values.every or EVERY_HOURS)
                if values.once:
                    return status
            known = here
            arrivals.wait(values.poll)
