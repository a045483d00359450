"""A restore that an owner orders from a device: the device's offer, the job, and its report.  ``docs/format/jobs.md``.

An owner makes jobs in the browser (``format/jobs.js`` of the pages); devices make offers and reports, and open jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from safehold.codec.sealing import KEY_SIZE, SIGNATURE_SIZE, domain, open_sealed_to, seal_to, sign, verify
from safehold.core.errors import FormatError, NotPermitted

MOST_BYTES = 64 << 10
MOST_PATHS = 1000
LONGEST_NS = 30 * 86400 * 10**9

_Id = Annotated[bytes, Meta(min_length=16, max_length=16)]
_Key = Annotated[bytes, Meta(min_length=KEY_SIZE, max_length=KEY_SIZE)]
_Count = Annotated[int, Meta(ge=0)]


class _Written(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    pass


class Offer(_Written, frozen=True):
    """That a device takes jobs."""

    slot: _Id
    device: str
    public: _Key
    made_ns: _Count
    epoch: _Count
    sealed: bytes


class Header(_Written, frozen=True):
    """For whom a job is, and until when."""

    id: _Id
    slot: _Id
    public: _Key
    created_ns: _Count
    expires_ns: _Count
    epoch: _Count


class Job(_Written, frozen=True):
    """A job as it is handed on."""

    header: bytes
    sealed: bytes
    copy: bytes


class Order(_Written, frozen=True):
    """What is to be restored, and where to."""

    snapshot: str
    paths: Annotated[list[bytes], Meta(max_length=MOST_PATHS)]
    into: str


class Report(_Written, frozen=True):
    """What became of a job."""

    id: _Id
    made_ns: _Count
    state: str
    epoch: _Count
    sealed: bytes


class Outcome(_Written, frozen=True):
    """The same for those who may read."""

    message: str = ""
    hint: str = ""
    folder: str = ""
    placed: int = 0
    failed: int = 0
    damaged: int = 0
    bytes: int = 0


class Reader(msgspec.Struct, frozen=True):
    """The read key that what readers are to see is sealed to."""

    epoch: int
    public: bytes


class Taker(msgspec.Struct, frozen=True):
    """A device as it takes jobs."""

    repository: bytes
    slot: bytes
    device_private: bytes
    """Ed25519, the slot's."""
    private: bytes
    """X25519, of this machine only."""
    public: bytes
    admin_public: bytes


def make_offer(taker: Taker, device: str, folders: Sequence[str], reader: Reader, now_ns: int) -> bytes:
    """What a device tells those who may order; ``device``: what the server calls it."""
    info = domain("job-folders", taker.repository) + reader.epoch.to_bytes(4, "big") + taker.public
    sealed = seal_to(reader.public, info, msgspec.msgpack.encode(list(folders)))
    return _signed(taker, "job-offer", Offer(taker.slot, device, taker.public, now_ns, reader.epoch, sealed))


def open_job(taker: Taker, id: bytes, data: bytes, now_ns: int) -> tuple[Header, Order]:
    """What an owner ordered from this device under that id.

    Raises ``DamageError`` where no owner signed these bytes or they are for another, ``NotPermitted`` where its time is over.
    """
    if not SIGNATURE_SIZE < len(data) <= MOST_BYTES:
        raise FormatError("A restore job has a length that none has.")
    body = data[:-SIGNATURE_SIZE]
    verify(taker.admin_public, "job", taker.repository, body, data[-SIGNATURE_SIZE:], what="restore job")
    job = _decode(body, Job)
    header = _decode(job.header, Header)
    if (header.id, header.slot, header.public) != (id, taker.slot, taker.public):
        raise FormatError("A restore job is for another device, or was allowed under another key.", "Order it again.")
    if now_ns >= header.expires_ns or header.expires_ns > header.created_ns + LONGEST_NS:
        raise NotPermitted("The time of this restore job is over.", "Order it again; and is this machine's clock right?")
    return header, _decode(open_sealed_to(taker.private, domain("job", taker.repository) + job.header, job.sealed), Order)


def make_report(taker: Taker, id: bytes, state: str, outcome: Outcome, reader: Reader, now_ns: int) -> bytes:
    """What a device says of a job: ``done``, ``incomplete``, ``failed`` or ``cancelled``."""
    info = domain("job-outcome", taker.repository) + reader.epoch.to_bytes(4, "big") + id
    sealed = seal_to(reader.public, info, msgspec.msgpack.encode(outcome))
    return _signed(taker, "job-report", Report(id, now_ns, state, reader.epoch, sealed))


def _signed(taker: Taker, kind: str, body: _Written) -> bytes:
    encoded = msgspec.msgpack.encode(body)
    return encoded + sign(taker.device_private, kind, taker.repository, encoded)


T = TypeVar("T", bound=_Written)


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"A restore job does not follow the format: {error}.", "Order it again.") from None
