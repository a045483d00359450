"""Learn a set from its drives and the passphrase alone, on a machine that has never seen it.

PLACE is a drive, where it is mounted; one is enough.  Others, plugged in later, are known from the first one's catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.repo.keys.unlock import Credential

USAGE = "PLACE... [options]"
EXAMPLES = ("safehold volumes recover /media/me/STICK",)
STATUSES = (4,)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("places", metavar="PLACE", nargs="+", help="where a drive of the set is mounted")
    parser.add_argument("--name", metavar="NAME", default="", help="what to call the set on this machine")


def run(call: Call) -> int:
    """Recover it."""
    from pathlib import Path

    from safehold.cli.render import words
    from safehold.cli.settings import Named
    from safehold.cli.volume_sets import drive_set
    from safehold.ops.volumes.lifecycle import recover
    from safehold.storage.volumes.drives.marks import FOLDER, IDENTITY

    places = [Path(each).expanduser().absolute() for each in call.values.places]
    folders = [each if (each / IDENTITY).is_file() else each / FOLDER for each in places]
    known: list[Credential] = []

    def credential(name: str) -> Credential:
        known.append(call.credential(Named(location=f"volumes:{name}")))
        return known[0]

    catalogue, volumes = recover(call.state, folders, credential, call.cache, call.clock, call.out.report, call.values.name)
    call.closing(catalogue)
    drives = drive_set(call, catalogue, lambda: known[0])
    for each in drives.present:
        drives.view(each)
    name = catalogue.folder.name
    found = len(drives.held())
    here = len(drives.present)
    value = {"event": "volumes-recover", "name": name, "volumes": len(volumes), "here": here, "snapshots": found}
    text = f"The set {name} has {words.count(len(volumes), 'drive')}, {here} of them here, with {words.count(found, 'snapshot')}."
    call.out.result(f"{text} Use it as -r volumes:{name}.", value)
    return 0
