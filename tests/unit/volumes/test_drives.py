"""One drive: what lies on it, where it is mounted, what is said when it fails; and what waits for it."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest
from loop_drives import LoopDrives

from safehold.core.errors import DamageError, StoreError, StoreFull, StoreUnreachable, UsageError
from safehold.ops.volumes import jobs
from safehold.storage.local import LocalStore
from safehold.storage.volumes.catalogue import Catalogue, Volume, VolumeSet
from safehold.storage.volumes.drives import drive_store, enrolling, marks, mounts
from safehold.storage.volumes.drives.arrivals import Arrivals
from safehold.storage.volumes.drives.drive_store import DriveStore

HASHED = "snapshots/" + "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
"""The SHA-256 of ``foo``."""


@pytest.fixture
def store(tmp_path: Path) -> DriveStore:
    LocalStore(tmp_path / "drive", create=True).close()
    return DriveStore(tmp_path / "drive", "Stick A")


def test_what_was_written_is_read_back(store: DriveStore) -> None:
    store.put("sessions/ab/0", b"mark")
    store.delete("sessions/ab/0")
    assert not store.changed
    store.put(HASHED, b"foo")
    assert store.changed and store.read_back() == 3
    path = store.folder / HASHED
    path.chmod(0o600)
    path.write_bytes(b"fop")
    with pytest.raises(DamageError, match="Stick A does not give back"):
        store.read_back()
    path.unlink()
    assert store.read_back() == 0  # deleted again, by a prune


def test_a_drive_that_goes_is_said_to_be_gone(store: DriveStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put(HASHED, b"foo")
    failing = StoreError("x: Input/output error.")
    monkeypatch.setattr(drive_store, "is_plugged_in", lambda device: device != "8:1")
    assert store.explained(failing) is failing
    assert "Stick A is full" in str(store.explained(StoreFull("full")))
    gone = DriveStore(store.folder, "Stick B", mounts.Mount("", "8:1"))
    assert isinstance(gone.explained(failing), StoreUnreachable) and "Stick B is gone" in str(gone.explained(failing))
    upload = store.upload()
    upload.write(b"x")
    store.folder.rename(store.folder.with_name("away"))
    for attempt in (
        lambda: store.get(HASHED),
        lambda: store.put("a/b", b""),
        lambda: list(store.list("")),
        lambda: upload.commit("a/c"),
        store.read_back,
    ):
        with pytest.raises(StoreUnreachable, match="Stick A is gone"):
            attempt()
    upload.abort()
    store.close()
    assert not store.folder.exists()


def test_mounted_drives_are_told_from_this_machine_s_disk(tmp_path: Path) -> None:
    drives = LoopDrives(tmp_path / "with space")
    try:
        place = drives.new("A", "4M")
        found = mounts.mount_of(place / ".")
        assert found.path == str(place) and found.kind == "ext4" and not mounts.is_own_disk(found)
        uuid = subprocess.run(
            ["blkid", "-p", "-s", "UUID", "-o", "value", found.source], capture_output=True, text=True, check=True
        )
        assert mounts.device_of(found).fs_uuid == uuid.stdout.strip()
        assert mounts.is_plugged_in(found.device) and not mounts.is_plugged_in("259:999")
        assert mounts.is_own_disk(mounts.mount_of(tmp_path))
        with Arrivals() as arrivals:
            assert arrivals.told
            threading.Timer(0.1, drives.unplug, ["A"]).start()
            assert arrivals.wait(10)
            while "A" in drives.mounted:
                arrivals.wait(0.05)
    finally:
        drives.close()


def test_small_files_are_whole_or_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks.write_catalogue(tmp_path, b"one")

    def failing(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing)
        with pytest.raises(StoreError):
            marks.write_catalogue(tmp_path, b"two")
    assert marks.read_catalogue(tmp_path) == b"one"
    (tmp_path / marks.CATALOGUE).write_bytes(b"")  # what FAT may leave after a loss of power
    assert marks.read_catalogue(tmp_path) == b"two"
    (tmp_path / marks.IDENTITY).write_bytes(b'{"safehold": 1}')
    assert marks.read(tmp_path) is None and marks.read(tmp_path / "none") is None


def test_units_and_rules_quote_what_is_odd(tmp_path: Path) -> None:
    volume = Volume(uuid="ab" * 16, number=1, label="A", kind="drive", fs_uuid="1234-ABCD")
    odd = Volume(uuid="cd" * 16, number=2, label="B", kind="drive", fs_uuid='x", RUN+="evil')
    made = enrolling.files("home", [volume, odd], ["/opt/my app/safehold", "100%"], {"A": 'b "c"'}, "me")
    rule, unit = made.values()
    assert '=="1234-ABCD"' in rule and "evil" not in rule
    assert 'ExecStart="/opt/my app/safehold" "100%%"' in unit and 'Environment="A=b \\"c\\""' in unit and "User=me" in unit
    with pytest.raises(UsageError):
        enrolling.files("home", [odd], [], {}, "")
    (tmp_path / "etc").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be written"):
        enrolling.write(tmp_path, made)


def test_when_a_job_is_due(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path, create=True)
    catalogue.put_set(VolumeSet(id="11" * 16, name="home", kind="drives", media="drive"))
    a, b = (Volume(uuid=name * 32, number=number, label=name, kind="drive") for number, name in enumerate("ab", 1))
    job = jobs.of_call(["backup", "x"], "/home/me", {"HOME": "/home/me", "SAFEHOLD_PASSWORD": "secret"})
    assert "secret" not in repr(job)
    jobs.note(catalogue, job, 100, waiting=True)
    (noted,) = jobs.noted(catalogue)
    assert noted.id == job.id and noted.waiting
    assert not jobs.overdue(catalogue, noted, [], 50, 1000) and jobs.overdue(catalogue, noted, [a], 50, 1000)
    jobs.done(catalogue, noted, a.uuid, 1000)
    (noted,) = jobs.noted(catalogue)
    assert not jobs.overdue(catalogue, noted, [a], 50, 1049) and jobs.overdue(catalogue, noted, [a], 50, 1050)
    assert jobs.overdue(catalogue, noted, [a, b], 50, 1001)
    jobs.drop(catalogue, job.id)
    assert jobs.noted(catalogue) == []
    catalogue.close()
