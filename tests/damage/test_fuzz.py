"""Any bytes at all give ``DamageError``, from every parser of stored bytes; nothing else ever comes out."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safehold.codec import compression
from safehold.core.errors import DamageError, NotPermitted
from safehold.repo import condemned, config, contents, envelopes, packs, paged, segments, sessions, shards, snapshots, trees
from safehold.repo.reader import ChunkReader
from safehold.repo.repository import Repository
from safehold.repo.seals import DATA
from safehold.testing.builders import Household
from safehold.testing.stores import MemoryStore

QUICK = settings(max_examples=150, deadline=None)


class Samples:
    """A repository and one good specimen of everything that is parsed."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore()
        house = Household(self.store, folder / "cache")
        source = folder / "source"
        source.mkdir()
        (source / "a").write_bytes(b"a" * 5000)
        (source / "b").write_bytes(bytes(range(256)) * 40)
        house.back_up(source)
        self.repository = house.open()
        with self.repository.session("test"):
            self.objects = dict(self.store.objects)

    def of(self, prefix: str) -> bytes:
        return next(data for key, data in sorted(self.objects.items()) if key.startswith(prefix))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return Samples(tmp_path_factory.mktemp("fuzz"))


def parse_pack(repo: Repository, data: bytes) -> None:
    store = MemoryStore()
    key = packs.key_of(bytes(32))
    store.put(key, data)
    packs.open_tables(repo.seals, store, key, packs.read_tail(store, key))


def parse_config(repo: Repository, data: bytes) -> None:
    store = MemoryStore()
    store.put("config", data)
    config.check(config.read(store).data, repo.keyring)


def read_shard(repo: Repository, data: bytes) -> None:
    shard = shards.Shard("fuzzed", data, trusted=False)
    list(shard.names())
    list(shard.all_segments())
    for row in range(shard.chunks):
        shard.place(row)


class Holding(ChunkReader):
    """Every chunk has these bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, kind: int, name: bytes) -> bytes:
        return self._data


COLUMNS = compression.pack(struct.pack("<1024Q", *range(7, 7175, 7)), columns=3)
assert COLUMNS[0] == compression.COLUMNS

PARSERS: dict[str, Callable[[Repository, bytes], object]] = {
    "pack": parse_pack,
    "config": parse_config,
    "shard": read_shard,
    "node": lambda repo, data: trees.decode_node(data),
    "top map": lambda repo, data: contents.top_rows(Holding(data), bytes(24)),
    "map part": lambda repo, data: contents.part_rows(Holding(data), bytes(24)),
    "group map": lambda repo, data: paged.decode_group(data),
    "payload": lambda repo, data: compression.unpack(data, 1 << 20),
    "payload of columns": lambda repo, data: compression.unpack(data, 1 << 20),
    "envelope": lambda repo, data: envelopes.unwrap(repo.seals, "index", envelopes.name_of(data), data),
    "snapshot": lambda repo, data: snapshots.parse(repo.seals, envelopes.name_of(data), data),
    "session": lambda repo, data: sessions.parse(repo.seals, data),
    "condemned": lambda repo, data: condemned.parse(repo.seals, "condemned/" + envelopes.name_of(data), data),
    "table": lambda repo, data: segments.open_table(repo.seals, DATA, bytes(16), data),
}


def survives(repo: Repository, parser: str, data: bytes) -> None:
    try:
        PARSERS[parser](repo, data)
    except DamageError:
        return
    except NotPermitted:
        raise AssertionError("damage must not look like a missing right") from None


@pytest.mark.parametrize("parser", PARSERS)
def test_any_bytes(samples: Samples, parser: str) -> None:
    @QUICK
    @given(st.binary(max_size=400))
    def run(data: bytes) -> None:
        survives(samples.repository, parser, data)

    run()


@pytest.mark.parametrize("parser", PARSERS)
def test_bytes_that_are_nearly_right(samples: Samples, parser: str) -> None:
    good = specimen(samples, parser)

    @QUICK
    @given(st.data())
    def run(data: st.DataObject) -> None:
        mutated = bytearray(good)
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(mutated)))
            end = data.draw(st.integers(at, min(len(mutated), at + 8)))
            mutated[at:end] = data.draw(st.binary(max_size=8))
        survives(samples.repository, parser, bytes(mutated))

    run()


@pytest.mark.parametrize("kind", ["index", "snapshot", "session", "condemned"])
def test_bodies_that_a_member_sealed(samples: Samples, kind: str) -> None:
    """A hijacked member can seal and sign what it likes."""
    repo = samples.repository
    good = {"index": b"", "snapshot": b"", "session": b"", "condemned": b"\x81\xa7time_ns\x01"}[kind]

    @QUICK
    @given(st.binary(max_size=300), st.booleans())
    def run(noise: bytes, prefixed: bool) -> None:
        data = envelopes.wrap(repo.seals, kind, good + noise if prefixed else noise)
        if kind == "index":
            survives(repo, "shard", envelopes.unwrap(repo.seals, kind, envelopes.name_of(data), data).body)
        else:
            survives(repo, kind, data)

    run()


@QUICK
@given(footer=st.recursive(st.none() | st.binary(max_size=40) | st.integers(-(2**63), 2**64 - 1), st.lists, max_leaves=12))
def test_footers_of_any_shape(samples: Samples, footer: object) -> None:
    encoded = msgspec.msgpack.encode(footer)
    header = packs.HEADER.pack(packs.MAGIC, DATA)
    tail = packs.TAIL.pack(bytes(16), bytes(64), len(encoded), packs.END)
    survives(samples.repository, "pack", header + bytes(50) + encoded + tail)


def specimen(samples: Samples, parser: str) -> bytes:
    repo = samples.repository
    prefixes = {"pack": "packs/", "config": "config", "envelope": "index/", "snapshot": "snapshots/", "session": "sessions/"}
    if parser in prefixes:
        return samples.of(prefixes[parser])
    if parser == "condemned":
        return envelopes.wrap(repo.seals, "condemned", b"\x81\xa7time_ns\x01")
    if parser == "shard":
        data = samples.of("index/")
        return envelopes.unwrap(repo.seals, "index", envelopes.name_of(data), data).body
    if parser == "node":
        tree = repo.visible_snapshots()[0].snapshot.tree
        return repo.reader.read(2, tree)
    if parser == "group map":
        return paged.encode_group([paged.Block(bytes(24), [paged.Extent(0, bytes(24), 0, 5)])])
    if parser == "table":
        return segments.seal_table(repo.seals, DATA, bytes(16), [(bytes(24), 5)])
    if parser == "payload":
        return compression.pack(b"abc" * 1000)
    if parser == "payload of columns":
        return COLUMNS
    return bytes(range(256))
