"""Run the backups of a set that wait for a drive, or are overdue on one that is here.

`safehold backup --when-present` notes them.  The unit that `safehold volumes enroll` makes calls this when a drive comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "NAME [options]"
EXAMPLES = ("safehold volumes run home", "safehold volumes run home --every 6 --wait 60 --mount")
STATUSES = (3, 15)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("name", metavar="NAME", help="the set")
    add("--every", metavar="HOURS", type=float, default=0, help="a backup is overdue on a drive after so many hours (20)")
    add("--wait", metavar="SECONDS", type=float, default=0, help="wait so long for a drive to be mounted")
    add(
        "--mount",
        action="store_true",
        help="mount a drive that is plugged in and was not mounted meanwhile, and unmount it after",
    )
    add("--forget", metavar="JOB", default="", help="forget a noted backup, by the id that is shown")


def run(call: Call) -> int:
    """Run them."""
    from safehold.cli.volume_jobs import EVERY_HOURS, run_due
    from safehold.cli.volume_sets import catalogue_of, require_drives
    from safehold.ops.volumes import jobs
    from safehold.storage.volumes.drives.mounting import mounted, wait_for_one

    values = call.values
    catalogue = catalogue_of(call, values.name)
    require_drives(catalogue)
    if values.forget:
        if values.forget not in (known := [each.id for each in jobs.noted(catalogue)]):
            there = f"There are: {', '.join(known)}." if known else "None is noted."
            raise UsageError(f"No backup {values.forget} is noted for {values.name}.", there)
        jobs.drop(catalogue, values.forget)
        call.out.result(f"Backup {values.forget} is forgotten.", {"event": "volumes-run", "job": values.forget, "status": 0})
        return 0
    wait_for_one(catalogue, values.wait, call.clock)
    with mounted(catalogue, values.mount, call.clock):
        return run_due(call, catalogue, values.every or EVERY_HOURS)
