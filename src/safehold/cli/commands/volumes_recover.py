"""Learn a set from its volumes and the passphrase alone, on a machine that has never seen it.

PLACE is a drive, where it is mounted; one is enough.  Others, plugged in later, are known from the first one's catalogue.
Of discs it is an image file, a device, a mounted disc, or a folder of them; the newest disc tells of all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.repo.keys.unlock import Credential

USAGE = "PLACE... [options]"
EXAMPLES = ("safehold volumes recover /media/me/STICK", "safehold volumes recover /dev/sr0 --images ~/discs --lost 3")
STATUSES = (4, 14)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    from safehold.cli.disc_sets import lost_argument

    lost_argument(parser)
    parser.add_argument(
        "places",
        metavar="PLACE",
        nargs="+",
        help="where a drive of the set is mounted; of discs an image, a device, or a folder of them",
    )
    what = "of discs: the folder where images of further discs go; without it, beside the images that are given, if any are"
    parser.add_argument("--images", metavar="FOLDER", default="", help=what)
    parser.add_argument("--name", metavar="NAME", default="", help="what to call the set on this machine")


def run(call: Call) -> int:
    """Recover it."""
    from os.path import isfile
    from pathlib import Path

    from safehold.cli.render import words
    from safehold.cli.settings import Named
    from safehold.cli.volume_sets import drive_set
    from safehold.ops.volumes.lifecycle import recover
    from safehold.storage.volumes.drives.marks import FOLDER, IDENTITY
    from safehold.storage.volumes.media.folder import find_data

    places = [Path(each).expanduser().absolute() for each in call.values.places]
    bare = [each for each in places if find_data(each) is None]
    if not any(isfile(each / IDENTITY) or isfile(each / FOLDER / IDENTITY) for each in bare):
        from safehold.cli.disc_sets import recover_discs

        return recover_discs(call, places, call.values.name)
    folders = [each if isfile(each / IDENTITY) else each / FOLDER for each in places]
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
