"""Burn what waits of a set of discs or floppies, read it back from the medium, and compare it.

VOLUME (its number or label) names what to burn; without it, everything that waits, one disc after the other.  Only what was read
back and is the same counts as burned.  --device stdio:FILE burns into a file instead of a drive.  A key is needed only if little
was backed up the last time: what is written then waits for more, and is finished first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.storage.volumes.burning.plan import Waiting
    from safehold.storage.volumes.catalogue import Catalogue, Volume

USAGE = "NAME [VOLUME...] [options]"
EXAMPLES = (
    "safehold volumes burn yearly --dry-run",
    "safehold volumes burn yearly 3 --device /dev/sr0 --speed 4",
    "safehold volumes burn box --device /dev/fd0 --overwrite",
)
STATUSES = (4, 14)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("name", metavar="NAME", help="the set")
    add("volumes", metavar="VOLUME", nargs="*", default=[], help="number or label")
    add("--device", metavar="DEVICE", default="", help="the drive (/dev/sr0; /dev/fd0 for floppies), or stdio:FILE")
    add("--burner", metavar="PROGRAM", default="", help="xorriso (the default), or growisofs where that can't")
    add("--speed", metavar="N", default="", help="burn at this speed, such as 4")
    add("--dry-run", action="store_true", help="show what would be burned: discs, files, sizes, time")
    add("--simulate", action="store_true", help="go through it with the laser off")
    add("--again", action="store_true", help="burn what was burned before, as a whole, onto other discs")
    add("--overwrite", action="store_true", help="a rewritable medium may hold something else, which is lost")
    add("--remove-images", action="store_true", help="remove the image of each volume that is closed, burned and verified")


def run(call: Call) -> int:
    """Burn."""
    from safehold.cli.volume_sets import catalogue_of
    from safehold.storage.volumes.burning.plan import plan, unfinished

    values = call.values
    if values.speed and not (values.speed.replace(".", "", 1).isdecimal() and float(values.speed) > 0):
        raise UsageError(f"{values.speed!r} is no speed.", "Write a number, such as --speed 4.")
    catalogue = catalogue_of(call, values.name)
    if catalogue.set.kind != "discs":
        raise UsageError(f"{values.name} is a set of drives, which are not burned.", "Back up to it: `safehold backup`.")
    wanted = [catalogue.named(each) for each in values.volumes]
    for volume in unfinished(catalogue):
        if not wanted or volume in wanted:
            _finish(call, volume)
    waiting = plan(catalogue, wanted, again=values.again)
    if values.dry_run or not waiting:
        _show(call, catalogue, waiting)
        return 0
    return _burn(call, catalogue, waiting)


def _finish(call: Call, volume: Volume) -> None:
    """Put catalogue and parity behind what was written last."""
    from safehold.cli.disc_sets import discs_of

    if call.values.dry_run:
        call.out.note(f"What was last written to {volume.label} is to be finished first; it is not yet counted here.")
        return
    discs = discs_of(call, call.values.name)
    discs.repository(volume.generation)  # so that the catalogue's private part is sealed onto the disc
    discs.store(volume.generation).close_session()


def _show(call: Call, catalogue: Catalogue, waiting: list[Waiting]) -> None:
    """What would be burned."""
    from safehold.cli.render import words
    from safehold.storage.volumes.burning.plan import seconds

    media = catalogue.set.media
    times = [seconds(media, each.bytes, call.values.speed) for each in waiting]
    if call.out.as_json:
        discs = [_value(each, time) for each, time in zip(waiting, times, strict=True)]
        call.out.result("", {"event": "volumes-burn", "name": catalogue.set.name, "discs": discs, "seconds": round(sum(times))})
        return
    if not waiting:
        call.out.result(f"Nothing of {catalogue.set.name} waits to be burned.")
        return
    for each, time in zip(waiting, times, strict=True):
        onto = "a blank medium" if not each.first else "the one it is on, as another session"
        what = "parity of other volumes" if each.volume.parity else words.count(each.packs, "pack")
        more = f", {words.count(each.snapshots, 'snapshot')}" if each.snapshots else ""
        end = "" if each.final else "; more can follow on it"
        told = f"{words.size(each.bytes)} onto {onto} ({what}{more}), about {words.duration(time)}{end}"
        call.out.result(f"Volume {each.volume.number}, {each.volume.label}: {told}.")
        for file in each.files:
            call.out.result(f"    {file.name:<18} {file.size:>15,}")
    count = words.count(len(waiting), "floppy", "floppies") if media == "floppy" else words.count(len(waiting), "disc")
    total = sum(each.bytes for each in waiting)
    call.out.result(f"{count}, {words.size(total)}, about {words.duration(sum(times))} with reading back.")


def _burn(call: Call, catalogue: Catalogue, waiting: list[Waiting]) -> int:
    from safehold.storage.volumes.burning.burn import Burning
    from safehold.storage.volumes.burning.choosing import choose

    values = call.values
    burner = choose(catalogue.set, values.device, values.burner)
    burning = Burning(catalogue, burner, call.out.report, call.clock)
    asks = _can_ask(call)
    for each in waiting if asks else waiting[:1]:
        if asks:
            _ask_for(each, burner.device)
        volume = burning.burn(each, speed=values.speed, simulate=values.simulate, overwrite=values.overwrite)
        verb = "would be burned" if values.simulate else "is burned and verified"
        value: dict[str, object] = {
            "event": "volumes-burn",
            "simulated": values.simulate,
            "state": volume.state,
            **_value(each, 0),
        }
        call.out.result(f"Volume {volume.number} {verb}: write {volume.label} on it.", value)
        if values.remove_images and not values.simulate:
            _remove_images(call, catalogue)
    left = 0 if asks else len(waiting) - 1
    if left:
        call.out.note(f"{left} more to burn: insert the next one, and run it again.")
    return 0


def _can_ask(call: Call) -> bool:
    import sys

    return sys.stdin.isatty() and not call.out.as_json and not call.values.device.startswith("stdio:")


def _ask_for(waiting: Waiting, device: str) -> None:
    what = "a blank medium" if not waiting.first else "its disc"
    input(f"Volume {waiting.volume.number}, {waiting.volume.label}: insert {what} in {device}, and press Enter. ")


def _remove_images(call: Call, catalogue: Catalogue) -> None:
    """Remove images that nothing needs any more: parity across volumes is made of those of its whole group."""
    from pathlib import Path

    from safehold.storage.volumes.burning.plan import done

    kept = 0
    for volume, uncovered in done(catalogue):
        if not uncovered and Path(volume.path).is_file():
            Path(volume.path).unlink()
            call.out.note(f"Removed {volume.path}.")
        kept += uncovered
    if kept:
        call.out.note("Images whose group has no parity across volumes yet are kept: it is made of them.")


def _value(waiting: Waiting, seconds: float) -> dict[str, object]:
    volume = waiting.volume
    value: dict[str, object] = {"number": volume.number, "label": volume.label, "volume": volume.uuid, "bytes": waiting.bytes}
    value |= {"first_sector": waiting.first, "final": waiting.final}
    value["files"] = [{"name": each.name, "size": each.size} for each in waiting.files]
    return {**value, "seconds": round(seconds)} if seconds else value
