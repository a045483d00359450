"""Logs that no base needs go, the others stay: whatever a run is stopped by, and whoever goes on uploading meanwhile."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from safehold.ops.backup.memory import Memory
from safehold.ops.databases import logs, retirement
from safehold.ops.databases.assembly import Assembly
from safehold.ops.databases.recording import Filled, RecordOptions, record_database
from safehold.ops.databases.retirement import retire
from safehold.ops.forget import forget
from safehold.repo import files
from safehold.repo.prune import Options, execute, plan
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Database
from safehold.storage.local import LocalStore
from safehold.testing.builders import Household

OPTIONS = RecordOptions()
WAL = Database(engine="postgresql", system="71", name="postgresql://localhost")


@pytest.fixture
def household(tmp_path: Path) -> Household:
    return Household(LocalStore(tmp_path / "repo", create=True), tmp_path / "cache")


def _logs(repository: Repository, *numbers: int, timeline: int = 1) -> str:
    new = []
    for number in numbers:
        content = b"log %d of %d" % (number, timeline)
        log = logs.Log(f"{timeline}-{number:04}", timeline, number * 16, number * 16 + 16, hashlib.sha256(content).digest())
        rest = [content]
        new.append(logs.NewLog(log, lambda _, rest=rest: rest.pop() if rest else b""))
    return logs.commit(repository, WAL, new, OPTIONS).id


def _base(repository: Repository, number: int, system: str = "71") -> str:
    database = Database(engine="postgresql", system=system, timeline=1, start=number * 16 + 3, stop=number * 16 + 9)

    def fill(assembly: Assembly, memory: Memory) -> Filled:
        assembly.data(b"base", b"base %d" % number)
        return Filled(database=database)

    return record_database(repository, "postgresql", system, OPTIONS, fill).id


def _there(household: Household, cache: Path | None = None) -> list[str]:
    repository = household.open(cache=cache)
    found = logs.catalogue(repository, "postgresql", "71").logs
    for stored in found:
        assert b"".join(files.stream(files.open_file(repository.reader, stored.entry))).startswith(b"log ")
    return [stored.log.name for stored in found]


def _commits(household: Household) -> list[str]:
    return [stored.id for stored in household.open().visible_snapshots() if stored.snapshot.is_logs]


def test_logs_before_the_oldest_kept_base_go(household: Household) -> None:
    first = _base(household.open(), 0)
    for number in range(4):
        _logs(household.open(), number)
    _base(household.open(), 2)
    retired = retire(household.open())
    assert len(retired.commits) == 3 and retired.logs == 0  # only commits that the last one holds
    assert _there(household) == ["1-0000", "1-0001", "1-0002", "1-0003"]
    forget(household.open(), [first])
    retired = retire(household.open())
    assert (retired.logs, len(retired.commits)) == (2, 1)
    assert _there(household) == ["1-0002", "1-0003"]
    assert retire(household.open()) == retirement.Retired(commits=[], logs=0, bytes=0)
    execute(household.open(), plan(household.open(), Options(empty_trash=True, confirm_large=True)))
    assert _there(household) == ["1-0002", "1-0003"]


def test_without_a_base_all_stays(household: Household) -> None:
    only = _base(household.open(), 3)
    _base(household.open(), 9, system="72")
    _logs(household.open(), 0, 1, 2, 3)
    forget(household.open(), [only])
    assert retire(household.open()).commits == []
    assert len(_there(household)) == 4


def test_an_unreadable_snapshot_keeps_everything(household: Household, tmp_path: Path) -> None:
    base = _base(household.open(), 0)
    _base(household.open(), 3)
    _logs(household.open(), 0, 1, 2, 3)
    path = tmp_path / "repo" / "snapshots" / base
    path.chmod(0o600)
    path.write_bytes(b"x" + path.read_bytes()[1:])
    assert retire(household.open()).commits == []
    assert len(_there(household)) == 4


def test_stopped_between_the_steps_it_goes_on(household: Household, monkeypatch: pytest.MonkeyPatch) -> None:
    _logs(household.open(), 0, 1, 2)
    _base(household.open(), 1)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(retirement, "forget", die)
        with pytest.raises(KeyboardInterrupt):
            retire(household.open())
    assert _there(household) == ["1-0000", "1-0001", "1-0002"]
    assert len(_commits(household)) == 2
    assert retire(household.open()).logs == 1
    assert _there(household) == ["1-0001", "1-0002"]
    assert len(_commits(household)) == 1


def test_an_uploader_goes_on_after_its_commit_went(household: Household, tmp_path: Path) -> None:
    key, cache = household.add_key("writer", "server"), tmp_path / "cache of the server"
    uploader = household.open(key, cache=cache)
    _logs(uploader, 0, 1)
    _base(household.open(), 1)
    assert retire(household.open()).logs == 1
    _logs(uploader, 2)
    assert _there(household) == ["1-0001", "1-0002"]
    execute(household.open(), plan(household.open(), Options(empty_trash=True, confirm_large=True)))
    _logs(uploader, 3)
    assert _there(household) == ["1-0001", "1-0002", "1-0003"]


def test_other_timelines_stay_from_that_position_on(household: Household) -> None:
    _logs(household.open(), 0, 1, 2)
    _logs(household.open(), 1, 2, timeline=2)
    _base(household.open(), 2)
    assert retire(household.open()).logs == 3
    assert _there(household) == ["1-0002", "2-0002"]


def test_a_dry_run_changes_nothing(household: Household) -> None:
    first = _base(household.open(), 0)
    _base(household.open(), 2)
    _logs(household.open(), 0, 1, 2)
    before = _commits(household)
    assert retire(household.open(), gone=[first], dry_run=True).logs == 2
    assert _commits(household) == before and len(_there(household)) == 3
