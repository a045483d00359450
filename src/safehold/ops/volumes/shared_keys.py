"""Config and keys are the same on all drives of a set: what an owner changed reaches each drive when it appears.

Key objects are created and never changed, and a slot that was removed has a retirement that says so; hence bringing two places
together is to give each what it lacks, but for the slots that are retired.  Only what the admin key signed is passed on.
"""

from __future__ import annotations

from contextlib import suppress

from safehold.core.errors import DamageError, ObjectExists, ObjectMissing, StoreError
from safehold.core.events import Reporter, Warn, silent
from safehold.repo import config
from safehold.repo.keys.format import FOLDER, check_signature, slot_key
from safehold.repo.keys.keyring import Keyring
from safehold.repo.keys.survey import read_objects, sift
from safehold.storage.store import Store


def give_all(source: Store, target: Store) -> None:
    """Make a store a repository of the same config and keys; the config comes last, as it makes it one."""
    for info in source.list(FOLDER):
        _put(target, info.key, source.get(info.key))
    for key in config.KEYS:
        with suppress(ObjectMissing):
            _put(target, key, source.get(key))


def bring_together(mine: Store, theirs: Store, keyring: Keyring, report: Reporter, title: str) -> bool:
    """Give each of two stores the key objects that it lacks; whether ``mine`` has others now."""
    a, b = _signed(mine, keyring), _signed(theirs, keyring)
    both = read_objects(mine, keyring.repository_id, silent) + read_objects(theirs, keyring.repository_id, silent)
    gone = sift(both, keyring.repository_id, keyring.admin_public, silent).retired_ids
    dropped = {slot_key(slot) for slot in gone}
    for key in sorted(a.keys() & b.keys()):
        if a[key] != b[key]:
            message = f"{title} has another {key} than the other drives: keys were changed in two places at once."
            hint = "Run `safehold key rotate` once more, with every drive plugged in; data of both can still be read."
            report(Warn(code="keys-differ", message=message, path=key, hint=hint))
    changed = False
    for key in sorted(b.keys() - a.keys() - dropped):
        changed = _put(mine, key, b[key]) or changed
    for key in sorted(a.keys() - b.keys() - dropped):
        _put(theirs, key, a[key])
    for key in sorted(dropped & a.keys()):
        mine.delete(key)
        changed = True
    for key in sorted(dropped & b.keys()):
        theirs.delete(key)
    return changed


def require_same_config(mine: Store, theirs: Store, title: str) -> None:
    """Raise ``StoreError`` where a drive holds another repository than the set's."""
    one, other = config.read(mine).config, config.read(theirs).config
    if one.id != other.id:
        raise StoreError(
            f"{title} holds another repository ({other.id[:8]}) than its set ({one.id[:8]}).",
            "It was set up anew by somebody else; `safehold volumes label --retired` takes it out of the set.",
        )


def _signed(store: Store, keyring: Keyring) -> dict[str, bytes]:
    """The key objects that an owner signed, as they are stored."""
    found = {}
    for item in read_objects(store, keyring.repository_id, silent):
        with suppress(DamageError, ObjectMissing):
            check_signature(item, keyring.repository_id, keyring.admin_public)
            found[item.key] = store.get(item.key)
    return found


def _put(store: Store, key: str, data: bytes) -> bool:
    try:
        store.put(key, data)
    except ObjectExists:
        return False
    return True
