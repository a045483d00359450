"""Trees of every type and attribute on real file systems: backed up, restored, compared by other programs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from homes import Home, compared, counted, dumped

from safehold.storage.local import LocalStore

_MIB = 1024 * 1024
_NOT_DEEP = "--exclude=/deeper/"
"""rsync takes no paths of more than 4096 bytes; find does, and so the dumps have them."""


def _bytes(size: int, seed: int = 1) -> bytes:
    """Bytes that compress little and repeat never, cheaply."""
    return __import__("random").Random(seed).randbytes(size)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _sizes(top: Path) -> None:
    for size in (0, 1, 511, 512, 4095, 4096, 4097, 65535, 65536, 65537, 262143, 262144, 262145, 8 * _MIB, 8 * _MIB + 1):
        (top / f"size{size}").write_bytes(_bytes(size, size))
    (top / "size70M").write_bytes(_bytes(70 * _MIB))
    (top / "zeros").write_bytes(bytes(3 * _MIB))


def _names(top: Path) -> None:
    folder = os.fsencode(top)
    for name in (
        b"\xff\xfe not utf-8",
        b"new\nline",
        b"tab\t",
        b"x" * 255,
        b" ",
        b"-rf",
        "äöü€𝄞".encode(),
        b"\\",
        b'"',
        b"*",
        b"~",
    ):
        with open(folder + b"/" + name, "wb") as file:
            file.write(name)
    os.mkdir(folder + b"/\x80folder")
    os.symlink(b"\xff\ntarget", folder + b"/odd link")


def _kinds(top: Path) -> None:
    (top / "empty folder").mkdir()
    (top / "dangling").symlink_to("nowhere/at/all")
    (top / "absolute").symlink_to("/etc/passwd")
    (top / "to folder").symlink_to("empty folder")
    os.symlink("x" * 1000, top / "long link")
    os.mkfifo(top / "fifo", 0o640)
    listening = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(top)  # the path of a socket is short
    listening.bind("socket")
    os.chdir(here)
    listening.close()
    os.mknod(top / "null", 0o666 | 0o020000, os.makedev(1, 3))
    os.mknod(top / "loop", 0o660 | 0o060000, os.makedev(7, 200))
    for folder in ("one", "two", "two/three"):
        (top / folder).mkdir()
    (top / "one/linked").write_bytes(b"linked")
    os.link(top / "one/linked", top / "two/three/again")
    os.link(top / "one/linked", top / "two/more")
    os.link(top / "fifo", top / "two/same fifo")
    os.link(top / "dangling", top / "two/same link", follow_symlinks=False)


def _sparse(top: Path) -> None:
    with open(top / "sparse", "wb") as file:
        for at in (0, 3 * _MIB, 40 * _MIB):
            file.seek(at)
            file.write(_bytes(5000, at))
        file.truncate(60 * _MIB)
    with open(top / "only hole", "wb") as file:
        file.truncate(9 * _MIB)
    with open(top / "sparse.img", "wb") as file:
        file.seek(5 * _MIB + 8192)
        file.write(_bytes(70000))
        file.truncate(30 * _MIB)


def _attributes(top: Path) -> None:
    for name, mode in (("suid", 0o4755), ("sgid", 0o2755), ("sticky", 0o1777), ("closed", 0)):
        (top / name).write_bytes(b"x")
        os.chown(top / name, 123456, 234567)
        (top / name).chmod(mode)
    (top / "sticky folder").mkdir()
    (top / "sticky folder").chmod(0o3777)
    attributed = top / "attributed"
    attributed.write_bytes(b"x" * 300)
    for path in (attributed, top / "sticky folder"):
        os.setxattr(path, "user.text", b"value\0\xff")
        os.setxattr(path, "user.empty", b"")
        os.setxattr(path, "trusted.secret", b"only root")
    os.setxattr(attributed, "user.large", b"v" * 1000)
    os.setxattr(top / "dangling", "trusted.link", b"of a symlink", follow_symlinks=False)
    shutil.copy("/bin/true", top / "capable")
    _run("setcap", "cap_net_raw,cap_chown=ep", top / "capable")
    _run("setfacl", "-m", "u:1234:rwx,g:4321:r,m:rx", attributed)
    _run("setfacl", "-m", "d:u:1234:rwx,d:o:-,u:77:x", top / "sticky folder")
    os.lchown(top / "dangling", 3333, 4444)


def _times(top: Path) -> None:
    for number, ns in enumerate((0, 1, 999_999_999, 10**18 + 123_456_789, 4_102_444_800 * 10**9 + 7, 2**33 * 10**9)):
        path = top / f"time{number}"
        path.write_bytes(b"t")
        os.utime(path, ns=(ns, ns))
    (top / "before 1970").write_bytes(b"t")
    os.utime(top / "before 1970", ns=(-(10**9) * 86400 * 365 + 5, -(10**9) * 86400 * 365 + 5))
    os.utime(top / "dangling", ns=(10**18 + 1, 10**18 + 1), follow_symlinks=False)
    os.utime(top / "empty folder", ns=(10**18 + 9, 10**18 + 9))


def _many(top: Path, names: int) -> None:
    folder = top / "many"
    folder.mkdir()
    for number in range(names):
        os.close(os.open(folder / f"{number:x}", os.O_CREAT | os.O_WRONLY, 0o600 + number % 8))


def _deep(top: Path, levels: int) -> None:
    fd = os.open(top, os.O_RDONLY)
    for level in range(levels):
        os.mkdir(b"deeper", dir_fd=fd)
        inner = os.open(b"deeper", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
        if level % 500 == 499:
            file = os.open(b"file", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
            os.write(file, b"%d" % level)
            os.close(file)
    os.close(fd)


def _flags(top: Path) -> None:
    for name, flag in (("immutable", "+i"), ("append", "+a"), ("nodump", "+d"), ("noatime", "+A")):
        (top / name).write_bytes(b"f")
        _run("chattr", flag, top / name)
    (top / "still folder").mkdir()
    _run("chattr", "+d", top / "still folder")


def _remove(top: Path) -> None:
    """Remove a tree that is too deep for Python's own way, and partly immutable."""
    subprocess.run(["chattr", "-f", "-i", "-a", top / "immutable", top / "append"], check=False, capture_output=True)
    _run("rm", "-rf", top)


@pytest.fixture
def source(disk: Path) -> Path:
    top = disk / "source"
    top.mkdir()
    for fill in (_sizes, _names, _kinds, _sparse, _attributes, _times, _flags):
        fill(top)
    # Once is enough for what takes so long: more levels than Python nests calls, or a process has open files.
    _deep(top, 1200 if "ext4" in str(disk) else 700)
    _many(top, 20_000 if "ext4" in str(disk) else 300)
    return top


def test_everything_comes_back_and_so_does_every_later_state(disk: Path, source: Path, tmp_path: Path) -> None:
    home = Home(tmp_path, LocalStore(tmp_path / "store", create=True))
    home.folder = disk
    try:
        first = home.back_up(source)
        assert (home.warned, first.snapshot.incomplete) == ([], False)
        before = dumped(source)
        target = home.restored(first, source)
        assert compared(source, target, _NOT_DEEP) == ""
        assert dumped(target) == before
        assert _allocated(target / "only hole") == 0
        assert max(_allocated(target / "sparse"), _allocated(target / "sparse.img")) < _MIB
        names = [target / "one/linked", target / "two/three/again", target / "two/more"]
        assert len({path.stat().st_ino for path in names}) == 1

        again = home.back_up(source)
        assert counted(again) == (0, 0, first.snapshot.totals.files)
        assert again.snapshot.statistics.read == 0
        assert home.entry(again, source) == home.entry(first, source)

        _remove(target)
        added = _change(source)
        second = home.back_up(source)
        assert counted(second) == (2, 4, first.snapshot.totals.files - 6)
        assert second.snapshot.statistics.added_raw < added + 3 * _MIB  # nodes of the folders, one of 20,000 entries
        target = home.restored(second, source)
        assert compared(source, target, _NOT_DEEP) == ""
        assert dumped(target) == dumped(source)
        _remove(target)
        old = home.restored(first, source)
        assert dumped(old) == before
    finally:
        for path in [source, *disk.glob("restored*")]:
            _remove(path)


def _allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


def _change(top: Path) -> int:
    """Four files changed, two new, one gone, a mode and a name changed; how many bytes that is."""
    with open(top / "size70M", "r+b") as file:
        file.seek(33 * _MIB)
        file.write(b"changed")
    with open(top / "size8388608", "ab") as file:
        file.write(b"longer")
    os.truncate(top / "size262145", 100)
    (top / "size4096").write_bytes(b"other")
    (top / "new").write_bytes(b"new")
    (top / "size1").unlink()
    (top / "size4097").rename(top / "renamed")
    (top / "one").chmod(0o700)
    return 3 * 2 * _MIB  # the chunks around what changed
