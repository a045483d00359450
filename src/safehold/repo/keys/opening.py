"""Opening a repository's keys with what a person holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from safehold.codec.keyfile import KeyFile
from safehold.core.errors import DamageError, SafeholdError, WrongKey
from safehold.core.events import Reporter, silent
from safehold.repo.keys.format import KeyObject, SlotBody, SlotClear, SlotSecrets, check_signature, decode
from safehold.repo.keys.keyring import NOTHING_SEEN, Keyring, Seen, assemble
from safehold.repo.keys.survey import read_objects, sift
from safehold.repo.keys.unlock import Credential, Unlocker
from safehold.storage.store import Store


class _Opened(NamedTuple):
    clear: SlotClear
    secrets: SlotSecrets


def open_keyring(
    store: Store, repository_id: bytes, credential: Credential, *, seen: Seen = NOTHING_SEEN, report: Reporter = silent
) -> Keyring:
    """Open the slot that ``credential`` fits.

    ``seen`` is what this machine remembers (``Keyring.seen``).  Objects damaged or not signed by an owner are
    reported and ignored.  Raises ``WrongKey`` where no slot opens or the one that does was removed, ``DamageError``
    where the slots that could have opened are damaged, ``FormatError`` where they ask for a forbidden derivation,
    ``RolledBack``.
    """
    if isinstance(credential, KeyFile) and credential.repository_id != repository_id:
        raise WrongKey("The key file belongs to another repository.", "Use the key file made for this one.")
    objects = read_objects(store, repository_id, report)
    refusals: list[SafeholdError] = []
    for opened in _openings(objects, Unlocker(repository_id, credential), repository_id, refusals):
        survey = sift(objects, repository_id, opened.secrets.admin_public, report)
        try:
            return assemble(repository_id, opened.clear, opened.secrets, survey, seen=seen, report=report)
        except WrongKey as error:
            refusals.append(error)  # the same passphrase may open a slot that was not removed
    raise refusals[0] if refusals else _nothing_opens(objects)


def _openings(
    objects: list[KeyObject], unlocker: Unlocker, repository_id: bytes, refusals: list[SafeholdError]
) -> Iterator[_Opened]:
    for item in objects:
        if not isinstance(item.body, SlotBody):
            continue
        clear = decode(item.body.clear, SlotClear, item.key)
        if not unlocker.fits(clear):
            continue
        try:
            secrets = unlocker.open(item.body)
            if secrets is not None:
                check_signature(item, repository_id, secrets.admin_public)
                yield _Opened(clear, secrets)
        except DamageError as error:
            refusals.append(error)


def _nothing_opens(objects: list[KeyObject]) -> SafeholdError:
    if not any(isinstance(item.body, SlotBody) for item in objects):
        hint = "They are damaged or deleted; bring the objects below keys/ back from another copy of the store."
        return DamageError("The repository has no usable key slot.", hint)
    return WrongKey("No key slot of this repository opens with that key.", "Check what you typed, or use another key.")


def refresh(store: Store, keyring: Keyring, report: Reporter = silent) -> Keyring:
    """The same slot with what was changed since.  Raises ``WrongKey`` if it was removed, ``RolledBack``."""
    objects = read_objects(store, keyring.repository_id, report)
    survey = sift(objects, keyring.repository_id, keyring.admin_public, report)
    return keyring.updated(survey, report)
