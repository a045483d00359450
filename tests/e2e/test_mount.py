"""Snapshots mounted with FUSE, looked at by other programs."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from mounts import Served, mounted, start

from safehold.ops.forget import forget
from safehold.storage.local import LocalStore
from safehold.testing.builders import Household

BIG = 5_000_000


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    """A folder that other users may look into, too."""
    folder = Path(tempfile.mkdtemp(prefix="mount-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def source(base: Path) -> Path:
    """A tree with one of everything."""
    top = base / "source"
    (top / "folder" / "below").mkdir(parents=True)
    (top / "empty").write_bytes(b"")
    (top / "small").write_text("small\n")
    (top / "big").write_bytes(random.Random(1).randbytes(BIG))
    with (top / "sparse").open("wb") as file:
        file.seek(3_000_000)
        file.write(b"in the middle" * 1000)
        file.truncate(9_000_000)
    os.link(top / "small", top / "folder" / "linked")
    os.link(top / "small", top / "folder" / "below" / "linked too")
    (top / "link").symlink_to("folder/below")
    (top / "dangling").symlink_to("/no/where")
    os.mkfifo(top / "fifo", 0o640)
    os.mknod(top / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(top / "socket"))
    Path(os.fsdecode(os.fsencode(top) + b"/na\xffme \n odd")).write_text("odd")
    (top / "secret").write_text("secret")
    (top / "secret").chmod(0o600)
    (top / "acl").write_text("acl")
    subprocess.run(["setfacl", "-m", "u:65534:---,g:daemon:r", top / "acl"], check=True)
    subprocess.run(["setfacl", "-d", "-m", "u:daemon:rx", top / "folder"], check=True)
    os.setxattr(top / "small", "user.colour", b"\x00blue")
    os.chown(top / "folder", 1234, 4321)
    (top / "folder").chmod(0o3775)
    for path in top.rglob("*"):
        os.utime(path, ns=(1, 1_234_567_890_123_456_789), follow_symlinks=False)
    many = top / "many"
    many.mkdir()
    for number in range(3000):
        (many / f"{number}").write_text(str(number))
    return top


@pytest.fixture(scope="module")
def household(base: Path, source: Path) -> Household:
    made = Household(LocalStore(base / "store", create=True), base / "cache")
    made.back_up(source, tags=["weekly", "a/b"], host="first")
    return made


@pytest.fixture(scope="module")
def served(household: Household, base: Path) -> Iterator[Served]:
    with mounted(household, base / "mount") as running:
        yield running


@pytest.fixture(scope="module")
def shown(served: Served, source: Path) -> Path:
    """The source, as the mount shows it."""
    return served.latest / str(source)[1:]


def test_rsync_and_diff_find_no_difference(source: Path, shown: Path) -> None:
    for one, other in ((source, shown), (shown, source)):
        command = ["rsync", "-aHAXn", "--checksum", "--itemize-changes", "--delete", f"{one}/", f"{other}/"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""
    command = ["diff", "-r", "--no-dereference", "-x", "fifo", "-x", "device", "-x", "socket", source, shown]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


def test_stat_says_the_same(source: Path, shown: Path) -> None:
    for path in [*source.rglob("*")]:
        was, found = path.lstat(), (shown / path.relative_to(source)).lstat()
        names = ["st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_ctime_ns", "st_rdev"]
        if not path.is_dir() or path.is_symlink():
            names += ["st_nlink", "st_size"]
        assert [getattr(was, name) for name in names] == [getattr(found, name) for name in names], path


def test_inodes_are_unique_but_for_names_of_one_file(shown: Path) -> None:
    paths = [shown, *shown.rglob("*")]
    assert len({path.lstat().st_ino for path in paths}) == len(paths) - 2
    listed = {entry.name: entry.inode() for entry in os.scandir(shown)}
    assert listed == {name: (shown / name).lstat().st_ino for name in listed}
    assert (shown / "small").stat().st_ino == (shown / "folder" / "linked").stat().st_ino


def test_a_sparse_file_is_one(source: Path, shown: Path, base: Path) -> None:
    assert (shown / "sparse").stat().st_blocks * 512 < 100_000
    with (shown / "sparse").open("rb") as file:
        data = os.lseek(file.fileno(), 0, os.SEEK_DATA)
        assert 2_900_000 < data <= 3_000_000
        assert 3_013_000 <= os.lseek(file.fileno(), data, os.SEEK_HOLE) < 3_100_000
        with pytest.raises(OSError, match=os.strerror(errno.ENXIO)):
            os.lseek(file.fileno(), 4_000_000, os.SEEK_DATA)
    subprocess.run(["cp", "--sparse=auto", shown / "sparse", base / "copy"], check=True)
    assert (base / "copy").read_bytes() == (source / "sparse").read_bytes()
    assert (base / "copy").stat().st_blocks * 512 < 200_000


def test_reading_anywhere(source: Path, shown: Path) -> None:
    chance = random.Random(2)
    for name in ("big", "sparse"):
        expected = (source / name).read_bytes()
        with (shown / name).open("rb", buffering=0) as file:
            for _ in range(200):
                offset, length = chance.randrange(len(expected) + 1000), chance.choice([1, 4096, 100_000, 2_000_000])
                assert os.pread(file.fileno(), length, offset) == expected[offset : offset + length]


def _reads_rightly(path: Path, expected: bytes, seed: int) -> bool:
    chance = random.Random(seed)
    with path.open("rb", buffering=0) as file:
        for _ in range(100):
            offset = chance.randrange(len(expected))
            if os.pread(file.fileno(), 70_000, offset) != expected[offset : offset + 70_000]:
                return False
    return all((path.parent / "many" / str(number)).read_text() == str(number) for number in range(seed, 3000, 16))


def test_several_processes_at_once(source: Path, shown: Path) -> None:
    expected = (source / "big").read_bytes()
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert all(pool.starmap(_reads_rightly, [(shown / "big", expected, seed) for seed in range(8)]))


def test_nothing_can_be_written(shown: Path, served: Served) -> None:
    for attempt in (
        lambda: (shown / "new").write_text("x"),
        lambda: (shown / "small").open("r+b"),
        (shown / "small").unlink,
        lambda: (shown / "small").chmod(0o777),
        (served.place / "new").mkdir,
        lambda: os.setxattr(shown / "small", "user.x", b"x"),
    ):
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
            attempt()


def test_what_is_not_there(shown: Path, served: Served) -> None:
    for path in (shown / "missing", shown / "small" / "below", served.place / "by-id" / "missing", served.place / "x" / "y"):
        with pytest.raises((FileNotFoundError, NotADirectoryError)):
            path.lstat()


def test_folders_above_the_snapshots(served: Served, source: Path) -> None:
    place, below = served.place, str(source)[1:] + "/small"
    assert sorted(os.listdir(place)) == ["by-id", "by-time", "hosts", "latest", "tags"]
    (name,) = os.listdir(place / "by-time")
    (short,) = os.listdir(place / "by-id")
    assert name.endswith(f"_{short}")
    assert os.readlink(place / "latest") == f"by-time/{name}"
    assert os.listdir(place / "hosts") == ["first"]
    assert sorted(os.listdir(place / "tags")) == ["a_b", "weekly"]
    roots = ["latest", f"by-time/{name}", f"by-id/{short}", f"hosts/first/{name}", "hosts/first/latest", f"tags/a_b/{name}"]
    for root in roots:
        assert (place / root / below).read_text() == "small\n", root
    assert len({(place / root / below).stat().st_ino for root in roots}) == 1
    assert os.statvfs(place).f_files > 3000


def test_new_and_forgotten_snapshots_show(household: Household, base: Path, source: Path) -> None:
    with mounted(household, base / "fresh", '{"fresh_seconds": 0}') as running:
        before = os.readlink(running.latest)
        result = household.back_up(source / "folder", tags=["new"])
        try:
            assert os.readlink(running.latest) != before
            assert (running.place / "by-id" / result.id[:8]).is_dir()
            assert len(os.listdir(running.place / "by-time")) == 2
            assert "new" in os.listdir(running.place / "tags")
        finally:
            forget(household.open(), [result.id])
        assert len(os.listdir(running.place / "by-time")) == 1
        assert os.readlink(running.latest) == before


def _as_nobody(*command: str | Path) -> subprocess.CompletedProcess[str]:
    identity = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    return subprocess.run([*identity, *command], capture_output=True, text=True, check=False)


def test_others_look_in_only_when_allowed(household: Household, base: Path, shown: Path, source: Path) -> None:
    assert _as_nobody("cat", shown / "small").returncode != 0
    with mounted(household, base / "open", '{"allow_other": true}') as running:
        inside = running.latest / str(source)[1:]
        assert _as_nobody("cat", inside / "small").stdout == "small\n"
        for name in ("secret", "acl"):
            assert "Permission denied" in _as_nobody("cat", inside / name).stderr
            assert (inside / name).read_text() == name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_unmounts(household: Household, base: Path, number: int) -> None:
    with mounted(household, base / "signalled") as running:
        assert running.latest.is_dir()
        assert running.stop(number) == "ended\n"
        assert not running.place.exists()  # it had been made for the mount


def test_unmounting_from_outside(household: Household, base: Path) -> None:
    (base / "kept").mkdir()
    with mounted(household, base / "kept") as running:
        assert running.unmount() == "ended\n"
        assert running.place.is_dir()


def test_unfit_mount_points(household: Household, base: Path) -> None:
    (base / "full").mkdir(exist_ok=True)
    (base / "full" / "file").write_text("x")
    for place, reason in (
        (base / "full", "is not empty"),
        (base / "full" / "file", "Not a directory"),
        (base / "a" / "b", "No such"),
    ):
        output = start(household, place).rest()
        assert output.startswith("mount: ")
        assert reason in output
    with mounted(household, base / "full", '{"nonempty": true}') as running:
        assert "latest" in os.listdir(running.place)
    assert os.listdir(base / "full") == ["file"]


def test_a_mount_that_died(household: Household, base: Path) -> None:
    with mounted(household, base / "died") as running:
        running.process.kill()
        running.process.wait()
        output = start(household, base / "died").rest()
        assert output.startswith("mount: ")
        assert "fusermount3 -u" in output
        subprocess.run(["fusermount3", "-u", running.place], check=True)
    with mounted(household, base / "died") as running:
        assert running.latest.is_dir()


def test_a_damaged_pack_spoils_only_what_lies_in_it(base: Path, source: Path) -> None:
    household = Household(LocalStore(base / "damaged", create=True), base / "damaged-cache")
    household.back_up(source / "many")
    packs = set((base / "damaged" / "packs").rglob("*"))
    household.back_up(source)
    for pack in sorted(set((base / "damaged" / "packs").rglob("*")) - packs):
        if pack.is_file() and pack.stat().st_size > BIG:
            pack.chmod(0o644)
            content = bytearray(pack.read_bytes())
            content[2_000_000] ^= 1
            pack.write_bytes(content)
    with mounted(household, base / "damaged-mount") as running:
        inside = running.latest / str(source)[1:]
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            (inside / "big").read_bytes()
        for name in ("small", "sparse", "folder/linked", "many/17"):
            assert (inside / name).read_bytes() == (source / name).read_bytes()
        output = running.stop()
        assert output.startswith("damaged ")
        assert "/big" in output


BACKGROUND = """
import os, sys
from safehold.views.background import in_background

def serve(ready):
    print("asks for the passphrase", flush=True)
    if sys.argv[1] == "fails":
        return 13
    ready()
    print("cannot be seen", flush=True)
    os.kill(int(sys.argv[2]), 0)
    with open(sys.argv[1], "w") as file:
        file.write(f"{os.getpid() == os.getsid(0)} {os.getcwd()}")
    return 0

sys.exit(in_background(serve))
"""


def test_in_the_background(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "told")

    def run(word: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", BACKGROUND, word, str(os.getpid())]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    gone_on = run(str(tmp_path / "told"))
    assert (gone_on.returncode, gone_on.stdout) == (0, "asks for the passphrase\n")
    assert (tmp_path / "told").read_text() == "True /"
    failed = run("fails")
    assert (failed.returncode, failed.stdout) == (13, "asks for the passphrase\n")
