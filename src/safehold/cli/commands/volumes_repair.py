"""Write a lost or damaged disc anew, as an image: from what can be read of it, its own parity, and the other discs of its group.

The new image is bit for bit what the disc was.  A disc that is lost altogether is named by its number or label all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "NAME VOLUME [options]"
EXAMPLES = ("safehold volumes repair photos 3 --lost 3",)
STATUSES = (4, 14, 15)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    from safehold.cli.disc_sets import reach_arguments

    add = parser.add_argument
    add("name", metavar="NAME", help="the set")
    add("volume", metavar="VOLUME", help="its number or label")
    reach_arguments(parser)


def run(call: Call) -> int:
    """Write it."""
    from safehold.cli.disc_sets import discs_of
    from safehold.ops.volumes.disc_set import repair

    discs = discs_of(call, call.values.name)
    volume = discs.catalogue.named(call.values.volume)
    path = repair(discs, volume)
    value = {"event": "volumes-repair", "name": call.values.name, "label": volume.label, "image": str(path)}
    call.out.result(f"{volume.label} is written anew: {path}.", value)
    return 0
