"""A backup that is killed: what it had stored is used by the next one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from safehold.core.errors import StoreUnreachable
from safehold.repo import adopt, check
from safehold.repo.check import CheckOptions
from safehold.storage.local import LocalStore
from safehold.storage.wrappers.recording import RecordingStore
from safehold.testing.builders import Household
from safehold.testing.stores import Fault, FaultyStore, MemoryStore

CHILD = """
import sys
from pathlib import Path
from safehold.codec.keyfile import KeyFile
from safehold.ops.backup.options import BackupOptions
from safehold.ops.backup.run import back_up
from safehold.repo.repository import open_repository
from safehold.repo.writer import WriterOptions
from safehold.storage.local import LocalStore

store, key, cache, source = sys.argv[1:]
repository = open_repository(LocalStore(store), KeyFile.parse(Path(key).read_text()), Path(cache))
back_up(repository, BackupOptions(paths=[source], writer=WriterOptions(level=12, workers=1)))
"""


def packs_of(folder: Path) -> list[Path]:
    return [path for path in folder.glob("packs/*/*") if path.is_file()]


def wait_for(condition: object, process: subprocess.Popen[bytes]) -> None:
    for _ in range(6000):
        if condition():  # type: ignore[operator]
            return
        assert process.poll() is None, "the backup ended before it could be killed"
        time.sleep(0.01)
    raise AssertionError("the backup stored nothing")


def test_a_killed_backup_goes_on_with_what_was_stored(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    randomness = random.Random(3)
    for number in range(10):
        (source / f"file{number:02}").write_bytes(randomness.randbytes(8 << 20))
    house = Household(LocalStore(tmp_path / "repo", create=True), tmp_path / "cache")
    (tmp_path / "key").write_text(house.owner_key.text())
    arguments = [str(tmp_path / name) for name in ("repo", "key", "cache", "source")]
    process = subprocess.Popen([sys.executable, "-c", CHILD, *arguments])
    wait_for(lambda: len(packs_of(tmp_path / "repo")) >= 1, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list((tmp_path / "repo" / "snapshots").glob("*"))
    kept = sum(path.stat().st_size for path in packs_of(tmp_path / "repo"))
    assert kept >= 32 << 20
    between = check.check(house.open(), CheckOptions(read_data=100))
    assert between.clean
    assert {finding.code for finding in between.findings} == {"pack-unindexed"}

    recording = RecordingStore(LocalStore(tmp_path / "repo"))
    result = house.back_up(source, repository=house.open(store=recording))
    total = 10 * (8 << 20)
    assert recording.bytes_up() < total - kept + (1 << 20)
    assert result.snapshot.statistics.added_raw <= total - kept + (1 << 20)
    report = check.check(house.open(), CheckOptions(read_data=100))
    assert report.findings == []
    assert [state.whole for state in report.snapshots] == [True]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a").write_bytes(random.Random(1).randbytes(3_000_000))
    os.utime(folder / "a", (1, 1))
    return folder


def interrupted(house: Household, source: Path, **options: object) -> None:
    """A backup whose packs are stored and whose index is not."""
    broken = FaultyStore(house.store, Fault("put", prefix="index/", error=StoreUnreachable("gone")))
    with pytest.raises(StoreUnreachable):
        house.back_up(source, repository=house.open(store=broken, **options))  # type: ignore[arg-type]


def test_nothing_is_listed_when_nothing_changed(tmp_path: Path, source: Path) -> None:
    store = RecordingStore(MemoryStore())
    house = Household(store, tmp_path / "cache")
    house.back_up(source)
    while time.time_ns() < os.stat(source / "a").st_ctime_ns + 2_500_000_000:
        time.sleep(0.1)  # what changed just now is looked at again
    house.back_up(source)
    for _ in range(5):  # other programs may change the folders above meanwhile
        store.operations.clear()
        house.back_up(source)
        listed = {operation.key for operation in store.operations if operation.name == "list"}
        if not listed & {"packs/", "index/"}:
            return
    raise AssertionError("the index was needed though nothing had changed")


def test_a_device_adopts_its_own_and_a_readers_packs_only(tmp_path: Path, source: Path) -> None:
    house = Household(MemoryStore(), tmp_path / "cache")
    key = house.add_key("writer", "laptop")
    laptop = tmp_path / "laptop"
    interrupted(house, source, key=key, cache=laptop)
    left = [name for name in house.store.objects if name.startswith("packs/")]
    assert left
    assert adopt.adopt(house.open()) == 0
    assert adopt.adopt(house.open(key, cache=laptop)) == len(left)
    assert adopt.adopt(house.open(key, cache=laptop)) == 0


def test_a_damaged_leftover_is_left_alone(tmp_path: Path, source: Path) -> None:
    house = Household(MemoryStore(), tmp_path / "cache")
    interrupted(house, source)
    (name,) = [name for name, data in house.store.objects.items() if name.startswith("packs/") and len(data) > 1_000_000]
    data = bytearray(house.store.objects[name])
    data[500_000] ^= 1
    house.store.objects[name] = bytes(data)
    house.back_up(source)
    report = check.check(house.open(), CheckOptions(read_data=100))
    assert [state.whole for state in report.snapshots] == [True]
    assert [finding.key for finding in report.damage] == [name]


def test_the_same_process_goes_on_too(tmp_path: Path, source: Path) -> None:
    """An agent keeps its repository open between backups."""
    store = FaultyStore(MemoryStore(), Fault("put", prefix="index/", error=StoreUnreachable("gone")))
    house = Household(store, tmp_path / "cache")
    repository = house.open()
    with pytest.raises(StoreUnreachable):
        house.back_up(source, repository=repository)
    result = house.back_up(source, repository=repository)
    assert result.snapshot.statistics.added_raw < 1000  # at most the folder, had its node not been sealed yet
    assert check.check(repository, CheckOptions(read_data=100)).findings == []
