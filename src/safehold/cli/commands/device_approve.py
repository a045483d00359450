"""Admit a device that asks for it, by the six words that it shows.

It gets a token of its own, and, if your key is the owner's, a key: a writer's, with which it adds backups and reads none, or with
--role reader one that reads. The words prove that the server has not put another device in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import StoreRefused, UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "WORDS [options]"
EXAMPLES = ("safehold -r https://backup.example.org/anna/home device approve acid-bench-corn-dust-echo-fuel",)
STATUSES = (13, 14)
_SCOPES = {"writer": "write", "reader": "read+write", "owner": "admin"}


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("words", metavar="WORDS", nargs="+", help="the six words, as the device shows them")
    add("--role", choices=tuple(_SCOPES), default="writer", help="what it may do (writer)")
    add("--no-key", action="store_true", help="give it no key of the repository: it has one already")


def run(call: Call) -> int:
    """Admit it."""
    import base64

    import msgspec

    from safehold.codec import admission

    address, api = call.online()
    typed = admission.normal(" ".join(call.values.words))
    if len(typed.split("-")) != admission.WORDS:
        raise UsageError(f"A device shows {admission.WORDS} words, and these are {len(typed.split('-'))}.", "Type all of them.")

    class Asking(msgspec.Struct):
        id: str
        name: str
        system: str
        exchange_public: bytes
        signing_public: bytes

    found = api.call("GET", f"/api/v1/enrolments?words={typed}", dict[str, list[Asking]])["enrolments"]
    if not found:
        raise UsageError("No device shows these words just now.", "They hold for 15 minutes; look at them again.")
    asking = found[0]
    if admission.joined(admission.words(asking.exchange_public, asking.signing_public, asking.id)) != typed:
        raise StoreRefused("The server put another device in the place of that one.", "Do not admit it; ask who runs the server.")
    key = b"" if call.values.no_key else _key_for(call, asking.name, asking.exchange_public, asking.id)
    value = {
        "repository": f"{address.account}/{address.name}",
        "scope": _SCOPES[call.values.role],
        "key_sealed": base64.b64encode(key).decode(),
    }
    made = api.call("POST", f"/api/v1/enrolments/{asking.id}/approve", dict[str, str], value)
    call.out.result(
        f"Admitted {asking.name} ({asking.system}) as a {call.values.role}.",
        {"event": "device-approve", "device": made["device"], "name": asking.name, "role": call.values.role},
    )
    return 0


def _key_for(call: Call, name: str, public: bytes, enrolment: str) -> bytes:
    """A key file of the repository, made for the device and sealed to it."""
    import os

    from safehold.cli import key_slots
    from safehold.codec import admission
    from safehold.codec.keyfile import KeyFile
    from safehold.codec.sealing import seal_to

    repository = call.repository()
    repository.require_owner("make keys for devices")
    key = KeyFile.new(repository.id, os.urandom)
    key_slots.add(call, repository, call.values.role, key, name[:200])
    return seal_to(public, admission.INFO + enrolment.encode(), key.text().encode())
