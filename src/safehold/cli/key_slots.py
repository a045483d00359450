"""What the ``key`` commands share: naming a slot, and making a new one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from safehold.cli import credentials
from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.codec.keyfile import KeyFile
    from safehold.repo.keys.format import Role
    from safehold.repo.keys.keyring import Device
    from safehold.repo.keys.unlock import Credential
    from safehold.repo.repository import Repository

ROLES = ("owner", "reader", "writer")
ID_DIGITS = 8


def slots(repository: Repository) -> list[Device]:
    """Every slot there is or was."""
    from safehold.repo.keys.admin import list_slots

    return list_slots(repository.store, repository.keyring, report=repository.report)


def chosen(repository: Repository, text: str) -> Device:
    """The slot in use with that id, beginning of an id, or label.  Raises ``UsageError``."""
    in_use = [device for device in slots(repository) if device.retired_ns is None]
    found = [device for device in in_use if device.label == text]
    if not found and len(text) >= 4:
        found = [device for device in in_use if device.slot_id.hex().startswith(text.lower())]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} keys are called `{text}`" if found else f"No key in use is called `{text}`, by id or label"
    raise UsageError(f"{what}.", "`safehold key list` shows them.")


def add(call: Call, repository: Repository, role: Role, credential: Credential, label: str) -> str:
    """Store a new slot; its id in hex.  Raises ``NotPermitted``."""
    from safehold.repo.keys.admin import add_slot

    slot_id = add_slot(repository.store, repository.keyring, role, credential, label, clock=call.clock, report=call.out.report)
    return slot_id.hex()


def add_key_file(call: Call, repository: Repository, role: Role, name: str, label: str) -> str:
    """Make a key file and its slot; the slot's id in hex.  The file is written first: a slot without its file is lost."""
    from safehold.codec.keyfile import KeyFile

    repository.require_owner("add keys")
    key: KeyFile = KeyFile.new(repository.id, os.urandom)
    credentials.write_key_file(name, key)
    try:
        return add(call, repository, role, key, label)
    except BaseException:
        os.unlink(os.path.expanduser(name))  # it would open nothing
        raise


def tell(call: Call, what: str, role: Role, slot_id: str, label: str, text: str) -> None:
    """The result of making a slot."""
    value = {"event": what, "id": slot_id, "role": role, "label": label}
    call.out.result(text, value)
