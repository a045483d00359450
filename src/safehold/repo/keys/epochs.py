"""The read key pairs, numbered from 1: which is newest, and which of them a slot can read with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from safehold.codec.sealing import exchange_public, unwrap_key
from safehold.core.errors import DamageError
from safehold.core.events import Reporter, Warn
from safehold.repo.keys.format import EpochBody, SlotSecrets, epoch_key


@dataclass(frozen=True, slots=True)
class ReadKeys:
    """What a slot knows of the epochs."""

    newest: int
    public: bytes
    privates: Mapping[int, bytes] = field(repr=False)


def slot_context(number: int, slot_id: bytes) -> bytes:
    """What an epoch's private key is bound to when it is wrapped for a slot."""
    return number.to_bytes(4, "big") + slot_id


def previous_context(number: int) -> bytes:
    """What the private key of epoch ``number - 1`` is bound to when epoch ``number`` carries it."""
    return number.to_bytes(4, "big")


def read_keys(
    repository_id: bytes, slot_id: bytes, secrets: SlotSecrets, epochs: Mapping[int, EpochBody], report: Reporter
) -> ReadKeys:
    """Join what the slot was given with the epoch objects made since.  What is missing or damaged is reported."""
    _report_gaps(secrets, epochs, report)
    newest = max([secrets.epoch, *epochs])
    public = secrets.epoch_public if newest == secrets.epoch else epochs[newest].public
    privates = dict(secrets.epoch_privates)
    if privates:
        _unwrap(_Unwrapping(repository_id, slot_id, secrets.exchange_private), privates, epochs, report)
        if newest not in privates:
            message = f"Epoch {newest} of the read key was not made for this key slot: it can't read new snapshots."
            report(Warn(code="epoch-locked", message=message, hint="Have an owner run `safehold key rotate`."))
    return ReadKeys(newest, public, privates)


def _report_gaps(secrets: SlotSecrets, epochs: Mapping[int, EpochBody], report: Reporter) -> None:
    publics = {number: epoch.public for number, epoch in epochs.items()}
    publics.setdefault(secrets.epoch, secrets.epoch_public)
    for number in range(2, max(publics) + 1):
        key = epoch_key(number)
        if number not in epochs:
            report(Warn(code="epoch-missing", message=f"{key} is missing or damaged.", path=key))
        elif publics.get(number - 1, epochs[number].previous_public) != epochs[number].previous_public:
            message = f"{key} does not follow the epoch before it."
            report(Warn(code="epoch-chain", message=message, path=key, hint="Run `safehold check`."))


@dataclass(frozen=True, slots=True)
class _Unwrapping:
    repository_id: bytes
    slot_id: bytes
    exchange_private: bytes = field(repr=False)

    def own(self, epoch: EpochBody) -> bytes | None:
        """This slot's copy of the epoch's private key, if there is one."""
        for each in epoch.wrapped:
            if each.slot_id == self.slot_id:
                context = slot_context(epoch.number, self.slot_id)
                return _matching(unwrap_key(self.exchange_private, "epoch", self.repository_id, context, each.key), epoch.public)
        return None

    def previous(self, epoch: EpochBody, private: bytes) -> bytes:
        """The private key of the epoch before, which the epoch's own opens."""
        context = previous_context(epoch.number)
        return _matching(
            unwrap_key(private, "previous-epoch", self.repository_id, context, epoch.previous_private),
            epoch.previous_public,
        )


def _matching(private: bytes, public: bytes) -> bytes:
    if exchange_public(private) != public:
        raise DamageError("A wrapped epoch key does not belong to the epoch's public key.", "Run `safehold check`.")
    return private


def _unwrap(unwrapping: _Unwrapping, privates: dict[int, bytes], epochs: Mapping[int, EpochBody], report: Reporter) -> None:
    for number in sorted(epochs, reverse=True):
        epoch = epochs[number]
        try:
            own = privates.get(number) or unwrapping.own(epoch)
            if own is not None:
                privates[number] = own
                if number - 1 not in privates:
                    privates[number - 1] = unwrapping.previous(epoch, own)
        except DamageError as error:
            report(Warn(code="epoch-locked", message=str(error), path=epoch_key(number), hint=error.hint))
