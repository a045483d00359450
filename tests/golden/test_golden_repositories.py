"""Repositories made by the first program of format 1, never edited: every later program reads every byte of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from describing import Record
from goldens import FOLDER, IDS, NAMES, SNAPSHOTS, SUMS, manifest, unpack

from safehold.codec.keyfile import KeyFile
from safehold.codec.passphrase import Passphrase
from safehold.codec.recovery import RecoveryKey
from safehold.core.entries import DIRECTORY, FILE, KIND_NAMES, SYMLINK, Entry
from safehold.core.errors import NotPermitted, WrongKey
from safehold.core.events import Event
from safehold.repo import contents, files, paged, trees
from safehold.repo.keys.unlock import Credential
from safehold.repo.repository import Repository, open_repository
from safehold.storage.local import LocalStore


def credential(text: str, name: str) -> Credential:
    if name == "passphrase":
        return Passphrase(text)
    return RecoveryKey.parse(text) if name == "recovery words" else KeyFile.parse(text)


class Opened:
    """Golden repositories, unpacked and opened once."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._repositories: dict[tuple[str, str], Repository] = {}
        self.events: list[Event] = []

    def open(self, name: str, key: str = "passphrase") -> Repository:
        if (name, key) not in self._repositories:
            folder = self._place / name / "repository"
            if not folder.exists():
                unpack(name, self._place / name)
            chosen = credential(manifest(name)["credentials"][key], key)
            store = LocalStore(folder)
            self._repositories[name, key] = open_repository(store, chosen, self._place / "cache", report=self.events.append)
        return self._repositories[name, key]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    made = Opened(tmp_path_factory.mktemp("golden"))
    yield made
    assert made.events == []  # nothing was damaged, ignored or missing


def described(repository: Repository, tree: bytes) -> dict[str, Record]:
    """The records of a snapshot, in the form of ``describing.describe``."""
    found: dict[str, Record] = {}
    names = sorted(_walk(repository, tree, b""))
    first: dict[tuple[int, int], str] = {}
    for path, entry in names:
        name = os.fsdecode(path)
        link = entry.more.link if entry.more else None
        if link and first.setdefault(link, name) != name:
            found[name] = {"same_as": first[link]}
        else:
            found[name] = _record(repository, entry)
    return found


def _walk(repository: Repository, tree: bytes, path: bytes) -> Iterator[tuple[bytes, Entry]]:
    for entry in trees.read_node(repository.reader, tree).entries:
        yield os.path.join(path, entry.name), entry
        if entry.kind == DIRECTORY:
            yield from _walk(repository, entry.content, os.path.join(path, entry.name))


def _record(repository: Repository, entry: Entry) -> Record:
    more = entry.more
    record: Record = {"kind": KIND_NAMES[entry.kind], "uid": entry.uid, "gid": entry.gid, "mtime_ns": entry.mtime_ns}
    if entry.kind == FILE:
        holes = (more.holes if more else None) or []
        record |= {"size": entry.size, "sha256": _sha256(repository, entry), "holes": holes}
    if entry.kind == SYMLINK:
        assert more is not None and more.target is not None
        record["target"] = os.fsdecode(more.target)
    else:
        record["mode"] = entry.mode
    if more and more.device:
        record["device"] = list(more.device)
    record["xattrs"] = {name: value.hex() for name, value in ((more.xattrs if more else None) or {}).items()}
    return record


def _sha256(repository: Repository, entry: Entry) -> str:
    digest = hashlib.sha256()
    for data in files.stream(files.open_file(repository.reader, entry)):
        digest.update(data)
    return digest.hexdigest()


def test_nothing_changed_is_missing_or_unused() -> None:
    written = dict(reversed(line.split("  ", 1)) for line in SUMS.read_text().splitlines())
    assert written == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.iterdir()}
    assert sorted(written) == sorted(f"{name}.{kind}.xz" for name in NAMES for kind in ("json", "tar"))
    assert all(manifest(name)["snapshots"] for name in NAMES)
    assert all(f"| `{name}` |" in (FOLDER.parent / "README.md").read_text() for name in NAMES)


@pytest.mark.parametrize(("name", "snapshot"), SNAPSHOTS, ids=IDS)
def test_every_byte_of_every_snapshot(opened: Opened, name: str, snapshot: str) -> None:
    repository = opened.open(name)
    (stored,) = repository.load_snapshots([snapshot])
    expected = manifest(name)["snapshots"][snapshot]
    found = described(repository, stored.snapshot.tree)
    assert found == expected
    kinds = [record.get("kind", "same") for record in expected.values()]
    assert stored.snapshot.totals.directories == kinds.count("directory")
    assert stored.snapshot.tags == ["golden"]
    assert not stored.snapshot.incomplete


@pytest.mark.parametrize("name", NAMES)
def test_the_trash_is_hidden(opened: Opened, name: str) -> None:
    golden = manifest(name)
    expected = set(golden["snapshots"]) - set(golden["trash"])
    assert set(opened.open(name).snapshot_names()) == expected


@pytest.mark.parametrize("key", ["recovery words", "reader", "late reader"])
def test_every_key_reads_everything(opened: Opened, key: str) -> None:
    repository = opened.open("family", key)
    assert {each.id for each in repository.load_snapshots(list(manifest("family")["snapshots"]))} == set(
        manifest("family")["snapshots"]
    )
    newest = repository.visible_snapshots()[-1]
    assert described(repository, newest.snapshot.tree) == manifest("family")["snapshots"][newest.id]


def test_a_writers_key_reads_nothing(opened: Opened) -> None:
    writer = opened.open("family", "writer")
    with pytest.raises(NotPermitted):
        writer.visible_snapshots()


def test_a_removed_key_is_refused(opened: Opened) -> None:
    opened.open("family")
    with pytest.raises(WrongKey, match="removed"):
        opened.open("family", "removed")


def test_the_goldens_hold_what_they_are_for(opened: Opened) -> None:
    for name, path in (("listed", b"golden/listed.txt"), ("paged", b"golden/disk.img"), ("split", b"golden/many")):
        repository = opened.open(name)
        entry = trees.find(repository.reader, repository.visible_snapshots()[-1].snapshot.tree, path)
        assert entry is not None
        if name == "listed":
            assert entry.more is not None and entry.more.map is not None
            assert len(list(contents.pieces(repository.reader, entry))) > contents.DIRECT
        elif name == "paged":
            assert entry.more is not None and entry.more.paged
            blocks = [block for _, block in paged.PageMap(repository.reader, entry).blocks()]
            assert min(len(block.extents) for block in blocks) == 0
            assert max(len(block.extents) for block in blocks) > 1
        else:
            assert len(trees.part_ids(repository.reader, entry.content)) > 2
