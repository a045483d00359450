"""Close the open disc of a set, so that nothing more goes onto it, and write the parity of its group.

After that every disc is as it will stay, and may be burned.  The next backup begins a new disc, and a new group."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "NAME [options]"
EXAMPLES = ("safehold volumes close photos",)
STATUSES = (15,)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    from safehold.cli.disc_sets import media_argument

    parser.add_argument("name", metavar="NAME", help="the set")
    media_argument(parser)


def run(call: Call) -> int:
    """Close it."""
    from safehold.cli.disc_sets import discs_of
    from safehold.cli.render import words

    discs = discs_of(call, call.values.name)
    discs.repository()  # so that the catalogue's private part is sealed onto the disc
    discs.store().finish()
    volumes = discs.catalogue.volumes()
    open_groups = [each for each in discs.store().ledger.groups() if not each.closed_ns]
    value = {"event": "volumes-close", "name": call.values.name, "volumes": len(volumes), "uncovered": len(open_groups)}
    text = f"{call.values.name}: {words.count(len(volumes), 'volume')}, all closed."
    if open_groups:
        text += " Parity across volumes could not be written: not all of them are here."
    call.out.result(text, value)
    return 0
