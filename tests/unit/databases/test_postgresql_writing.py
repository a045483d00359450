"""The bytes of a base's files, put together from blocks, pieces of blocks and zeros."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from safehold.core.entries import FILE, Entry, More
from safehold.core.errors import DamageError
from safehold.ops.databases.postgresql.ground import Ground
from safehold.ops.databases.postgresql.writing import fill, pieces, update
from safehold.repo import contents, packs, paged
from safehold.repo.paged import BLOCK, Block, Extent
from safehold.repo.reader import ChunkReader
from safehold.repo.seals import DATA, MAP
from safehold.repo.writer import BLOCKS, PAGES
from safehold.testing.builders import Household
from safehold.testing.stores import MemoryStore

PAGE = 8192
_random = random.Random(7)


class Base:
    """A file of four blocks: one chunk, one with changed pages, one of zeros, and a short one whose digest is not known."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore()
        self.house = Household(self.store, folder / "cache")
        whole, old, last = _random.randbytes(BLOCK), _random.randbytes(BLOCK), _random.randbytes(3 * PAGE + 100)
        runs = {at * PAGE: _random.randbytes(2 * PAGE) for at in (0, 7, 60, 126)}
        changed = bytearray(old)
        for at, data in runs.items():
            changed[at : at + len(data)] = data
        changed[20 * PAGE : 30 * PAGE] = bytes(10 * PAGE)
        self.content = whole + changed + bytes(BLOCK) + last
        self.page = self._chunk(DATA, runs[7 * PAGE], PAGES)
        digest = self.reader().name(DATA, bytes(changed))
        self.old = self._chunk(DATA, old, BLOCKS)
        rest = [Extent(at, self._chunk(DATA, data, PAGES), 0, len(data)) for at, data in runs.items()]
        gaps = [(2, 7), (9, 20), (30, 60), (62, 126)]
        kept = [Extent(a * PAGE, self.old, a * PAGE, (b - a) * PAGE) for a, b in gaps]
        name = self._chunk(DATA, whole, BLOCKS)
        blocks = [Block(name, [Extent(0, name, 0, BLOCK)]), Block(digest, sorted(rest + kept, key=lambda e: e.offset)), Block()]
        blocks.append(Block(b"", [Extent(0, self._chunk(DATA, last, PAGES), 0, len(last))]))
        group = self._chunk(MAP, paged.encode_group(blocks), PAGES)
        top = self._chunk(MAP, contents.TOP_ROW.pack(group, len(self.content)), PAGES)
        self.entry = Entry(b"1259", FILE, 0o600, 0, 0, 0, 0, len(self.content), 0, b"", More(map=top, paged=PAGE))

    def _chunk(self, kind: int, data: bytes, group: int) -> bytes:
        writer = self.house.open().writer()
        name = writer.add(kind, data, group)
        writer.finish()
        return name

    def reader(self) -> ChunkReader:
        return self.house.open().reader

    def spoil(self, name: bytes) -> None:
        place = self.house.open().index.find(name)
        assert place is not None
        key = packs.key_of(place.segment.pack)
        data = bytearray(self.store.objects[key])
        data[place.segment.offset + 40] ^= 1
        self.store.objects[key] = bytes(data)


@pytest.fixture
def base(tmp_path: Path) -> Base:
    return Base(tmp_path)


@pytest.mark.parametrize("direct", [False, True])
def test_a_new_file_has_every_byte(base: Base, tmp_path: Path, direct: bool) -> None:
    target = tmp_path / "target"
    target.mkdir()
    reader = base.reader()
    wanted, pages = pieces(reader, base.entry)
    ground = Ground(target, {}, None)
    with ground.file(b"1259", 0o600, direct=direct) as file:
        assert file.is_new and (file.direct >= 0) == direct
        assert fill(file, reader, wanted, pages) == len(base.content)
    ground.close()
    assert (target / "1259").read_bytes() == base.content


def test_a_file_that_is_there_is_never_written_past_the_cache(base: Base, tmp_path: Path) -> None:
    (tmp_path / "1259").write_bytes(base.content[:BLOCK] + bytes(BLOCK))
    ground = Ground(tmp_path, {}, None)
    reader = base.reader()
    wanted, pages = pieces(reader, base.entry)
    with ground.file(b"1259", 0o600, direct=True) as file:
        assert (file.is_new, file.direct) == (False, -1)
        assert BLOCK < update(file.fd, reader, wanted, pages) < len(base.content) - BLOCK
    ground.close()
    assert (tmp_path / "1259").read_bytes() == base.content


@pytest.mark.parametrize("part", ["page", "old"])
def test_a_block_with_a_damaged_piece_is_not_given(base: Base, part: str) -> None:
    base.spoil(getattr(base, part))
    pages = pieces(reader := base.reader(), base.entry)[1]
    assert pages is not None and reader.unproven(DATA, getattr(base, part)) is None
    assert pages.block(0, memoryview(bytearray(BLOCK))) == base.content[:BLOCK]
    with pytest.raises(DamageError):
        pages.block(BLOCK, memoryview(bytearray(BLOCK)))
    with pytest.raises(DamageError):
        pages.read(BLOCK, BLOCK)


def test_pieces_that_are_others_than_their_names_say_are_noticed(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an index would make of them that a device without scruples wrote: the whole has its name, or is read with care."""
    true = ChunkReader.unproven

    def false(self: ChunkReader, kind: int, name: bytes) -> memoryview | None:
        found = true(self, kind, name)
        return memoryview(bytes(len(found))) if found is not None and name == base.page else found

    monkeypatch.setattr(ChunkReader, "unproven", false)
    pages = pieces(base.reader(), base.entry)[1]
    assert pages is not None
    assert pages.block(BLOCK, memoryview(bytearray(BLOCK))) == base.content[BLOCK : 2 * BLOCK]
    assert pages.read(BLOCK, BLOCK) == base.content[BLOCK : 2 * BLOCK]
