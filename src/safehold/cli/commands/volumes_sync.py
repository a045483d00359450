"""Have the drives of a set that are here catch up from each other, without a new backup.

`safehold backup` does the same at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "NAME [options]"
EXAMPLES = ("safehold volumes sync home",)
STATUSES = (4, 15)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("name", metavar="NAME", help="the set")


def run(call: Call) -> int:
    """Catch up."""
    from safehold.cli.render import words
    from safehold.cli.volume_sets import chosen, drives_of

    drives = drives_of(call, call.values.name)
    for present in chosen(drives, ""):
        drives.view(present)
    for present in drives.present:
        come = drives.catch_up(present)
        what = f"{words.count(len(come.snapshots), 'snapshot')} ({words.size(come.bytes)})"
        value = {
            "event": "volumes-sync",
            "label": present.volume.label,
            "snapshots": come.snapshots,
            "packs": come.packs,
            "bytes": come.bytes,
        }
        call.out.result(f"{present.title} took over {what}." if come.snapshots else f"{present.title} lacks nothing.", value)
    drives.settle()
    return 0
