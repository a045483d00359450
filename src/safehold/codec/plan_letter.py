"""Plans that an owner hands to a device, past a server that is not trusted.  ``docs/format/plans.md``."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from safehold.codec.sealing import SIGNATURE_SIZE, domain, open_sealed_to, seal_to, sign, verify
from safehold.core.errors import FormatError

MOST_BYTES = 44 << 10
MOST_PLANS = 50

_Id = Annotated[bytes, Meta(min_length=16, max_length=16)]


class Letter(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """The plans of one device, all of them: one that is not in the letter is taken back."""

    slot: _Id
    made_ns: Annotated[int, Meta(ge=0)]
    sealed: bytes
    epoch: Annotated[int, Meta(ge=0)]
    copy: bytes


class Receiver(msgspec.Struct, frozen=True):
    """For whom a letter is, and by which key readers are told."""

    repository: bytes
    slot: bytes
    public: bytes
    """The slot's X25519 key."""
    epoch: int
    epoch_public: bytes


def make_letter(to: Receiver, admin_private: bytes, plans: dict[str, str], now_ns: int) -> bytes:
    """``plans``: name -> text.  Raises ``FormatError`` where it is too much."""
    message = msgspec.msgpack.encode(plans)
    sealed = seal_to(to.public, _info("plans", to.repository, to.slot, now_ns), message)
    copy = seal_to(to.epoch_public, _info("plans-copy", to.repository, to.slot, now_ns), message)
    body = msgspec.msgpack.encode(Letter(to.slot, now_ns, sealed, to.epoch, copy))
    if len(body) + SIGNATURE_SIZE > MOST_BYTES or len(plans) > MOST_PLANS:
        raise FormatError(f"That is too much for one device: {MOST_PLANS} plans, {MOST_BYTES} bytes.", "Leave some out.")
    return body + sign(admin_private, "plans", to.repository, body)


def open_letter(repository: bytes, slot: bytes, private: bytes, admin_public: bytes, data: bytes) -> tuple[int, dict[str, str]]:
    """When it was made, and the plans.  Raises ``DamageError`` where no owner signed these bytes, or they are for another."""
    if not SIGNATURE_SIZE < len(data) <= MOST_BYTES:
        raise FormatError("The plans that were handed out have a length that none have.", "Hand them out again.")
    body = data[:-SIGNATURE_SIZE]
    verify(admin_public, "plans", repository, body, data[-SIGNATURE_SIZE:], what="plans that were handed out")
    try:
        letter = msgspec.msgpack.decode(body, type=Letter)
        if letter.slot != slot:
            raise FormatError("The plans that were handed out are for another device.", "Hand them out again.")
        message = open_sealed_to(private, _info("plans", repository, slot, letter.made_ns), letter.sealed)
        return letter.made_ns, msgspec.msgpack.decode(message, type=dict[str, str])
    except (ValueError, RecursionError) as error:
        raise FormatError(f"The plans that were handed out do not follow the format: {error}.", "Hand them out again.") from None


def _info(kind: str, repository: bytes, slot: bytes, made_ns: int) -> bytes:
    return domain(kind, repository) + slot + made_ns.to_bytes(8, "big")
