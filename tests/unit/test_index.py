"""Looking chunks up over many shards."""

import os
from pathlib import Path

from safehold.repo import index as index_module
from safehold.repo import shards
from safehold.repo.packs import Footer, PackRecord, SegmentRef
from safehold.repo.repository import Repository
from safehold.testing.builders import Household
from safehold.testing.stores import MemoryStore


def _publish(repository: Repository, names: list[bytes]) -> bytes:
    """A shard of one pack with these chunks; the pack's id."""
    session = repository.seals.new_session().ref
    pack_id = os.urandom(32)
    segment = SegmentRef(os.urandom(16), 0, 16, 100, 116, 10, bytes(32))
    record = PackRecord(pack_id, 1, 1000, Footer([session], [segment]), [[(name, 8) for name in names]])
    repository.index.publish(shards.encode([record]))
    return pack_id


def test_every_chunk_is_found_among_many_small_shards_and_a_large_one(tmp_path: Path) -> None:
    house = Household(MemoryStore(), tmp_path)
    writer = house.open()
    small = [[os.urandom(24) for _ in range(3)] for _ in range(20)]
    small[7].append(small[3][0])  # the same chunk twice
    same_prefix = small[5][0][:8] + os.urandom(16)
    large = [os.urandom(24) for _ in range(index_module.SMALL + 1)]
    packs = {name: _publish(writer, names) for names in [*small, large] for name in names[:1]}
    for repository in (writer, house.open()):
        for names in [*small, large[:50]]:
            assert all(repository.index.has(name) and repository.index.find(name) is not None for name in names)
        place = repository.index.find(small[4][0])
        assert place is not None and place.segment.pack == packs[small[4][0]]
        assert len(list(repository.index.find_all(small[3][0]))) == 2
        assert not repository.index.has(os.urandom(24)) and not repository.index.has(same_prefix)
        repository.index.avoid = frozenset([packs[small[4][0]]])
        assert not repository.index.has(small[4][0]) and repository.index.has(small[6][0])


def test_a_shard_published_later_is_found_at_once(tmp_path: Path) -> None:
    repository = Household(MemoryStore(), tmp_path).open()
    for _ in range(index_module.FILTERED_FROM + 2):
        name = os.urandom(24)
        assert not repository.index.has(name)
        _publish(repository, [name])
        assert repository.index.has(name)
