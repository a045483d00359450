"""Let an owner order restores onto this machine, from the browser.

What is ordered goes into a new folder, and never over anything.  Only an owner's key makes an order that this machine takes; the
server can neither make, read nor change one.  `safehold device run-restores` takes them, and so does each backup at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[options]"
EXAMPLES = (
    "safehold device allow-restores",
    "safehold device allow-restores --into /srv/restored",
    "safehold device allow-restores --off",
)
STATUSES = (13, 14)
DEFAULT = "Restored by Safehold"
"""Of the home folder."""


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add(
        "--into",
        metavar="FOLDER",
        action="append",
        default=[],
        help="into new folders in this one; may be repeated (in your home)",
    )
    add("--off", action="store_true", help="allow none any more; what waits is cancelled")


def run(call: Call) -> int:
    """Allow them, or not."""
    import os
    from pathlib import Path

    from safehold.cli.allowed_restores import Allowed, Memory
    from safehold.cli.logins import Logins
    from safehold.cli.restore_jobs import reader_of, taker_of
    from safehold.codec.job import make_offer

    address, api = call.online()
    device = Logins(call.state, call.environ).find(address).device
    if not device:
        raise UsageError(
            "This machine is logged in as a person, and orders are for devices.", "Have it admitted: `safehold login URL`."
        )
    repository = call.repository()
    memory = Memory(call.state, repository.id)
    offer = f"{address.base}/devices/{device}/offer"
    if call.values.off:
        with memory.changing(call.clock):
            memory.forget()
        api.tell("PUT", offer, {"offer": b""})
        call.out.result("This machine takes no orders any more.", {"event": "allow-restores", "folders": []})
        return 0
    repository.require_reader()
    folders = [_folder(Path(name).expanduser()) for name in call.values.into] or [_own(Path.home() / DEFAULT)]
    with memory.changing(call.clock):
        before = memory.read()
        allowed = Allowed(device, os.urandom(32), folders, before.begun if before else {})
        memory.write(allowed)  # before anybody can order: what comes then can be opened
    letter = make_offer(taker_of(repository, allowed.private), device, folders, reader_of(repository), call.clock.now_ns())
    api.tell("PUT", offer, {"offer": letter})
    text = f"An owner can order restores onto this machine, into {' and '.join(folders)}."
    call.out.result(text, {"event": "allow-restores", "folders": folders})
    return 0


def _own(folder: Path) -> str:
    """The default one, made.  Raises ``UsageError``."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}.", "Name another one: --into FOLDER.") from error
    return _folder(folder)


def _folder(folder: Path) -> str:
    """The folder that is meant, without links.  Raises ``UsageError``."""
    import os

    found = os.path.realpath(folder)
    if not os.path.isdir(found):
        raise UsageError(f"{folder} is no folder.", "Make it first, or name another one.")
    if not found.isprintable():
        raise UsageError(f"The name of {folder!s} has characters that cannot be shown.", "Name another folder.")
    return found
