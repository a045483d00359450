"""Resume: whole packs that an interrupted backup stored and did not get to index are found and used.

Only packs signed by a device whose word counts here (``Seals.trusts``), and only after every byte was held against the pack's
name, its signed footer and the digests in it: a footer can be carried over into a pack with other tables, and then the index
would say that chunks are stored which are not.  So a pack is read as a whole, which costs no more than sending it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from blake3 import blake3

from safehold.core.errors import DamageError, FormatError, StoreError
from safehold.core.events import Note
from safehold.core.pools import Pool
from safehold.repo import packs, shards
from safehold.repo.packs import HEADER, PackRecord
from safehold.repo.repository import Repository
from safehold.repo.segments import open_table

THREADS = 2
MOST = 256 * 1024 * 1024
"""Larger packs than any program makes are left alone."""


def adopt(repository: Repository) -> int:
    """Index the packs that are stored, in no index, and not condemned; how many that were.

    Costs one listing when there are none.  A pack that is not as it should be is left for ``check``.  Another backup that is
    running may have stored it: then both index it, which does no harm.
    """
    index = repository.index
    known = index.packs().keys() | index.avoid
    found = [(info.key, info.size) for info in repository.store.list("packs/")]
    waiting = [(key, size) for key, size in found if size <= MOST and packs.id_of(key) not in known]
    records = list(_records(repository, [key for key, _ in waiting if packs.id_of(key)]))
    for start in range(0, len(records), _per_shard(records)):
        index.publish(shards.encode(records[start : start + _per_shard(records)]))
    if records:
        size = sum(record.size for record in records)
        repository.report(Note(message=f"Found {len(records)} packs ({size:,} bytes) of an interrupted backup; they are used."))
    return len(records)


def _records(repository: Repository, keys: list[str]) -> Iterator[PackRecord]:
    with Pool(THREADS, "adopt") as pool:
        for start in range(0, len(keys), 2 * THREADS):
            for record in pool.map(lambda key: _record(repository, key), keys[start : start + 2 * THREADS]):
                if record is not None:
                    yield record


def _record(repository: Repository, key: str) -> PackRecord | None:
    try:
        data = repository.store.get(key)
        return verified(repository, key, data)
    except DamageError:
        return None
    except StoreError as error:
        if error.retryable:
            raise
        return None


def verified(repository: Repository, key: str, data: bytes) -> PackRecord | None:
    """What a pack holds, proven against its name, signature and digests; None if its signer's word does not count here.

    Raises ``DamageError``.
    """
    seals = repository.seals
    if hashlib.sha256(data).digest() != packs.id_of(key):
        raise DamageError(f"The bytes of pack {key} do not match its name.")
    tail = packs.parse_tail(key, data[: HEADER.size], data, len(data))
    if not seals.trusts(tail.signer):
        return None
    seals.verify("pack", tail.signer, tail.encoded, tail.signature)
    chunks = []
    for ref in tail.footer.segments:
        body = memoryview(data)[ref.offset : ref.offset + ref.length]
        table = data[ref.table_offset : ref.table_offset + ref.table_length]
        if blake3(body).update(table).digest() != ref.digest:
            raise FormatError(f"A segment of pack {key} does not have the digest that its footer says.")
        chunks.append(open_table(seals, tail.kind, ref.id, table))
    return PackRecord(hashlib.sha256(data).digest(), tail.kind, len(data), tail.footer, chunks)


def _per_shard(records: list[PackRecord]) -> int:
    """So many packs go into one shard that it stays below the most it may list."""
    most = max((sum(map(len, record.chunks)) for record in records), default=1)
    return max(1, shards.MOST_CHUNKS // max(1, most))
