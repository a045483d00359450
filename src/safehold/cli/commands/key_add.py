"""Add a passphrase, or a key file, that opens the repository too.  Only the owner may.

The new passphrase is asked for twice, or read from --new-password-file or SAFEHOLD_NEW_PASSWORD.  To change a passphrase, add
the new one and remove the old."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.repo.repository import Repository

USAGE = "[options]"
EXAMPLES = ("safehold key add --label 'Ann'", "safehold key add --role reader --new-key-file ann.key --label 'Ann, to restore'")
STATUSES = (13, 15)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    from safehold.cli.key_slots import ROLES

    parser.add_argument("--role", choices=ROLES, default="owner", help="what it may do (default: owner)")
    parser.add_argument("--label", metavar="TEXT", default="", help="whose or what it is")
    parser.add_argument("--new-password-file", metavar="F", default="", help="read the new passphrase from this file")
    parser.add_argument("--new-key-file", metavar="F", default="", help="make this key file instead of a passphrase")


def run(call: Call) -> int:
    """Add it."""
    from safehold.cli import key_slots

    values = call.values
    if values.new_password_file and values.new_key_file:
        raise UsageError("--new-password-file and --new-key-file are two different keys.", "Add them one after the other.")
    repository = call.repository()
    label = values.label or f"{values.role}"
    if values.new_key_file:
        slot_id = key_slots.add_key_file(call, repository, values.role, values.new_key_file, label)
    else:
        slot_id = _passphrase(call, repository, label)
    key_slots.tell(call, "key-add", values.role, slot_id, label, f"Added the {values.role} key {slot_id[:8]} ({label}).")
    return 0


def _passphrase(call: Call, repository: Repository, label: str) -> str:
    from safehold.cli import credentials, key_slots

    repository.require_owner("add keys")
    values = call.values
    if values.new_password_file:
        text = credentials.read_password_file(values.new_password_file)
    elif "SAFEHOLD_NEW_PASSWORD" in call.environ:
        text = call.environ["SAFEHOLD_NEW_PASSWORD"]
    else:
        text = credentials.ask(call.place.location, twice=True)
    return key_slots.add(call, repository, values.role, credentials.passphrase(text), label)
