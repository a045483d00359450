"""Read everything back from the volumes that are here, past the system's memory, and prove it.

A volume counts as verified when this found no damage.  VOLUME names one; without it, all that are here are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "NAME [VOLUME] [options]"
EXAMPLES = ("safehold volumes verify home", 'safehold volumes verify home "Stick A"')
STATUSES = (4,)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    from safehold.cli.disc_sets import media_argument

    media_argument(parser)
    parser.add_argument("name", metavar="NAME", help="the set")
    parser.add_argument("volume", metavar="VOLUME", nargs="?", default="", help="its number or label")
    parser.add_argument("--mend", action="store_true", help="of drives: replace what is damaged by what another one here has")


def run(call: Call) -> int:
    """Verify them."""
    from dataclasses import asdict

    from safehold.cli.checking import report_value, show_report
    from safehold.cli.disc_sets import verify_discs
    from safehold.cli.render import words
    from safehold.cli.volume_sets import catalogue_of, chosen, drives_of
    from safehold.ops.volumes.verifying import mend, verify
    from safehold.storage.volumes.drives.smart import health, silence

    if catalogue_of(call, call.values.name).set.kind == "discs":
        return verify_discs(call, call.values.name, call.values.volume)
    drives = drives_of(call, call.values.name)
    status = 0
    for present in chosen(drives, call.values.volume):
        found = verify(drives, present)
        mended = mend(drives, present, found) if call.values.mend and not found.clean else []
        if mended:
            call.out.note(f"Replaced {words.count(len(mended), 'object')} on {present.title}; it is verified once more.")
            found = verify(drives, present)
        status = max(status, found.status)
        state = "verified" if found.clean else "damaged"
        value: dict[str, object] = {"event": "volumes-verify", "label": present.volume.label, "state": state, "mended": mended}
        value |= report_value(found)
        healthy = health(present.mount.source)
        value["smart"] = None if healthy is None else asdict(healthy)
        if not call.out.as_json:
            call.out.result(f"{present.title}:")
            show_report(call, found)
            call.out.result(healthy.sentence() if healthy is not None else silence())
        call.out.result(f"{present.volume.label} is {state}.", value)
    return status
