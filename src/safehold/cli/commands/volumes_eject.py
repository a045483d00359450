"""Write everything out, unmount a drive, and say that it is safe to remove.

Without VOLUME: all drives of the set that are here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "NAME [VOLUME] [options]"
EXAMPLES = ('safehold volumes eject home "Stick A"', "safehold volumes eject home")
STATUSES: tuple[int, ...] = ()


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("name", metavar="NAME", help="the set")
    parser.add_argument("volume", metavar="VOLUME", nargs="?", default="", help="its number or label")


def run(call: Call) -> int:
    """Eject them."""
    from safehold.cli.volume_sets import catalogue_of, present_of
    from safehold.storage.volumes.drives.ejecting import eject

    catalogue = catalogue_of(call, call.values.name)
    for present in present_of(call, catalogue, call.values.volume):
        unmounted = eject(present)
        text = f"{present.title} is safe to remove." if unmounted else f"{present.title} is a plain folder; all is written out."
        value = {"event": "volumes-eject", "label": present.volume.label, "unmounted": unmounted}
        call.out.result(text, value)
    return 0
