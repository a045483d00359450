"""Opening a repository's keys with what a person holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class _Attempt:
    """What became of the slots that a credential might open."""

    repository_id: bytes
    unlocker: Unlocker
    opened_badly: list[SafeholdError] = field(default_factory=list)
    """The key was right, the slot is damaged or was removed."""
    untried: list[SafeholdError] = field(default_factory=list)
    """The slot asks for a derivation that is not allowed, or that this machine can't do."""
    others: int = 0
    """The key was not theirs."""

    def openings(self, objects: list[KeyObject]) -> Iterator[_Opened]:
        """Every slot that opens, in turn."""
        for item in objects:
            if isinstance(item.body, SlotBody):
                clear = decode(item.body.clear, SlotClear, item.key)
                if self.unlocker.fits(clear) and self._can_try(clear):
                    yield from self._open(item, item.body, clear)

    def _can_try(self, clear: SlotClear) -> bool:
        try:
            self.unlocker.slot_key(clear.slot_id, clear.method)
        except SafeholdError as error:
            self.untried.append(error)
            return False
        return True

    def _open(self, item: KeyObject, body: SlotBody, clear: SlotClear) -> Iterator[_Opened]:
        try:
            secrets = self.unlocker.open(body)
            if secrets is None:
                self.others += 1
                return
            check_signature(item, self.repository_id, secrets.admin_public)
        except DamageError as error:
            self.opened_badly.append(error)
        else:
            yield _Opened(clear, secrets)

    def failure(self, objects: list[KeyObject]) -> SafeholdError:
        """The error that says most about why nothing opened."""
        if self.opened_badly:
            return self.opened_badly[0]
        if self.untried and not self.others:
            return self.untried[0]
        if not any(isinstance(item.body, SlotBody) for item in objects):
            hint = "They are damaged or deleted; bring the objects below keys/ back from another copy of the store."
            return DamageError("The repository has no usable key slot.", hint)
        return WrongKey("No key slot of this repository opens with that key.", "Check what you typed, or use another key.")


def open_keyring(
    store: Store, repository_id: bytes, credential: Credential, *, seen: Seen = NOTHING_SEEN, report: Reporter = silent
) -> Keyring:
    """Open the slot that ``credential`` fits.

    ``seen`` is what this machine remembers (``Keyring.seen``).  Objects damaged or not signed by an owner are reported
    and ignored.  Raises ``WrongKey`` where no slot opens or the one that does was removed, ``DamageError`` where the
    slots that could have opened are damaged, ``FormatError`` where they ask for a forbidden derivation, ``RolledBack``.
    """
    if isinstance(credential, KeyFile) and credential.repository_id != repository_id:
        raise WrongKey("The key file belongs to another repository.", "Use the key file made for this one.")
    objects = read_objects(store, repository_id, report)
    attempt = _Attempt(repository_id, Unlocker(repository_id, credential))
    for opened in attempt.openings(objects):
        survey = sift(objects, repository_id, opened.secrets.admin_public, report)
        try:
            return assemble(repository_id, opened.clear, opened.secrets, survey, seen=seen, report=report)
        except WrongKey as error:
            attempt.opened_badly.append(error)  # the same passphrase may open a slot that was not removed
    raise attempt.failure(objects)


def refresh(store: Store, keyring: Keyring, report: Reporter = silent) -> Keyring:
    """The same slot with what was changed since.  Raises ``WrongKey`` if it was removed, ``RolledBack``."""
    objects = read_objects(store, keyring.repository_id, report)
    survey = sift(objects, keyring.repository_id, keyring.admin_public, report)
    return keyring.updated(survey, report)
