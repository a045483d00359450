"""Make a volume set: flash drives or hard disks that rotate, or discs and floppies that a backup is spread over.

Its passphrase is asked for twice, or taken from --password-file or the environment; with --key-file F a new key file F opens it.
`safehold volumes add` then adds drives, and `-r volumes:NAME` means the set."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.codec.keyfile import KeyFile
    from safehold.repo.config import Config
    from safehold.repo.keys.unlock import Credential
    from safehold.storage.volumes.catalogue import VolumeSet
    from safehold.storage.volumes.profiles import Profile

USAGE = "NAME [options]"
EXAMPLES = (
    "safehold volumes create home",
    "safehold volumes create usb --key-file ~/usb.key",
    "safehold volumes create photos --media cd --images ~/discs",
)
STATUSES = (11,)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("name", metavar="NAME", help="what to call it: letters, digits, dots, - and _")
    add("--media", metavar="KIND", default="drive", help="drive (the default), or cd, dvd, bd, floppy ...: see docs/volumes.md")
    add("--images", metavar="FOLDER", default="", help="of discs: where the images go that are burned later")
    add("--capacity", metavar="SIZE", default="", help="of discs: what one holds, such as 700M or 4.7G, if not what is usual")
    add("--inner", metavar="K+M", default="100+15", help="of discs: parity inside each (100+15); 0: none")
    add("--parity", metavar="K+M", default="8+2", help="of discs: so many discs of data have so many of parity (8+2); 0: none")
    add("--generation-volumes", metavar="N", type=int, default=0, help="of discs: after so many begin anew with a full backup")
    add("--generation-months", metavar="N", type=int, default=0, help="of discs: begin anew after so long")
    add("--seen-every", metavar="DAYS", type=int, default=0, help="say that a drive is overdue when not seen for so long (30)")


def run(call: Call) -> int:
    """Make it."""
    import os

    from safehold.storage.volumes.catalogue import VolumeSet, folder_of
    from safehold.storage.volumes.profiles import DRIVES, parse_capacity, profile

    values = call.values
    capacity = parse_capacity(values.capacity) if values.capacity else 0
    media = profile(values.media, capacity)
    folder = folder_of(call.state, values.name)
    for option in ("generation_volumes", "generation_months", "seen_every"):
        if getattr(values, option) < 0:
            raise UsageError(f"--{option.replace('_', '-')} is a number from 0 on.", "0 stands for never.")
    if media.kind != DRIVES:
        return _discs(call, folder, media)
    if values.images or values.capacity:
        option = "--images" if values.images else "--capacity"
        raise UsageError(f"{option} is for discs, and drives are meant.", "Say which discs, such as --media cd.")
    settings = {"seen_every_days": values.seen_every} if values.seen_every > 0 else {}
    new_id = os.urandom(16).hex()
    made = VolumeSet(
        id=new_id, name=values.name, kind=media.kind, media=media.name, created_ns=call.clock.now_ns(), settings=settings
    )
    create_drives(call, folder, made)
    value = {"event": "volumes-create", "name": made.name, "set": made.id, "kind": made.kind, "media": made.media}
    call.out.result(f"Made the set {made.name}. Add drives to it: `safehold volumes add {made.name} /media/me/STICK`.", value)
    call.out.note(
        f"Print a recovery key for the day when the passphrase is lost: `safehold -r volumes:{made.name} key recovery`."
    )
    return 0


def _discs(call: Call, folder: Path, media: Profile) -> int:
    import os
    from pathlib import Path

    from safehold.cli.render import words
    from safehold.ops.volumes.disc_set import create
    from safehold.storage.volumes.catalogue import VolumeSet

    values = call.values
    if not values.images:
        raise UsageError("Where the images of the discs go is not said.", "Name a folder: --images FOLDER.")
    counts = {name: getattr(values, name) for name in ("generation_volumes", "generation_months")}
    images = str(Path(values.images).expanduser().absolute())
    made = VolumeSet(
        id=os.urandom(16).hex(),
        name=values.name,
        kind=media.kind,
        media=media.name,
        capacity=media.capacity,
        inner=_code(values.inner, "--inner"),
        parity=_code(values.parity, "--parity"),
        created_ns=call.clock.now_ns(),
        settings={"images": images, "generation": 1, **{name: count for name, count in counts.items() if count > 0}},
    )
    with new_key(call, made.name) as credential:
        create(folder, made, credential, call.cache, call.clock, call.out.report).close()
    _note_room(call, images, media)
    value = {"event": "volumes-create", "name": made.name, "set": made.id, "kind": made.kind, "media": made.media}
    what = f"{media.title}, {words.size(media.capacity)} each"
    call.out.result(f"Made the set {made.name} ({what}). Back up to it: `safehold -r volumes:{made.name} backup FOLDER`.", value)
    return 0


def _note_room(call: Call, images: str, media: Profile) -> None:
    """Say where not even one image of full size fits."""
    import shutil

    from safehold.cli.render import words

    free = shutil.disk_usage(images).free
    if free < media.capacity:
        what = f"{images} has room for {words.size(free)}, and the image of a full volume takes {words.size(media.capacity)}"
        call.out.note(f"{what}: burn images as they get full, with --remove-images, or choose smaller ones.")


def _code(text: str, option: str) -> str:
    """``K+M``, or nothing.  Raises ``UsageError``."""
    data, _, parity = text.partition("+")
    if text in ("0", "none", ""):
        return ""
    if not (data.isdecimal() and parity.isdecimal() and 0 < int(data) <= 200 and 0 < int(parity) <= 55):
        raise UsageError(f"{option} {text} is not understood.", "Write it such as 8+2, at most 200+55, or 0 for none.")
    return f"{int(data)}+{int(parity)}"


def create_drives(call: Call, folder: Path, made: VolumeSet) -> None:
    """A set of drives, with the passphrase or key file that is given."""
    from safehold.ops.volumes.lifecycle import create

    with new_key(call, made.name) as credential:
        create(folder, made, credential, call.cache, call.clock, call.out.report).close()


@contextmanager
def new_key(call: Call, name: str) -> Iterator[Callable[[Config], Credential]]:
    """What gives the key of a new set.  Where the set is not made, a new key file goes again: it would open nothing."""
    from pathlib import Path

    written: list[str] = []

    def give(config: Config) -> Credential:
        key = new_credential(call, name, config)
        if call.values.key_file:
            written.append(call.values.key_file)
        return key

    try:
        yield give
    except BaseException:
        for each in written:
            Path(each).expanduser().unlink()
        raise


def new_credential(call: Call, name: str, config: Config) -> Credential:
    """What is to open a new set: a new key file, or a passphrase.  Raises ``UsageError``."""
    import os

    from safehold.cli import credentials
    from safehold.cli.settings import Named
    from safehold.codec.keyfile import KeyFile

    if call.values.recovery:
        raise UsageError("A set is not made with a recovery key.", "Make one with a passphrase, then `safehold key recovery`.")
    if call.values.key_file:
        key: KeyFile = KeyFile.new(config.repository_id, os.urandom)
        credentials.write_key_file(call.values.key_file, key)
        return key
    return call.credential(Named(location=f"volumes:{name}"), new=True)
