"""``tools/emergency_reader.py``, written from ``docs/format/`` alone, restores every golden snapshot: so the pages say all."""

from __future__ import annotations

import ast
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from describing import describe
from goldens import IDS, NAMES, SNAPSHOTS, manifest, unpack

from safehold.codec.passphrase import Passphrase
from safehold.core.clock import SystemClock
from safehold.core.entries import DIRECTORY, FIFO, FILE, SYMLINK, Entry, More, Node, Totals
from safehold.repo import envelopes, packs, snapshots
from safehold.repo.repository import Repository, open_repository
from safehold.repo.seals import DATA, TREE
from safehold.storage.local import LocalStore

READER = Path(__file__).parents[2] / "tools" / "emergency_reader.py"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("unpacked")
    return {name: unpack(name, place / name) for name in NAMES}


def run(*arguments: object, passphrase: str = "") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "SAFEHOLD_PASSWORD": passphrase}
    command = [sys.executable, "-W", "error", str(READER), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def restored(repository: Path, name: str, snapshot: str, target: Path) -> None:
    done = run(repository, "restore", snapshot, target, passphrase=manifest(name)["credentials"]["passphrase"])
    assert (done.stderr, done.returncode) == ("", 0)
    assert describe(target) == manifest(name)["snapshots"][snapshot]


@pytest.mark.parametrize(("name", "snapshot"), SNAPSHOTS, ids=IDS)
def test_every_byte_of_every_snapshot(unpacked: dict[str, Path], tmp_path: Path, name: str, snapshot: str) -> None:
    restored(unpacked[name], name, snapshot, tmp_path / "target")


def test_no_index_is_needed(tmp_path: Path) -> None:
    repository = unpack("listed", tmp_path)
    shutil.rmtree(repository / "index")
    restored(repository, "listed", next(iter(manifest("listed")["snapshots"])), tmp_path / "target")


@pytest.mark.parametrize("key", ["recovery words", "reader", "late reader"])
def test_every_key_lists_every_snapshot(unpacked: dict[str, Path], tmp_path: Path, key: str) -> None:
    (tmp_path / "key").write_text(manifest("family")["credentials"][key])
    option = "--words-file" if key == "recovery words" else "--key-file"
    done = run(option, tmp_path / "key", unpacked["family"], "list")
    assert (done.stderr, done.returncode) == ("", 0)
    assert [line.split()[0] for line in done.stdout.splitlines()] == by_time("family", unpacked, tmp_path)


def by_time(name: str, unpacked: dict[str, Path], cache: Path) -> list[str]:
    store = LocalStore(unpacked[name])
    repository = open_repository(store, Passphrase(manifest(name)["credentials"]["passphrase"]), cache)
    return [each.id for each in repository.load_snapshots(snapshots.names(store))]


@pytest.mark.parametrize(("key", "says"), [("removed", "removed"), ("writer", "reads nothing")])
def test_other_keys_are_refused(unpacked: dict[str, Path], tmp_path: Path, key: str, says: str) -> None:
    (tmp_path / "key").write_text(manifest("family")["credentials"][key])
    done = run("--key-file", tmp_path / "key", unpacked["family"], "list")
    assert done.returncode != 0
    assert says in done.stderr


def test_a_wrong_passphrase_opens_nothing(unpacked: dict[str, Path]) -> None:
    done = run(unpacked["split"], "list", passphrase="wrong")
    assert done.returncode != 0
    assert "no key slot" in done.stderr


@pytest.mark.parametrize("damage", ["missing", "rubbish", "another id", "not signed"])
def test_a_damaged_config_has_a_copy(tmp_path: Path, damage: str) -> None:
    config = unpack("split", tmp_path) / "config"
    data = config.read_bytes()
    config.unlink()
    if damage != "missing":
        other = data.replace(b'"id":"', b'"id":"00').replace(b'",', b'" ,', 1)
        config.write_bytes({"rubbish": data[40:], "another id": other, "not signed": data.replace(b"false", b"true")}[damage])
    done = run(config.parent, "list", passphrase=manifest("split")["credentials"]["passphrase"])
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(manifest("split")["snapshots"])
    assert ("Ignored" in done.stderr) == (damage != "missing")


def test_it_restores_only_into_an_empty_folder(unpacked: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "here").write_text("mine")
    done = run(unpacked["split"], "restore", "latest", tmp_path, passphrase=manifest("split")["credentials"]["passphrase"])
    assert done.returncode != 0
    assert os.listdir(tmp_path) == ["here"]


def test_what_is_damaged_is_said_and_the_rest_comes_back(unpacked: dict[str, Path], tmp_path: Path) -> None:
    repository = unpack("listed", tmp_path)
    oldest = by_time("listed", unpacked, tmp_path / "cache")[0]
    path = max(repository.glob("packs/*/*"), key=lambda path: path.stat().st_size)  # all of it is the oldest snapshot's
    body = bytearray(path.read_bytes())
    body[100] ^= 1
    path.write_bytes(body)
    done = run(repository, "restore", oldest, tmp_path / "target", passphrase=manifest("listed")["credentials"]["passphrase"])
    assert done.returncode == 1
    found, expected = describe(tmp_path / "target"), manifest("listed")["snapshots"][oldest]
    assert set(found) == set(expected)
    (damaged,) = [path for path in found if found[path] != expected[path]]
    assert f"Not as it was: {damaged!r}" in done.stderr


# Repositories made by somebody who means harm.


def entry(name: bytes, kind: int, content: bytes = b"", size: int = 0, more: More | None = None) -> Entry:
    return Entry(name, kind, 0o777, 0, 0, 0, 0, size, 0, content, more)


def commit(repository: Repository, *nodes: Node) -> None:
    """A snapshot of a root that is made of these nodes as they are, by a writer who checks nothing."""
    writer = repository.writer()
    tree = writer.add(TREE, msgspec.msgpack.encode(nodes[0]))
    if len(nodes) > 1:
        parts = [writer.add(TREE, msgspec.msgpack.encode(node)) for node in nodes]
        tree = writer.add(TREE, msgspec.msgpack.encode(Node([], parts=parts)))
    writer.finish()
    source = snapshots.Source(paths=[b"/evil"])
    made = snapshots.Snapshot(time_ns=2**62, host="evil", source=source, tree=tree, totals=Totals())
    snapshots.write(repository.seals, repository.store, writer.session, made)


def evil(repository: Repository, outside: bytes) -> dict[str, list[Node]]:
    writer = repository.writer()
    content = writer.add(DATA, b"written outside")
    inner = writer.add(TREE, msgspec.msgpack.encode(Node([entry(b"new", FILE, content, 15)])))
    writer.finish()
    file, link = entry(b"new", FILE, content, 15), More(target=outside)
    return {
        "upward": [Node([entry(b"..", DIRECTORY, inner)])],
        "path": [Node([entry(b"../new", FILE, content, 15)])],
        "absolute": [Node([entry(outside + b"/new", FILE, content, 15)])],
        "twice": [Node([entry(b"a", SYMLINK, more=link), entry(b"a", DIRECTORY, inner)])],
        "twice in parts": [Node([entry(b"a", SYMLINK, more=link)]), Node([entry(b"a", DIRECTORY, inner)])],
        "link of a folder": [
            Node(
                [
                    entry(b"a", SYMLINK, more=More(target=outside, link=(1, 1))),
                    entry(b"b", DIRECTORY, inner, more=More(link=(1, 1))),
                ]
            )
        ],
        "beyond": [Node([entry(b"new", FILE, content, 3), file])],
    }


CASES = ["upward", "path", "absolute", "twice", "twice in parts", "link of a folder", "beyond"]


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_written_outside_the_target(tmp_path: Path, case: str) -> None:
    folder = unpack("split", tmp_path)
    passphrase = manifest("split")["credentials"]["passphrase"]
    repository = open_repository(LocalStore(folder), Passphrase(passphrase), tmp_path / "cache", clock=SystemClock())
    outside = tmp_path / "outside"
    outside.mkdir()
    nodes = evil(repository, os.fsencode(outside))
    assert sorted(nodes) == sorted(CASES)
    commit(repository, *nodes[case])
    before = sorted(os.listdir(tmp_path))
    done = run(folder, "restore", "latest", tmp_path / "target", passphrase=passphrase)
    assert done.returncode == (case != "link of a folder"), done
    assert os.listdir(outside) == []
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "target"])


def test_a_fifo_needs_nothing_more(tmp_path: Path) -> None:
    folder = unpack("split", tmp_path)
    passphrase = manifest("split")["credentials"]["passphrase"]
    repository = open_repository(LocalStore(folder), Passphrase(passphrase), tmp_path / "cache")
    commit(repository, Node([entry(b"pipe", FIFO)]))
    assert run(folder, "restore", "latest", tmp_path / "target", passphrase=passphrase).returncode == 0
    assert describe(tmp_path / "target")["pipe"]["kind"] == "fifo"


# The one page the reader doesn't need: index.md, read here as it says.


def shard_rows(body: bytes) -> list[tuple[bytes, bytes, int, int, bytes, int]]:
    """Name, pack, offset and length of the segment, its session, and offset and length in the segment."""
    magic, chunks, segments, pack_count, tail = struct.unpack_from("<8sQIIQ", body)
    assert magic == b"SHINDEX1"
    assert len(body) == 32 + 36 * chunks + 32 * segments + 48 * pack_count + tail
    rests, places = 32 + 8 * chunks, 32 + 24 * chunks
    segment_rows, pack_rows = 32 + 36 * chunks, 32 + 36 * chunks + 32 * segments
    sessions = msgspec.msgpack.decode(body[-tail:])[0]
    rows = []
    for row in range(chunks):
        (prefix,) = struct.unpack_from("<Q", body, 32 + 8 * row)
        name = prefix.to_bytes(8, "big") + body[rests + 16 * row :][:16]
        number, offset, length = struct.unpack_from("<III", body, places + 12 * row)
        segment, pack, session, at, size = struct.unpack_from("<16sIIII", body, segment_rows + 32 * number)
        pack_id, _, _ = struct.unpack_from("<32sQB7x", body, pack_rows + 48 * pack)
        rows.append((name, pack_id + segment, at, size, sessions[session][2], offset << 32 | length))
    return rows


@pytest.mark.parametrize("name", NAMES)
def test_the_index_says_what_the_packs_say(unpacked: dict[str, Path], tmp_path: Path, name: str) -> None:
    store = LocalStore(unpacked[name])
    repository = open_repository(store, Passphrase(manifest(name)["credentials"]["passphrase"]), tmp_path)
    in_shards = []
    for info in store.list("index/"):
        body = envelopes.unwrap(repository.seals, "index", info.key.removeprefix("index/"), store.get(info.key)).body
        rows = shard_rows(body)
        assert [row[0] for row in rows] == sorted(row[0] for row in rows)
        in_shards += rows
    in_packs = []
    for info in store.list("packs/"):
        record = packs.open_tables(repository.seals, store, info.key, packs.read_tail(store, info.key))
        for segment, chunks in zip(record.footer.segments, record.chunks, strict=True):
            at = 0
            for chunk, length in chunks:
                session = record.footer.sessions[segment.session].wrapped
                in_packs.append((chunk, record.id + segment.id, segment.offset, segment.length, session, at << 32 | length))
                at += length
    assert sorted(in_shards) == sorted(in_packs)


def test_the_reader_stands_alone() -> None:
    tree = ast.parse(READER.read_text())
    imported = {alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported - set(sys.stdlib_module_names) == {"cryptography", "msgpack"}
    assert "safehold" not in re.findall(r'import_module|"([a-z.0-9]+)"', READER.read_text())
    assert len(READER.read_text().splitlines()) < 410
