"""Drives that a program mounts by FUSE, as many systems do with NTFS and exFAT: sets of drives, and plain repositories."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_program import Program
from loop_drives import BY_PROGRAM, LoopDrives

from safehold.core.errors import DamageError, StoreUnreachable
from safehold.storage.local import LocalStore
from safehold.storage.volumes.drives import mounts
from safehold.storage.volumes.drives.drive_store import DriveStore

LARGE = 9_000_000
KINDS = pytest.mark.parametrize("kind", sorted(BY_PROGRAM))


@pytest.fixture
def drives(tmp_path: Path) -> Iterator[LoopDrives]:
    made = LoopDrives(tmp_path / "drives")
    yield made
    made.close()


@pytest.fixture
def home(program: Program, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program with a set that has no drive yet."""
    monkeypatch.setenv("SAFEHOLD_STATE_DIR", str(program.folder / "state"))
    program.do("volumes", "create", "home", "--key-file", program.key)
    program.set(SAFEHOLD_REPO="volumes:home", SAFEHOLD_KEY_FILE=str(program.key))
    return program


def add(home: Program, drives: LoopDrives, size: str = "40M") -> None:
    """Two drives with NTFS, A and B."""
    home.do("volumes", "add", "home", drives.new("A", size, "ntfs"), "--label", "Stick A", "--place", "safe")
    home.do("volumes", "add", "home", drives.new("B", size, "ntfs"), "--label", "Stick B")


def volumes(home: Program) -> dict[str, dict[str, object]]:
    listed = home.do("volumes", "list", "home", "--json").value["volumes"]
    assert isinstance(listed, list)
    return {str(each["label"]): each for each in listed}


def uuid_of(image: Path) -> str:
    """As blkid reads it; of NTFS it is the serial number, of exFAT that of the volume."""
    words = ["blkid", "-p", "-s", "UUID", "-o", "value", image]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def when_writing(place: Path, running: subprocess.Popen[bytes]) -> None:
    """Wait until a pack is being written on a drive."""
    while running.poll() is None:
        for part in (place / "tmp").glob("*.part"):
            try:
                if part.stat().st_size > 1_000_000:
                    return
            except OSError:
                continue
        time.sleep(0.005)


def same(source: Path, target: Path) -> bool:
    words = ["diff", "-r", "--no-dereference", source, target / str(source)[1:]]
    return subprocess.run(words, check=False).returncode == 0


def test_two_drives_rotate(home: Program, drives: LoopDrives, source: Path, tmp_path: Path) -> None:
    add(home, drives)
    mount = mounts.mount_of(drives.media / "A" / "safehold")
    assert (mount.path, mount.kind) == (str(drives.media / "A"), "fuseblk")
    assert mounts.is_plugged_in(mount.device) and not mounts.is_own_disk(mount)
    known = volumes(home)
    assert [known[f"Stick {name}"]["fs_uuid"] for name in "AB"] == [uuid_of(drives.image(name)) for name in "AB"]
    assert known["Stick A"]["fs_uuid"]
    home.do("volumes", "enroll", "home", "--root", tmp_path / "root")
    rule = (tmp_path / "root/etc/udev/rules.d/90-safehold-home.rules").read_text()
    assert f'ENV{{ID_FS_UUID}}=="{known["Stick A"]["fs_uuid"]}"' in rule
    home.do("backup", source)
    drives.unplug("A")
    (source / "What: is it?").write_bytes(os.urandom(100_000))
    on_b = str(home.do("backup", source, "--json").value["snapshot"])
    drives.unplug("B")

    # Nothing is there; then another drive, where A was mounted, empty or of another set.
    assert home("backup", source).status == 14
    assert not any((drives.media / "A").iterdir())
    other = drives.new("other", "24M", "ntfs")
    (other / "safehold").mkdir()
    subprocess.run(["umount", other], check=True)
    drives.ejected("other")
    drives.mounted.add("A")
    subprocess.run(["mount", "-t", "ntfs-3g", "-o", "loop", drives.image("other"), drives.media / "A"], check=True)
    refused = home("backup", source)
    assert refused.status == 14 and "is now something else" in refused.err
    assert not any((drives.media / "A/safehold").iterdir())
    drives.unplug("A")

    drives.plug("A")
    drives.plug("B")
    home.do("volumes", "sync", "home")
    assert home.do("volumes", "verify", "home").out.count("is verified.") == 2
    home.do("-r", "volumes:home@Stick A", "restore", on_b, "--target", tmp_path / "out")
    assert same(source, tmp_path / "out")
    for name in "AB":
        home.do("volumes", "eject", "home", f"Stick {name}")
        drives.ejected(name)
    # The machine is gone, and what is left is a drive that can only be read.
    for name in "state", "cache":
        shutil.rmtree(home.folder / name)
    drives.plug("A", "loop,ro")
    home.do("volumes", "recover", drives.media / "A")
    home.do("restore", "latest", "--target", tmp_path / "again")
    assert same(source, tmp_path / "again")


def test_a_drive_that_is_gone_in_the_middle_loses_nothing(home: Program, drives: LoopDrives, source: Path) -> None:
    add(home, drives, "64M")
    home.do("backup", source)
    for number, go in enumerate((drives.kill, drives.unplug)):
        before = set(held(home))
        (source / f"large{number}").write_bytes(os.urandom(LARGE))
        running = home.start("backup", source)
        when_writing(drives.media / "A/safehold", running)
        go("A")
        out, err = running.communicate(timeout=60)
        assert running.returncode == 14 and b"Stick A (safe) is gone: it was unplugged" in err, (out, err)
        # A dead mount in the place of A holds up nobody.
        on_b = str(home.do("backup", source, "--json").value["snapshot"])
        assert "Stick A" not in held(home)[on_b] and before <= set(held(home))
        if "A" in drives.mounted:
            drives.unplug("A")
        assert not any((drives.media / "A").iterdir())
        drives.plug("A")
        home.do("volumes", "sync", "home")
        assert held(home)[on_b] == ["Stick A", "Stick B"]
    home.do("volumes", "verify", "home")
    home.do("-r", "volumes:home@Stick A", "restore", "latest", "--target", home.folder / "out")
    assert same(source, home.folder / "out")


def held(home: Program) -> dict[str, list[str]]:
    listed = home.do("snapshots", "--json").value["snapshots"]
    assert isinstance(listed, list)
    return {str(each["id"]): each["volumes"] for each in listed}


def test_a_full_drive(home: Program, drives: LoopDrives, source: Path) -> None:
    add(home, drives)
    home.do("backup", source)
    ballast = drives.media / "B/ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(drives.media / "B").free - 3_000_000))
    (source / "large").write_bytes(os.urandom(LARGE))
    home.set(SAFEHOLD_CACHE_DIR=str(home.folder / "cache2"))
    full = home("-r", "volumes:home@Stick B", "backup", source)
    assert full.status == 15 and "Stick B is full." in full.err
    assert not list((drives.media / "B/safehold/tmp").glob("*.part"))
    assert len(held(home)) == 1
    home.do("-r", "volumes:home@Stick A", "backup", source, "-q")
    ballast.unlink()
    home.do("volumes", "sync", "home")
    assert all(places == ["Stick A", "Stick B"] for places in held(home).values())
    assert home.do("volumes", "verify", "home").out.count("is verified.") == 2


@KINDS
def test_a_plain_repository(program: Program, drives: LoopDrives, source: Path, kind: str) -> None:
    safehold, place = program, drives.new("A", "64M", kind)
    safehold.do("init", place / "repository", "--key-file", safehold.key)
    safehold.set(SAFEHOLD_REPO=str(place / "repository"), SAFEHOLD_KEY_FILE=str(safehold.key))
    safehold.do("backup", source)
    (source / "large").write_bytes(os.urandom(LARGE))
    running = safehold.start("backup", source)
    when_writing(place / "repository", running)
    drives.kill("A")
    out, err = running.communicate(timeout=60)
    assert running.returncode == 14 and b"is not there" in err, (out, err)
    for words in ("snapshots",), ("backup", source):
        dead = safehold(*words)
        assert dead.status == 14 and "is not there" in dead.err and "plugged in" in dead.err
    drives.unplug("A")
    assert safehold("backup", source).status != 0 and not any(place.iterdir())
    drives.plug("A")
    safehold.do("backup", source)
    first = safehold.do("snapshots", "--json").value["snapshots"]
    assert isinstance(first, list) and len(first) == 2
    safehold.do("forget", str(first[0]["id"]), "--prune")
    assert safehold.do("check", "--read-data").status == 0
    ballast = place / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(place).free - 2_000_000))
    (source / "larger").write_bytes(os.urandom(LARGE))
    full = safehold("backup", source)
    assert full.status == 15 and "is full" in full.err
    ballast.unlink()
    safehold.do("backup", source)
    safehold.do("restore", "latest", "--target", safehold.folder / "out")
    assert same(source, safehold.folder / "out")
    # One that can only be read still restores.
    drives.unplug("A")
    drives.plug("A", "loop,ro")
    safehold.do("restore", "latest", "--target", safehold.folder / "again")
    assert same(source, safehold.folder / "again")
    refused = safehold("backup", source)
    assert refused.status == 1 and "read-only" in refused.err.lower(), refused.err


def _stored(number: int) -> tuple[str, bytes]:
    data = hashlib.shake_128(b"%d" % number).digest(200_000 + number)
    return f"packs/{hashlib.sha256(data).hexdigest()}", data


@KINDS
def test_what_was_acknowledged_survives_a_loss_of_power(drives: LoopDrives, kind: str) -> None:
    """The image is copied while it is mounted: the copy has what reached the drive until then."""
    place = drives.new("A", "24M", kind)
    store = LocalStore(place / "store", create=True)
    wanted = dict(_stored(number) for number in range(12))
    for key, data in wanted.items():
        store.put(key, data)
    unfinished = store.upload()
    unfinished.write(b"never finished" * 100_000)
    gone = next(iter(wanted))
    store.delete(gone)
    store.put("snapshots/x", b"last")  # puts the deletion on the drive first
    drives.clone("A", "after")
    unfinished.abort()
    store.close()
    later = LocalStore(drives.plug("after") / "store")
    assert later.get("snapshots/x") == b"last"
    del wanted[gone]
    assert {info.key: later.get(info.key) for info in later.list("packs/")} == wanted
    later.close()


@KINDS
def test_reading_back_asks_the_drive(drives: LoopDrives, kind: str) -> None:
    """What the program that mounts it has the system remember of the device counts for nothing."""
    place = drives.new("A", "24M", kind)
    LocalStore(place / "store", create=True).close()
    store = DriveStore(place / "store", "Stick A", mounts.mount_of(place))
    key, data = _stored(1)
    store.put(key, data)
    assert store.read_back() == len(data)
    image = drives.image("A")
    at = image.read_bytes().index(data[100_000:100_100])
    with image.open("r+b") as file:
        file.seek(at)
        file.write(b"rotten")
    with pytest.raises(DamageError, match="Stick A does not give back"):
        store.read_back()
    store.close()


def test_a_store_is_the_same_after_the_system_forgot_its_folders(drives: LoopDrives) -> None:
    """exfat-fuse gives a folder another inode number when it is looked up again."""
    place = drives.new("A", "24M", "exfat")
    store = LocalStore(place / "store", create=True)
    store.put("packs/a", b"a")
    before = os.stat(place / "store").st_ino
    Path("/proc/sys/vm/drop_caches").write_text("2")
    (place / "other").mkdir()  # takes a number in between
    assert os.stat(place / "store").st_ino != before
    store.put("index/b", b"b")
    assert {info.key for info in store.list("")} == {"packs/a", "index/b"}
    drives.kill("A")
    with pytest.raises(StoreUnreachable):
        list(store.list(""))
    store.close()
