"""List who and what can open the repository; with --all also keys that were removed.

An owner may do everything, a reader back up and restore, a writer only add backups."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.repo.keys.keyring import Device

USAGE = "[options]"
EXAMPLES = ("safehold key list", "safehold key list --all --json")
STATUSES: tuple[int, ...] = ()


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("--all", action="store_true", help="removed keys, too")


def run(call: Call) -> int:
    """List them."""
    from safehold.cli.key_slots import ID_DIGITS, slots
    from safehold.cli.render import words

    repository = call.repository()
    own = repository.keyring.slot_id
    found = [device for device in slots(repository) if call.values.all or device.retired_ns is None]
    if call.out.as_json:
        call.out.result("", {"keys": [_value(device, own) for device in found]})
        return 0
    rows = [["ID", "Role", "Opened by", "Made", "Label", ""]]
    for device in found:
        made = words.moment(device.created_ns) if device.created_ns else ""
        state = "the one in use" if device.slot_id == own else "removed" if device.retired_ns is not None else ""
        label = words.printable(device.label)
        rows.append([device.slot_id.hex()[:ID_DIGITS], device.role, device.method, made, label, state])
    call.out.result("\n".join(words.table(rows)))
    return 0


def _value(device: Device, own: bytes) -> dict[str, object]:
    from safehold.cli.render import words

    return {
        "id": device.slot_id.hex(),
        "role": device.role,
        "label": device.label,
        "method": device.method,
        "created": words.iso(device.created_ns) if device.created_ns else None,
        "removed": None if device.retired_ns is None else words.iso(device.retired_ns) if device.retired_ns else "",
        "own": device.slot_id == own,
    }
