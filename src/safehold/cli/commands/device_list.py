"""List the devices of an online repository, and how the last backup of each went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[options]"
EXAMPLES = ("safehold -r https://backup.example.org/anna/home device list",)
STATUSES = (13, 14)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""


def run(call: Call) -> int:
    """List them."""
    from safehold.cli.render import words

    address, api = call.online()
    found: list[dict[str, Any]] = api.call("GET", f"{address.base}/devices", dict[str, list[dict[str, Any]]])["devices"]
    if call.out.as_json:
        call.out.result("", {"devices": found})
        return 0
    rows = [["ID", "Name", "Last seen", "Last backup", "How it went"]]
    for device in found:
        last = max(device["sources"], key=lambda report: report["received_ns"], default=None)
        state = "shut out" if device["revoked"] else last["status"] if last else "no backup yet"
        when = words.moment(last["received_ns"]) if last else ""
        rows.append([device["id"][:8], words.printable(device["name"]), words.moment(device["seen_ns"]), when, state])
    call.out.result("\n".join(words.table(rows)) if found else "No device was admitted yet.")
    return 0
