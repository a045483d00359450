"""What counts as changed, and what is relied upon without being read."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from homes import Home, counted, during

from safehold.core.errors import SessionExpired, SnapshotMissing
from safehold.ops import forget
from safehold.ops.backup import content
from safehold.repo import snapshots
from safehold.repo.index import Index
from safehold.testing.stores import MemoryStore


def _tree(top: Path, files: int = 6) -> Path:
    for number in range(files):
        folder = top / f"folder{number % 3}" / "below"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file{number}").write_bytes(b"content %d" % number * 50)
    return top


def _read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("a file is read")

    monkeypatch.setattr(content.ContentWriter, "store", refuse)


def _forget_and_prune(home: Home, name: str) -> None:
    forget.forget(home.open(), [name])
    home.prune()
    assert name not in snapshots.names(home.store)


def test_only_what_changed_is_read(home: Home, tmp_path: Path) -> None:
    source = _tree(tmp_path / "source")
    assert counted(home.back_up(source)) == (6, 0, 0)
    (source / "folder1/below/file1").write_bytes(b"now different")
    (source / "folder2/below/new").write_bytes(b"new")
    (source / "folder0/below/file0").unlink()
    made = home.back_up(source)
    assert counted(made) == (1, 1, 4)
    assert made.snapshot.statistics.read == 16
    assert home.content(made, source / "folder1/below/file1") == b"now different"
    assert home.names(made, source / "folder0/below") == [b"file3"]
    assert made.snapshot.totals.files == 6


def test_times_set_back_and_same_sizes_do_not_hide_a_change(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "source/file"
    file.parent.mkdir()
    file.write_bytes(b"before")
    home.back_up(file.parent)
    before = file.stat()
    file.write_bytes(b"after!")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    made = home.back_up(file.parent)
    assert counted(made) == (0, 1, 0)
    assert home.content(made, file) == b"after!"
    os.utime(file, ns=(5, 5))
    assert home.entry(home.back_up(file.parent), file).mtime_ns == 5


def test_a_file_exchanged_for_one_of_the_same_size_and_times(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "source/file"
    file.parent.mkdir()
    for name, text in ((file, b"one"), (file.with_name("other"), b"two")):
        name.write_bytes(text)
        os.utime(name, ns=(7, 7))
    home.back_up(file.parent)
    file.with_name("other").rename(file)
    assert home.content(home.back_up(file.parent), file) == b"two"


def test_what_changed_just_before_the_backup_is_read_again(tmp_path: Path) -> None:
    home = Home(tmp_path, ahead=0)
    source = _tree(tmp_path / "source")
    home.back_up(source)
    home.clock.seconds = 10
    made = home.back_up(source)
    assert made.snapshot.statistics.read > 0
    assert counted(made) == (0, 0, 6)
    assert home.back_up(source).snapshot.statistics.read == 0


def test_a_renamed_folder_is_stored_once(home: Home, tmp_path: Path) -> None:
    source = _tree(tmp_path / "source")
    home.back_up(source)
    (source / "folder0").rename(source / "moved")
    made = home.back_up(source)
    assert home.names(made, source) == [b"folder1", b"folder2", b"moved"]
    assert made.snapshot.statistics.added_raw < 4000


@pytest.mark.parametrize("damage", ["lost", "rubbish", "flipped", "version", "shape", "unwritable"])
def test_memory_that_is_no_good_costs_only_time(home: Home, tmp_path: Path, damage: str) -> None:
    source = _tree(tmp_path / "source")
    home.back_up(source)
    memory = next(home.household.cache.rglob("files-*.db"))
    for leftover in memory.parent.glob("files-*.db-*"):
        leftover.unlink()
    if damage in ("lost", "unwritable"):
        memory.unlink()
        if damage == "unwritable":
            memory.mkdir()
    elif damage == "rubbish":
        memory.write_bytes(b"no database " * 1000)
    else:
        _spoil(memory, damage)
    (source / "folder1/below/file1").write_bytes(b"changed")
    made = home.back_up(source)
    assert made.snapshot.totals.files == 6
    restored = home.restored(made, source)
    assert (restored / "folder1/below/file1").read_bytes() == b"changed"
    assert (restored / "folder2/below/file5").read_bytes() == b"content 5" * 50


def _spoil(memory: Path, damage: str) -> None:
    database = sqlite3.connect(memory)
    if damage == "version":
        database.execute("UPDATE state SET value = '0' WHERE name = 'version'")
    elif damage == "shape":
        database.execute("DROP TABLE folders")
        database.execute("CREATE TABLE folders (something TEXT)")
    else:
        for key, row, node in database.execute("SELECT key, row, node FROM folders").fetchall():
            flipped = bytes([*row[:40], row[40] ^ 1, *row[41:]])  # in the tree id
            database.execute("UPDATE folders SET row = ?, node = ? WHERE key = ?", (flipped, node[:-1] + b"x", key))
    database.commit()
    database.close()


def test_a_memory_that_cannot_be_written_does_not_stop_a_backup(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _tree(tmp_path / "source")
    first = home.back_up(source)
    _tree(source, 9)
    from safehold.ops.backup import memory as module

    connect = module._connect

    def small(path: Any) -> Any:
        database = connect(path)
        database.execute(f"PRAGMA max_page_count = {database.execute('PRAGMA page_count').fetchone()[0]}")
        return database

    for folder in range(40):
        (source / f"more{folder}").mkdir()
        (source / f"more{folder}/x").write_bytes(b"x")
    monkeypatch.setattr(module, "_connect", small)
    second = home.back_up(source)
    assert second.snapshot.totals.files == 49
    monkeypatch.undo()
    third = home.back_up(source)
    assert third.snapshot.parent == first.id  # nothing of the second was remembered
    assert home.entry(third, source) == home.entry(second, source)


def test_when_the_remembered_snapshot_is_gone_nothing_is_relied_upon(home: Home, tmp_path: Path) -> None:
    source = _tree(tmp_path / "source")
    first = home.back_up(source)
    _forget_and_prune(home, first.id)
    second = home.back_up(source)
    assert second.snapshot.parent == ""
    assert (home.restored(second, source) / "folder2/below/file5").read_bytes() == b"content 5" * 50


def test_what_could_not_be_read_in_between_is_not_relied_upon_later(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second snapshot lacks a folder and an image; the first, which has them, is pruned; then both can be read again."""
    source = _tree(tmp_path / "source")
    (source / "image.img").write_bytes(os.urandom(5 << 20))
    first = home.back_up(source)
    folder = os.open
    closed = (b"folder1", b"image.img")

    def refusing(path: Any, *arguments: Any, **options: Any) -> int:
        if path in closed:
            raise PermissionError(13, "Permission denied")
        return folder(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refusing)
    os.utime(source / "image.img")
    second = home.back_up(source)
    monkeypatch.undo()
    assert second.snapshot.incomplete
    assert home.names(second, source) == [b"folder0", b"folder2"]
    _forget_and_prune(home, first.id)
    third = home.back_up(source)
    assert not third.snapshot.incomplete
    restored = home.restored(third, source)
    assert (restored / "folder1/below/file4").read_bytes() == b"content 4" * 50
    assert (restored / "image.img").read_bytes() == (source / "image.img").read_bytes()


@pytest.mark.parametrize("left_out", ["exclude", "one file system"])
def test_what_was_left_out_in_between_is_not_relied_upon_later(home: Home, tmp_path: Path, mounted: Path, left_out: str) -> None:
    (mounted / "folder").mkdir()
    (mounted / "folder/file").write_bytes(b"on another disk")
    first = home.back_up(mounted.parent)
    options: dict[str, Any] = {"excludes": ["mounted"]} if left_out == "exclude" else {"one_file_system": True}
    second = home.back_up(mounted.parent, **options)
    assert second.snapshot.totals.files == 0
    _forget_and_prune(home, first.id)
    third = home.back_up(mounted.parent)
    assert (home.restored(third, mounted) / "folder/file").read_bytes() == b"on another disk"


def test_a_backup_that_was_taken_for_dead_starts_over(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _tree(tmp_path / "source")
    home.back_up(source)
    (source / "folder1/below/file1").write_bytes(b"changed")
    before = dict(home.store.objects)

    def expire(*arguments: Any) -> None:
        for key in set(home.store.objects) - set(before):
            del home.store.objects[key]  # what the prune that gave it up may do
        raise SessionExpired("given up")

    during(monkeypatch, snapshots, "commit", expire)
    monkeypatch.setattr(Index, "has", lambda self, name: bool(self.find(name)) and _is_there(self, home, name))
    made = home.back_up(source)
    assert (home.restored(made, source) / "folder1/below/file1").read_bytes() == b"changed"


def _is_there(index: Index, home: Home, name: bytes) -> bool:
    place = index.find(name)
    return place is not None and any(place.segment.pack.hex() in key for key in home.store.objects)


def test_two_backups_of_the_same_folder_at_once(home: Home, tmp_path: Path) -> None:
    source = _tree(tmp_path / "source", 200)
    made: list[Any] = []
    threads = [threading.Thread(target=lambda: made.append(home.household.back_up(source))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({result.snapshot.tree for result in made}) == 1
    assert len(made) == 3
    assert (home.restored(made[0], source) / "folder0/below/file0").exists()


def test_new_excludes_do_not_make_everything_be_read_again(home: Home, tmp_path: Path) -> None:
    source = _tree(tmp_path / "source")
    home.back_up(source)
    made = home.back_up(source, excludes=["file1", "folder2/"])
    assert counted(made) == (0, 0, 3)
    assert made.snapshot.statistics.read == 0
    assert home.names(made, source) == [b"folder0", b"folder1"]
    assert home.names(made, source / "folder1/below") == [b"file4"]
    back = home.back_up(source)
    assert counted(back) == (3, 0, 3)


def test_force_reads_everything(home: Home, tmp_path: Path) -> None:
    source = _tree(tmp_path / "source")
    first = home.back_up(source)
    made = home.back_up(source, force=True)
    assert made.snapshot.statistics.read == first.snapshot.statistics.read
    assert counted(made) == (0, 0, 6)


def test_another_device_number_keeps_hard_links_apart(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Device numbers change from mount to mount; a link that is known by an old one must not meet another file's."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "one").write_bytes(b"1")
    os.link(source / "one", source / "two")
    first = home.back_up(source)
    device = source.stat().st_dev
    fstat, stat = os.fstat, os.stat

    def elsewhere(found: os.stat_result) -> Any:
        names = [name for name in dir(found) if name.startswith("st_")]
        values = {name: getattr(found, name) for name in names}
        return type("Stat", (), {**values, "st_dev": 99 if found.st_dev == device else found.st_dev})()

    from safehold.sources.files import folders

    rows = folders.Folder.rows
    monkeypatch.setattr(folders.Folder, "rows", lambda self: ([(n, elsewhere(s)) for n, s in rows(self)[0]], []))
    monkeypatch.setattr(folders.Folder, "stat", lambda self: elsewhere(fstat(self.fd)))
    made = home.back_up(source)
    monkeypatch.undo()
    assert stat(source).st_dev == device
    assert counted(made) == (0, 0, 2)
    assert {home.entry(first, source / name).more.link[0] for name in ("one", "two")} == {device}
    assert {home.entry(made, source / name).more.link[0] for name in ("one", "two")} == {99}


# Where this machine remembers nothing: a new machine, a lost cache.


def test_an_older_snapshot_serves_where_nothing_is_remembered(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _tree(tmp_path / "source")
    (source / "large").write_bytes(os.urandom(70 << 20))
    first = home.back_up(source)
    _read_nothing(monkeypatch)
    made = home.back_up(source, repository=home.open(cache=tmp_path / "new cache"))
    assert counted(made) == (0, 0, 7)
    assert (made.snapshot.parent, made.snapshot.statistics.read) == (first.id, 0)
    assert home.entry(made, source) == home.entry(first, source)
    again = home.back_up(source, repository=home.open(cache=tmp_path / "new cache"))
    assert again.snapshot.parent == made.id


def test_an_explicit_parent_may_be_of_other_paths_and_hosts(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _tree(tmp_path / "source")
    first = home.back_up(source, host="another")
    repository = home.open(cache=tmp_path / "new cache")
    with pytest.raises(SnapshotMissing):
        home.back_up(source / "folder1", repository=repository, parent="0" * 64)
    _read_nothing(monkeypatch)
    made = home.back_up(source / "folder1", repository=repository, parent=first.id)
    assert counted(made) == (0, 0, 2)


def test_a_complete_parent_is_preferred_and_another_keys_is_not_taken(home: Home, tmp_path: Path) -> None:
    source = _tree(tmp_path / "source")
    forged = home.back_up(
        source, repository=home.open(key=home.household.add_key("writer", "hijacked"), cache=tmp_path / "other")
    )
    made = home.back_up(source, repository=home.open(cache=tmp_path / "a"))
    assert (made.snapshot.parent, counted(made)) == ("", (6, 0, 0))
    assert forged.snapshot.host == made.snapshot.host
    (source / "gone").symlink_to("x")
    repository = home.open(cache=tmp_path / "b")
    from unittest import mock

    with mock.patch("os.readlink", side_effect=OSError(5, "Input/output error")):
        broken = home.back_up(source, repository=repository)
    assert broken.snapshot.incomplete
    assert home.back_up(source, repository=home.open(cache=tmp_path / "c")).snapshot.parent == made.id


def test_a_writer_that_remembers_nothing_reads_and_stores_nothing_twice(tmp_path: Path) -> None:
    home = Home(tmp_path, MemoryStore())
    key = home.household.add_key("writer", "laptop")
    source = _tree(tmp_path / "source")
    first = home.back_up(source, repository=home.open(key=key))
    made = home.back_up(source, repository=home.open(key=key, cache=tmp_path / "new cache"))
    assert counted(made) == (6, 0, 0)
    assert made.snapshot.statistics.added_raw < first.snapshot.statistics.added_raw / 2
    assert home.back_up(source, repository=home.open(key=key, cache=tmp_path / "new cache")).snapshot.statistics.read == 0


def test_a_single_file_is_remembered_too(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"alone")
    assert counted(home.back_up(file)) == (1, 0, 0)
    _read_nothing(monkeypatch)
    made = home.back_up(file)
    assert (counted(made), made.snapshot.totals.files) == ((0, 0, 1), 1)
    assert counted(home.back_up(file, repository=home.open(cache=tmp_path / "new cache"))) == (0, 0, 1)
    monkeypatch.undo()
    file.write_bytes(b"other")
    assert home.content(home.back_up(file), file) == b"other"
