"""Make a new read key for everything that is backed up from now on.  Keys in use keep working.

Do it after removing a key: earlier backups stay readable to whoever has that key and a copy of the store, later ones are not.
Only the owner may."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[options]"
EXAMPLES = ("safehold key rotate",)
STATUSES = (13,)


def arguments(parser: Parser) -> None:
    """It takes nothing of its own."""


def run(call: Call) -> int:
    """Rotate."""
    from safehold.repo.keys.admin import rotate

    repository = call.repository()
    repository.require_owner("rotate the read key")
    keyring = rotate(repository.store, repository.keyring, clock=call.clock, report=call.out.report)
    value = {"event": "key-rotate", "epoch": keyring.epoch}
    call.out.result(f"Backups from now on are sealed to read key number {keyring.epoch}.", value)
    return 0
