"""Remove a key: it opens the repository no more.  Only the owner may, and never the last owner's key.

Whoever had it may have kept copies of what it opened; `safehold key rotate` afterwards keeps later backups from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "KEY [options]"
EXAMPLES = ("safehold key remove 1a2b3c4d", "safehold key remove 'Ann'")
STATUSES = (13,)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("key", metavar="KEY", help="its id, the beginning of it (4 digits or more), or its label")


def run(call: Call) -> int:
    """Remove it."""
    from safehold.cli.key_slots import chosen, tell
    from safehold.repo.keys.admin import remove_slot

    repository = call.repository()
    repository.require_owner("remove keys")
    device = chosen(repository, call.values.key)
    remove_slot(repository.store, repository.keyring, device.slot_id, clock=call.clock, report=call.out.report)
    slot_id = device.slot_id.hex()
    tell(call, "key-remove", device.role, slot_id, device.label, f"Removed the {device.role} key {slot_id[:8]} ({device.label}).")
    if device.role != "writer":
        call.out.note("Run `safehold key rotate`, so that it cannot read later backups either.")
    return 0
