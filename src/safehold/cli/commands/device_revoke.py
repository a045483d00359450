"""Shut a device out of an online repository: its token is good no more.  What it stored stays.

If it had a key that reads, remove that, too (`safehold key remove`), and rotate (`safehold key rotate`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "DEVICE [options]"
EXAMPLES = ("safehold -r https://backup.example.org/anna/home device revoke laptop",)
STATUSES = (13, 14)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("device", metavar="DEVICE", help="its name, or the beginning of its id")


def run(call: Call) -> int:
    """Shut it out."""
    address, api = call.online()
    every: list[dict[str, Any]] = api.call("GET", f"{address.base}/devices", dict[str, list[dict[str, Any]]])["devices"]
    wanted = call.values.device
    found = [d for d in every if not d["revoked"] and (d["name"] == wanted or (len(wanted) >= 4 and d["id"].startswith(wanted)))]
    if len(found) != 1:
        what = f"{len(found)} devices are called `{wanted}`" if found else f"No device is called `{wanted}`, by id or name"
        raise UsageError(f"{what}.", "`safehold device list` shows them.")
    api.tell("DELETE", f"{address.base}/devices/{found[0]['id']}")
    text = f"Shut out {found[0]['name']}."
    call.out.result(text, {"event": "device-revoke", "device": found[0]["id"], "name": found[0]["name"]})
    return 0
