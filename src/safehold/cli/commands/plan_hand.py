"""Hand plans of this machine to a device, over an online server.

It runs them from then on, in the place of those that it was handed before; without a NAME all are taken back.  Only an owner's
key can, and the device has to allow it: `safehold device allow-plans`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[NAME...] --to DEVICE"
EXAMPLES = ("safehold plan hand office --to annas-laptop", "safehold plan hand --to annas-laptop")
STATUSES = (13, 14)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help="plans of this machine; all that the device is to have from elsewhere"
    )
    parser.add_argument("--to", metavar="DEVICE", required=True, help="the device, by its name or id (safehold device list)")
    parser.add_argument("--key", metavar="ID", default="", help="the device's key, where its label is not the device's name")


def run(call: Call) -> int:
    """Hand them out."""
    from base64 import b64encode

    from safehold.cli.key_slots import chosen
    from safehold.cli.plans import files_of
    from safehold.codec.plan_letter import Receiver, make_letter
    from safehold.jobs.handed import expected_seconds, to_hand

    values = call.values
    found = [files_of(call).find(name) for name in values.names]
    plans = {each.name: to_hand(each.path, each.path.read_text("utf-8")) for each in found}
    every = [seconds for each in found if (seconds := expected_seconds(each.use())) is not None]
    address, api = call.online()
    device = _device(api.call("GET", f"{address.base}/devices", dict[str, list[dict[str, Any]]])["devices"], values.to)
    repository = call.repository()
    repository.require_owner("hand out plans")
    keyring, slot = repository.keyring, chosen(repository, values.key or device["name"])
    now = call.clock.now_ns()
    to = Receiver(repository.id, slot.slot_id, slot.exchange, keyring.epoch, keyring.epoch_public)
    letter = make_letter(to, keyring.admin_private(), plans, now)
    place = f"{address.base}/devices/{device['id']}"
    api.tell("PUT", f"{place}/plan", {"letter": b64encode(letter).decode()})
    if every:
        api.tell("PATCH", place, {"every_seconds": min(every)})
    what = " and ".join(plans) or "no plan any more"
    text = f"Handed to {device['name']}: {what}. It takes it when its agent looks, if it allows plans."
    call.out.result(text, {"event": "plan-hand", "device": device["id"], "plans": list(plans)})
    return 0


def _device(devices: list[dict[str, Any]], wanted: str) -> dict[str, Any]:
    in_use = [each for each in devices if not each["revoked"]]
    found = [each for each in in_use if each["name"] == wanted] or [
        each for each in in_use if len(wanted) >= 4 and each["id"].startswith(wanted)
    ]
    if len(found) != 1:
        what = f"{len(found)} devices are called {wanted}" if found else f"No device is called {wanted}, by name or id"
        raise UsageError(f"{what}.", "`safehold device list` shows them.")
    return found[0]
