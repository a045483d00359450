"""Let an owner hand this machine plans: what is backed up from it, and when.

Only an owner's key makes a plan that this machine takes; the server can neither make, read nor change one.  Such a plan runs no
program, and backs up nothing outside the folders that are allowed here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[options]"
EXAMPLES = ("safehold device allow-plans", "safehold device allow-plans --within /srv", "safehold device allow-plans --off")
STATUSES = (13, 14)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument(
        "--within", metavar="FOLDER", action="append", default=[], help="plans of this folder; may be repeated (your home)"
    )
    parser.add_argument("--off", action="store_true", help="allow none any more, and remove those that were handed out")


def run(call: Call) -> int:
    """Allow them, or not."""
    import os
    from pathlib import Path

    from safehold.cli.logins import Logins
    from safehold.cli.plan_settings import from_environment, given
    from safehold.cli.plans import files_of
    from safehold.jobs.handed import OWN, Allowed, Memory, drop

    address, _ = call.online()
    device = Logins(call.state, call.environ).find(address).device
    if not device:
        raise UsageError(
            "This machine is logged in as a person, and plans are for devices.", "Have it admitted: `safehold login URL`."
        )
    memory = Memory(call.state, call.repository().id)
    before = memory.read()
    if call.values.off:
        drop(files_of(call), before.names if before else [])
        memory.forget()
        call.out.result("This machine takes no plans any more.", {"event": "allow-plans", "folders": []})
        return 0
    folders = [os.path.realpath(os.path.expanduser(each)) for each in call.values.within] or [os.path.realpath(Path.home())]
    missing = next((each for each in folders if not os.path.isdir(each)), None)
    if missing:
        raise UsageError(f"{missing} is no folder.", "Make it first, or name another one.")
    settings = {key: str(value) for key, value in {**from_environment(call), **given(call)}.items() if key in OWN}
    settings["repository"] = call.place.location
    done = (before.made_ns, before.names) if before else (0, [])
    memory.write(Allowed(folders, settings, device, *done))
    text = f"An owner can hand this machine plans of {' and '.join(folders)}."
    call.out.result(text, {"event": "allow-plans", "folders": folders})
    return 0
