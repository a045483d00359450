"""Make a drive one of a set.  PLACE is where it is mounted; everything goes into a folder `safehold` on it.

The drive gets the set's config and keys, and a README.TXT that says how to restore.  The next backup brings it up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "NAME PLACE [options]"
EXAMPLES = (
    'safehold volumes add home /media/me/STICK --label "Stick A" --place safe',
    'safehold volumes add home /mnt/disk2 --label "Disk 2" --place "mother\'s house"',
)
STATUSES = (15,)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("name", metavar="NAME", help="the set")
    add("folder", metavar="PLACE", help="where the drive is mounted")
    add("--label", metavar="TEXT", default="", help="what to call it; write that on it, too (default: Drive 1, 2 ...)")
    add("--place", metavar="TEXT", default="", help="where it is kept: safe, mother's house")
    add("--plain-folder", action="store_true", help="PLACE is on no drive of its own, and is meant all the same")
    add("--renew", action="store_true", help="it is a copy of a drive of the set, and becomes another one")


def run(call: Call) -> int:
    """Add it."""
    from pathlib import Path

    from safehold.cli.volume_sets import drives_of
    from safehold.ops.volumes.lifecycle import add

    values = call.values
    drives = drives_of(call, values.name)
    volume = add(
        drives,
        Path(values.folder).expanduser().absolute(),
        values.label,
        values.place,
        plain=values.plain_folder,
        renew=values.renew,
    )
    value = {
        "event": "volumes-add",
        "name": values.name,
        "volume": volume.uuid,
        "number": volume.number,
        "label": volume.label,
        "place": volume.place,
        "folder": volume.path,
        "fs_uuid": volume.fs_uuid,
        "serial": volume.serial,
    }
    call.out.result(f"{volume.label} is drive {volume.number} of {values.name}, in {volume.path}.", value)
    present = next((each for each in drives.present if each.volume.uuid == volume.uuid), None)
    if present is not None:
        drives.view(present)
        drives.write_catalogue(present.folder)
    return 0
