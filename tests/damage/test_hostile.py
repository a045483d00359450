"""Repositories made by somebody who holds keys and means harm, and what a writer's keys do not give."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from backports.zstd import compress
from blake3 import blake3

from safehold.codec import compression, sealing
from safehold.core.entries import DIRECTORY, FILE, Entry, More, Node, Totals
from safehold.core.errors import DamageError, FormatError, NotPermitted, SafeholdError
from safehold.repo import check, contents, packs, repair, segments, shards, snapshots, trees
from safehold.repo.check import CheckOptions
from safehold.repo.checking.segments import Claim
from safehold.repo.packs import PackBuilder
from safehold.repo.redraft import ShardDraft
from safehold.repo.repository import Repository
from safehold.repo.seals import DATA, ID_SIZE, TREE
from safehold.repo.snapshots import Snapshot, Source
from safehold.testing.builders import Household
from safehold.testing.stores import MemoryStore

FULL = CheckOptions(read_data=100)


class Forger:
    """Builds what no honest program would, with an owner's keys."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore()
        self.house = Household(self.store, folder / "cache")
        self.repository = self.house.open()
        self.session = self.repository.seals.new_session()

    def name(self, kind: int, data: bytes) -> bytes:
        return blake3(data, key=self.repository.seals.naming[kind]).digest(ID_SIZE)

    def store_segment(self, kind: int, packed: bytes, table: list[tuple[bytes, int]]) -> None:
        """A segment of any payload, with any table, properly sealed, packed and indexed."""
        seals = self.repository.seals
        segment_id = seals.random(16)
        body = sealing.aead_seal(
            seals.segment_key(self.session.secret, segment_id),
            sealing.ZERO_NONCE,
            packed,
            seals.segment_aad(b"segment", kind, segment_id),
        )
        builder = PackBuilder(seals, self.store.upload(), kind)
        sealed = segments.seal_table(seals, kind, segment_id, table)
        builder.append(segments.SealedSegment(segment_id, kind, self.session.ref, body, sealed, table))
        self.repository.index.publish(shards.encode([builder.finish()]))

    def chunk(self, kind: int, data: bytes, name: bytes | None = None) -> bytes:
        name = name or self.name(kind, data)
        self.store_segment(kind, compression.pack(data), [(name, len(data))])
        return name

    def node(self, *entries: Entry) -> bytes:
        return self.chunk(TREE, msgspec.msgpack.encode(Node(list(entries))))

    def snapshot(self, tree: bytes) -> str:
        made = Snapshot(time_ns=1, host="h", source=Source(), tree=tree, totals=Totals())
        return snapshots.write(self.repository.seals, self.store, self.session, made)

    def report(self) -> check.Report:
        return check.check(self.house.open(), FULL)


def entry(name: bytes, kind: int = FILE, content: bytes = b"", more: More | None = None, size: int = 0) -> Entry:
    return Entry(name, kind, 0o644, 0, 0, 0, 0, size, 0, content, more)


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    return Forger(tmp_path)


@pytest.mark.parametrize(
    "names",
    [[b".."], [b"."], [b""], [b"a/b"], [b"/etc"], [b"a\0b"], [b"a", b"a"], [b"b", b"a"]],
    ids=["dotdot", "dot", "empty", "slash", "absolute", "nul", "duplicate", "unsorted"],
)
def test_names_that_no_folder_holds(forger: Forger, names: list[bytes]) -> None:
    tree = forger.node(*[entry(name) for name in names])
    good = forger.node(entry(b"fine"))
    top = forger.node(entry(b"bad", DIRECTORY, tree), entry(b"good", DIRECTORY, good))
    name = forger.snapshot(top)
    with pytest.raises(FormatError):
        trees.read_node(forger.house.open().reader, tree)
    report = forger.report()
    assert [f.code for f in report.damage] == ["tree-refused"]
    assert [(lost.snapshot, lost.path) for lost in report.damage[0].files] == [(name, b"/bad/")]
    repository = forger.house.open()
    result = repair.execute(repository, repair.plan(repository))
    twin = repository.load_snapshots(result.twins)[0].snapshot
    assert [e.name for e in trees.read_node(repository.reader, twin.tree).entries] == [b"bad", b"good"]


def test_a_tree_that_contains_itself_is_refused(forger: Forger) -> None:
    name = b"\x77" * ID_SIZE
    data = msgspec.msgpack.encode(Node([entry(b"again", DIRECTORY, name)]))
    forger.chunk(TREE, data, name)  # listed under a name that is not its own
    snapshot = forger.snapshot(name)
    repository = forger.house.open()
    with pytest.raises(DamageError):
        trees.read_node(repository.reader, name)
    report = check.check(repository, FULL)
    assert {f.code for f in report.damage} == {"chunk-forged"}
    assert [lost.path for f in report.damage for lost in f.files] == [b"/"]
    # Repair takes the false name out of the index.
    repair.execute(repository, repair.plan(repository))
    again = check.check(forger.house.open(), FULL)
    assert {f.code for f in again.damage} == {"chunk-missing"}
    assert {lost.snapshot for f in again.damage for lost in f.files} == {snapshot}


def test_data_passed_off_as_a_tree(forger: Forger) -> None:
    data = msgspec.msgpack.encode(Node([entry(b"x")]))
    name = forger.chunk(DATA, data)
    forger.snapshot(name)
    with pytest.raises(DamageError):
        trees.read_node(forger.house.open().reader, name)
    assert not forger.report().clean


def test_many_paths_to_one_tree_are_walked_once(forger: Forger) -> None:
    tree = forger.node(entry(b"leaf"))
    for _ in range(60):  # 2^60 paths
        tree = forger.node(entry(b"a", DIRECTORY, tree), entry(b"b", DIRECTORY, tree))
    forger.snapshot(tree)
    report = forger.report()
    assert report.clean
    assert report.trees == 61


def bombs() -> Iterator[tuple[str, bytes]]:
    huge = 200 * 1024 * 1024
    frame = compress(bytes(huge), 1)
    yield "more than it claims", struct.pack("<BII", 1, 1000, len(frame)) + frame
    yield "more than a segment may hold", struct.pack("<BII", 1, huge, len(frame)) + frame
    yield "absurd length", struct.pack("<BII", 0, 10, 0xFFFFFFFF) + b"0123456789"
    yield "unknown method", struct.pack("<BII", 9, 4, 4) + b"0123"
    yield "no header", b"\x01"


@pytest.mark.parametrize(("what", "packed"), list(bombs()), ids=[what for what, _ in bombs()])
def test_bombs_and_absurd_sizes(forger: Forger, what: str, packed: bytes) -> None:
    name = b"\x55" * ID_SIZE
    forger.store_segment(DATA, packed, [(name, 1000)])
    forger.snapshot(forger.node(entry(b"file", content=name), entry(b"other")))
    with pytest.raises(DamageError):
        forger.house.open().reader.read(DATA, name)
    report = forger.report()
    assert {lost.path for f in report.damage for lost in f.files} == {b"/file"}


def test_an_index_that_points_outside(forger: Forger) -> None:
    good = forger.chunk(DATA, b"good")
    seals = forger.repository.seals
    bad = b"\x66" * ID_SIZE
    row = bad + shards.PLACE.pack(77, 0, 5)
    far = good[:-1] + b"\0" + shards.PLACE.pack(0, 0xFFFFFFFF, 0xFFFFFFFF)
    segment = shards.SEGMENT.pack(seals.random(16), 88, 99, 0, 10)
    tail = msgspec.msgpack.encode(shards.Tail([forger.session.ref]))
    forger.repository.index.publish(shards.assemble([row, far], [segment], [shards.PACK.pack(bytes(32), 100, DATA)], tail))
    forger.snapshot(forger.node(entry(b"bad", content=bad), entry(b"good", content=good, size=4)))
    report = forger.report()
    assert {"index-wrong", "pack-missing", "chunk-missing"} >= {f.code for f in report.damage} > {"index-wrong"}
    assert {lost.path for f in report.damage for lost in f.files} == {b"/bad"}
    repository = forger.house.open()
    assert repository.reader.read(DATA, good) == b"good"
    with pytest.raises(DamageError):
        repository.reader.read(DATA, bad)
    repair.execute(repository, repair.plan(repository))
    assert {f.code for f in forger.report().damage} == {"chunk-missing"}


@pytest.mark.parametrize("content", [b"short", b"\x01" * ID_SIZE], ids=["not an id", "nowhere"])
def test_files_that_refer_to_nothing(forger: Forger, content: bytes) -> None:
    more = More(map=content)
    tree = forger.node(entry(b"direct", content=content), entry(b"listed", more=more), entry(b"sub", DIRECTORY, content))
    name = forger.snapshot(tree)
    report = forger.report()
    assert {(lost.snapshot, lost.path) for f in report.damage for lost in f.files} == {
        (name, b"/direct"),
        (name, b"/listed"),
        (name, b"/sub/"),
    }
    repository = forger.house.open()
    result = repair.execute(repository, repair.plan(repository))
    assert next(s for s in check.check(repository, FULL).snapshots if s.id == result.twins[0]).whole


def test_a_wrong_chunk_list(forger: Forger) -> None:
    top = forger.chunk(3, b"not rows")
    forger.snapshot(forger.node(entry(b"listed", more=More(map=top))))
    assert [f.code for f in forger.report().damage] == ["tree-refused"]


def test_an_unproven_writer_hides_and_poisons_nothing(forger: Forger, tmp_path: Path) -> None:
    """A writer says that it stored a chunk, and that its shard replaces all others; nobody builds on it."""
    owner = forger.repository
    true = forger.chunk(DATA, b"precious")
    key = forger.house.add_key("writer", "hijacked")
    writer = forger.house.open(key, cache=tmp_path / "hijacked")
    claimed = forger.name(DATA, b"poison")
    session = writer.seals.new_session()
    body = sealing.aead_seal(
        writer.seals.segment_key(session.secret, bytes(16)), bytes(12), compression.pack(b"rubbish"),
        writer.seals.segment_aad(b"segment", DATA, bytes(16)),
    )  # fmt: skip
    builder = PackBuilder(writer.seals, forger.store.upload(), DATA)
    table = [(claimed, 7)]
    builder.append(
        segments.SealedSegment(
            bytes(16), DATA, session.ref, body, segments.seal_table(writer.seals, DATA, bytes(16), table), table
        )
    )
    record = builder.finish()
    draft = ShardDraft()
    ref = record.footer.segments[0]
    draft.add(record.id, record.size, DATA, [Claim.placed(0, ref.id, DATA, ref.offset, ref.length, session.ref, table)])
    names = [shard.name for shard in owner.index.shards]
    tail = draft.encode(names)
    writer.index.publish(tail)
    fresh = forger.house.open(cache=tmp_path / "fresh")
    assert fresh.reader.read(DATA, true) == b"precious"
    assert not fresh.index.has(claimed)
    report = check.check(fresh, FULL)
    assert [f.code for f in report.damage] == ["chunk-forged"]


def test_a_writer_cannot_send_readers_to_the_wrong_place(forger: Forger, tmp_path: Path) -> None:
    names = [forger.chunk(DATA, bytes([n]) * 50) for n in range(8)]
    key = forger.house.add_key("writer", "hijacked")
    writer = forger.house.open(key, cache=tmp_path / "hijacked")
    ref = writer.seals.new_session().ref
    tail = msgspec.msgpack.encode(shards.Tail([ref]))
    outside = [name + shards.PLACE.pack(9, 0, 7) for name in names[:4]]
    elsewhere = [name + shards.PLACE.pack(0, 0, 7) for name in names[4:]]
    segment = shards.SEGMENT.pack(bytes(16), 0, 0, 0, 10)
    pack = shards.PACK.pack(bytes(32), 100, DATA)
    writer.index.publish(shards.assemble(outside + elsewhere, [segment], [pack], tail))
    repository = forger.house.open(cache=tmp_path / "fresh")
    for number, name in enumerate(names):
        assert repository.reader.length(name) == 50
        assert repository.reader.read(DATA, name) == bytes([number]) * 50
        assert repository.index.has(name)
    forger.snapshot(forger.node(*[entry(b"%d" % n, content=name, size=50) for n, name in enumerate(names)]))
    report = forger.report()
    assert {f.code for f in report.damage} == {"index-wrong", "pack-missing"}
    assert all(state.whole for state in report.snapshots)
    repair.execute(repository, repair.plan(repository))
    assert forger.report().clean


def test_a_writers_keys_open_nothing_that_is_stored(tmp_path: Path) -> None:
    store = MemoryStore()
    house = Household(store, tmp_path / "cache")
    key = house.add_key("writer", "laptop")
    source = tmp_path / "source"
    source.mkdir()
    (source / "secret").write_bytes(b"secret " * 1000)
    house.back_up(source, repository=house.open(key, cache=tmp_path / "laptop"))
    house.back_up(source)
    writer = house.open(key, cache=tmp_path / "laptop")
    for snapshot in snapshots.names(store):
        with pytest.raises(NotPermitted):
            snapshots.load(writer.seals, store, snapshot)
    secrets = every_key(writer)
    assert len(secrets) > 8
    tried = 0
    for place in [place for shard in writer.index.shards for place in shard.all_segments()]:
        with pytest.raises(NotPermitted):
            writer.seals.session_secret(place.session)
        body = store.get_range(packs.key_of(place.pack), place.offset, place.length)
        aad = writer.seals.segment_aad(b"segment", place.kind, place.id)
        for secret in secrets:
            for candidate in (secret, writer.seals.segment_key(secret, place.id), writer.seals.object_key(secret, place.id)):
                tried += 1
                with pytest.raises(DamageError):
                    sealing.aead_open(candidate, sealing.ZERO_NONCE, body, aad)
            with pytest.raises(SafeholdError):
                sealing.unwrap_key(
                    secret, "session", writer.id, place.session.epoch.to_bytes(4, "big") + place.session.id, place.session.wrapped
                )
    assert tried > 50
    with pytest.raises(NotPermitted):
        _ = writer.reader


def every_key(repository: Repository) -> list[bytes]:
    """Every 32 bytes of key material that an opened slot holds, and what is derived from it."""
    seals, keyring = repository.seals, repository.keyring
    found = [value for value in msgspec.structs.astuple(keyring.secrets) if isinstance(value, bytes) and len(value) == 32]
    found += [keyring.epoch_public, seals.cache_key, *seals.naming.values()]
    assert not keyring.epoch_privates
    assert keyring.secrets.admin_private is None
    return list(dict.fromkeys(found))


def test_no_key_and_nonce_are_used_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: dict[tuple[bytes, bytes], tuple[bytes, bytes]] = {}
    seal: Callable[..., bytes] = sealing.aead_seal

    def recorded(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        said = (bytes(plaintext), bytes(aad))
        # The same bytes sealed again come out the same, and tell nobody anything (repair's tables).
        assert used.setdefault((bytes(key), bytes(nonce)), said) == said
        return seal(key, nonce, plaintext, aad)

    monkeypatch.setattr(sealing, "aead_seal", recorded)
    store = MemoryStore()
    house = Household(store, tmp_path / "cache")
    key = house.add_key("writer", "laptop")
    source = tmp_path / "source"
    source.mkdir()
    for step in range(12):
        (source / f"f{step % 5}").write_bytes(bytes([step]) * (1000 * (step + 1)))
        repository = house.open(key, cache=tmp_path / "laptop") if step % 3 == 0 else house.open()
        house.back_up(source, repository=repository)
        if step % 4 == 3:
            victim = sorted(k for k in store.objects if k.startswith("packs/"))[step % 3]
            data = bytearray(store.objects[victim])
            data[len(data) // 2] ^= 1
            store.objects[victim] = bytes(data)
            owner = house.open()
            repair.execute(owner, repair.plan(owner))
    assert len(used) > 100


def test_contents_of_a_listed_file(forger: Forger) -> None:
    writer = forger.repository.writer()
    chunks = [(writer.add(DATA, bytes([n]) * 10), 10) for n in range(100)]
    top = contents.write_list(writer, chunks)
    tree = trees.write_node(writer, Node([entry(b"many", more=More(map=top), size=1000)]))
    writer.finish()
    forger.snapshot(tree)
    report = forger.report()
    assert report.clean
    key = next(k for k, data in forger.store.objects.items() if k.startswith("packs/") and data[8] == DATA)
    del forger.store.objects[key]
    assert [[lost.path for lost in f.files] for f in forger.report().damage] == [[b"/many"]]
