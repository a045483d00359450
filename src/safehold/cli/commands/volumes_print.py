"""Make labels to print: a page of HTML with a card for each volume.

A card has the volume's label and number, the set, where it is kept, what it holds, and a QR code with both ids.  Open the page in
a browser and print it, or keep it as PDF.  No passphrase is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "NAME [VOLUME...] --output FILE [options]"
EXAMPLES = ("safehold volumes print yearly --output labels.html", "safehold volumes print box 3 --output label.html")
STATUSES: tuple[int, ...] = ()


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("name", metavar="NAME", help="the set")
    add("volumes", metavar="VOLUME", nargs="*", default=[], help="number or label; without it, all that something is on")
    add("--output", metavar="FILE", required=True, help="the page to write")


def run(call: Call) -> int:
    """Make them."""
    from pathlib import Path

    from safehold.cli.render import words
    from safehold.cli.volume_sets import catalogue_of
    from safehold.storage.volumes.burning.labels import labels
    from safehold.storage.volumes.burning.plan import contents
    from safehold.storage.volumes.discs.ledger import Ledger

    values = call.values
    catalogue = catalogue_of(call, values.name)
    every = catalogue.volumes()
    wanted = [catalogue.named(each) for each in values.volumes] or [
        each for each in every if each.state not in ("lost", "retired")
    ]
    ledger = Ledger(catalogue) if catalogue.set.kind == "discs" else None
    found = {each.uuid: contents(ledger, each.number) for each in wanted} if ledger is not None else {}
    page = labels(catalogue.set, wanted, found, len(every))
    try:
        Path(values.output).write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{values.output} cannot be written: {error.strerror}.", "Name another file: --output FILE.") from error
    value = {"event": "volumes-print", "name": catalogue.set.name, "output": values.output, "labels": len(wanted)}
    call.out.result(f"{values.output} has {words.count(len(wanted), 'label')}: open it in a browser, and print it.", value)
    return 0
