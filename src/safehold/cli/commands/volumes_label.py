"""Change what is known of a volume: its label, where it is kept, or that it is lost or retired.

What is lost or retired counts no more; its snapshots are listed only if another volume holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.storage.volumes.catalogue import Catalogue, Volume

USAGE = "NAME VOLUME [options]"
EXAMPLES = ('safehold volumes label home "Stick A" --place "mother\'s house"', "safehold volumes label home 2 --lost")
STATUSES: tuple[int, ...] = ()


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("name", metavar="NAME", help="the set")
    add("volume", metavar="VOLUME", help="its number or label")
    add("--label", metavar="TEXT", default="", help="what to call it from now on")
    add("--place", metavar="TEXT", default=None, help="where it is kept")
    add("--lost", action="store_true", help="it is lost, stolen or broken")
    add("--retired", action="store_true", help="it is used no more")
    add("--found", action="store_true", help="it is there again, after all")


def run(call: Call) -> int:
    """Change it."""
    from safehold.cli.volume_listing import volume_value
    from safehold.cli.volume_sets import catalogue_of
    from safehold.storage.volumes.drives.presence import title_of

    values = call.values
    states = [word for word in ("lost", "retired", "found") if getattr(values, word)]
    if len(states) > 1:
        raise UsageError("Of --lost, --retired and --found only one can be meant.", "Leave out the others.")
    catalogue = catalogue_of(call, values.name)
    volume = catalogue.named(values.volume)
    changes: dict[str, object] = {}
    if values.label:
        if any(each.label.lower() == values.label.lower() and each.uuid != volume.uuid for each in catalogue.volumes()):
            raise UsageError(f"There already is a volume called {values.label} in {values.name}.", "Give another label.")
        changes["label"] = values.label
    if values.place is not None:
        changes["place"] = values.place
    if states:
        changes["state"] = states[0] if states[0] != "found" else _state_of_found(catalogue, volume)
    changed = catalogue.change(volume.uuid, **changes)
    _write(call, values.label)
    what = f", {changed.state}" if states else ""
    call.out.result(f"Volume {changed.number} of {values.name} is {title_of(changed)}{what}.", volume_value(changed, None))
    return 0


def _state_of_found(catalogue: Catalogue, volume: Volume) -> str:
    from safehold.storage.volumes.discs.ledger import Ledger

    return "open" if catalogue.set.kind == "drives" else Ledger(catalogue).state_of_found(volume.number)


def _write(call: Call, label: str) -> None:
    """Onto the drive itself, too, if it is here."""
    from safehold.cli.volume_sets import catalogue_of
    from safehold.ops.volumes.lifecycle import rename
    from safehold.storage.volumes.drives.presence import look

    if label:
        catalogue = catalogue_of(call, call.values.name)
        for each in [] if catalogue.set.kind == "discs" else look(catalogue, call.clock.now_ns()).present:
            if each.volume.label == label:
                rename(each.folder, label)
