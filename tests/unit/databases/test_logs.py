"""Databases' logs in a repository: what is committed is catalogued, gaps show, and a writer needs to read nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from safehold.ops.backup.memory import Memory
from safehold.ops.databases import logs
from safehold.ops.databases.assembly import Assembly
from safehold.ops.databases.recording import Filled, RecordOptions, record_database
from safehold.repo import files, trees
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Database
from safehold.storage.local import LocalStore
from safehold.testing.builders import Household

OPTIONS = RecordOptions()
WAL = Database(engine="postgresql", system="71", name="postgresql://localhost")


@pytest.fixture
def household(tmp_path: Path) -> Household:
    return Household(LocalStore(tmp_path / "repo", create=True), tmp_path / "cache")


def _new(number: int, content: bytes, timeline: int = 1) -> logs.NewLog:
    rest = [content]
    log = logs.Log(f"{timeline}-{number:04}", timeline, number * 16, number * 16 + 16, hashlib.sha256(content).digest())
    return logs.NewLog(log, lambda _: rest.pop() if rest else b"")


def _content(repository: Repository, stored: logs.StoredLog) -> bytes:
    return b"".join(files.stream(files.open_file(repository.reader, stored.entry)))


def test_every_commit_holds_the_logs_before_it(household: Household) -> None:
    repository = household.open()
    for number in range(3):
        logs.commit(repository, WAL, [_new(number, b"log %d" % number)], OPTIONS)
    newest = repository.visible_snapshots()[-1]
    found = logs.catalogue(repository, "postgresql", "71", [newest])
    assert [_content(repository, stored) for stored in found.logs] == [b"log 0", b"log 1", b"log 2"]
    assert [(s.start, s.end) for s in found.spans()] == [(0, 48)]


def test_a_writer_commits_logs_without_reading_any(household: Household) -> None:
    key = household.add_key("writer", "database server")
    for number in range(2):
        logs.commit(household.open(key), WAL, [_new(number, b"log %d" % number)], OPTIONS)
    reader = household.open()
    newest = reader.visible_snapshots()[-1]
    found = logs.catalogue(reader, "postgresql", "71", [newest])
    assert [_content(reader, stored) for stored in found.logs] == [b"log 0", b"log 1"]


def test_the_catalogue_is_the_union_and_shows_gaps(household: Household, tmp_path: Path) -> None:
    logs.commit(household.open(), WAL, [_new(0, b"a"), _new(1, b"b")], OPTIONS)
    other = household.open(cache=tmp_path / "another machine")
    logs.commit(other, WAL, [_new(3, b"d"), _new(4, b"e", timeline=2)], OPTIONS)
    found = logs.catalogue(household.open(), "postgresql", "71")
    assert [stored.log.name for stored in found.logs] == ["1-0000", "1-0001", "1-0003", "2-0004"]
    assert found.gaps() == [(1, 32, 48)]
    span = found.covering(1, 20)
    assert span is not None and (span.start, span.end) == (0, 32)
    assert found.covering(1, 40) is None
    assert logs.catalogue(household.open(), "postgresql", "72").logs == []


def test_logs_of_a_forgotten_commit_are_not_built_upon(household: Household) -> None:
    from safehold.ops.forget import forget

    first = logs.commit(household.open(), WAL, [_new(0, b"a")], OPTIONS)
    forget(household.open(), [first.id])
    logs.commit(household.open(), WAL, [_new(1, b"b")], OPTIONS)
    assert [s.log.name for s in logs.catalogue(household.open(), "postgresql", "71").logs] == ["1-0001"]


def test_an_assembly_stores_only_changed_pages_also_where_the_memory_is_lost(household: Household, tmp_path: Path) -> None:
    pages = [bytes([n]) * 8192 for n in range(1, 200)] + [b"\0" * 8192] * 57
    before, content = b"".join(pages), bytearray(b"".join(pages))
    content[8192 * 70 : 8192 * 71] = b"\xee" * 8192

    def fill(data: bytes) -> object:
        def do(assembly: Assembly, memory: Memory) -> Filled:
            assert memory is not None
            blocks = [data[at : at + (1 << 20)] for at in range(0, len(data), 1 << 20)]
            assembly.paged(b"base/1/2", iter(blocks), len(data), 8192)
            assembly.data(b"PG_VERSION", b"15\n")
            return Filled(database=WAL)

        return do

    for data, cache in ((before, "cache"), (bytes(content), "cache"), (before, "another"), (bytes(content), "another")):
        repository = household.open(cache=tmp_path / cache)
        result = record_database(repository, "postgresql", "one", OPTIONS, fill(data))  # type: ignore[arg-type]
        entry = trees.find(repository.reader, result.snapshot.tree, b"base/1/2")
        assert entry is not None
        assert b"".join(files.stream(files.open_file(repository.reader, entry))) == data
        assert data == before or result.snapshot.statistics.added_raw < 8192 + 6000
    assert result.snapshot.statistics.added_raw < 6000


def test_trees_of_commits_are_read_once(household: Household, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        logs.commit(household.open(), WAL, [_new(number, b"log %d" % number)], OPTIONS)
    other = household.open(cache=tmp_path / "another machine")
    logs.commit(other, WAL, [_new(2, b"log 2"), _new(7, b"log 7")], OPTIONS)
    before = logs.catalogue(household.open(), "postgresql", "71")
    assert [stored.log.name for stored in before.logs] == ["1-0000", "1-0001", "1-0002", "1-0007"]
    with monkeypatch.context() as patched:
        patched.setattr(trees, "read_node", None)
        again = logs.catalogue(household.open(), "postgresql", "71")
    assert again.logs == before.logs
    assert [_content(household.open(), stored) for stored in again.logs] == [b"log 0", b"log 1", b"log 2", b"log 7"]


def test_what_only_a_removed_commit_held_is_not_in_the_catalogue(household: Household, tmp_path: Path) -> None:
    """As numbers of kept entries go on: also after most of what was kept was let go."""

    def commit(machine: int, number: int) -> str:
        repository = household.open(cache=tmp_path / f"machine {machine}")
        return logs.commit(repository, WAL, [_new(number, b"log %d" % number)], RecordOptions(host=f"host {machine}")).id

    def names() -> list[str]:
        return [stored.log.name for stored in logs.catalogue(household.open(), "postgresql", "71").logs]

    made = [commit(number, number) for number in range(6)]
    assert len(names()) == 6
    for each in made[:2] + made[3:5]:
        household.store.delete(f"snapshots/{each}")
    assert names() == ["1-0002", "1-0005"]
    for number in (7, 8, 9):
        commit(7, number)
        assert names() == ["1-0002", "1-0005", *(f"1-000{each}" for each in range(7, number + 1))]


def test_the_newest_of_a_growing_log_counts_however_often_it_is_looked_at(household: Household) -> None:
    for content in (b"begun", b"begun and grown"):
        new = _new(0, content)
        growing = logs.NewLog(msgspec.structs.replace(new.log, growing=True), new.read)
        logs.commit(household.open(), WAL, [growing], OPTIONS)
        for _ in range(2):
            (stored,) = logs.catalogue(household.open(), "postgresql", "71").logs
            assert _content(household.open(), stored) == content
