"""Repositories made with ``pad``: the length of a chunk that lies alone does not show."""

from __future__ import annotations

import random
from pathlib import Path

from safehold.codec.compression import padme
from safehold.codec.keyfile import KeyFile
from safehold.core.clock import SystemClock
from safehold.ops.backup.options import BackupOptions
from safehold.ops.backup.run import back_up
from safehold.repo import config, repository
from safehold.testing.stores import MemoryStore

SEAL = 16
"""Bytes of an AES-GCM tag."""


def _lengths(folder: Path, *, pad: bool) -> list[tuple[int, int]]:
    """Of each segment of one large chunk: the stored length of its payload, and the chunk's length."""
    key = KeyFile.new(bytes(16), lambda n: bytes(range(n)))
    made = config.Config(id=bytes(16).hex(), pad=pad)
    owner = repository.create(MemoryStore(), key, folder / "cache", parameters=lambda _: made, clock=SystemClock())
    back_up(owner, BackupOptions(paths=[str(folder / "source")]))
    places = [place for shard in owner.index.shards for row in range(shard.chunks) for place in [shard.place(row)]]
    return [(place.segment.length - SEAL, place.length) for place in places if place.length > 100_000]


def test_a_repository_that_pads_does_so_in_backups(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "film").write_bytes(random.Random(1).randbytes(20_000_003))
    plain = _lengths(tmp_path, pad=False)
    padded = _lengths(tmp_path, pad=True)
    assert min(len(plain), len(padded)) > 1  # where the cuts are depends on the keys; no chunk has more than 8 MiB
    assert any(stored != padme(stored) for stored, _ in plain)
    assert all(stored == padme(stored) > length for stored, length in padded)
    assert sum(stored for stored, _ in padded) < 1.04 * sum(length for _, length in padded)
