"""Every kind of entry and every attribute comes back, on real file systems, as an independent program sees it."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from trees import capture, compared, entry_of, restore

from safehold.core.entries import FILE, Entry, More
from safehold.core.events import silent
from safehold.sources.files import metadata
from safehold.sources.files.placing import Placer
from safehold.sources.files.placing.terms import Options


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


def _everything(top: Path) -> None:
    """One of each."""
    (top / "folder").mkdir(parents=True)
    (top / "folder/empty").mkdir(mode=0o1777)
    (top / "plain").write_bytes(b"plain bytes")
    (top / "none").write_bytes(b"")
    (top / "large").write_bytes(os.urandom(300_000))
    Path(os.fsdecode(os.fsencode(top) + b"/not\xffutf-8\n")).write_bytes(b"x")
    (top / "link").symlink_to("plain")
    (top / "dangling").symlink_to("/no/where/at/all")
    os.link(top / "plain", top / "folder/second name")
    os.link(top / "link", top / "folder/second link")
    os.mkfifo(top / "fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(top)
        listener.bind("socket")
        os.chdir(here)
    os.mknod(top / "char", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(top / "block", stat.S_IFBLK | 0o600, os.makedev(7, 200))
    with (top / "sparse").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"in the middle")
        file.truncate(3 << 20)
    (top / "all hole").touch()
    os.truncate(top / "all hole", 5_000_000)
    _attributes(top)


def _attributes(top: Path) -> None:
    (top / "program").write_bytes(b"#!/bin/sh\n")
    os.chown(top / "program", 1234, 2345)
    (top / "program").chmod(0o6751)
    _run("setcap", "cap_net_raw+ep", top / "program")
    (top / "acl").write_bytes(b"acl")
    _run("setfacl", "-m", "u:1234:rw,g:2345:r,m::rw", top / "acl")
    _run("setfacl", "-m", "u:1234:rwx", "-m", "d:u:1234:r,d:g::r", top / "folder")
    os.setxattr(top / "acl", "user.note", b"\0\xff bytes")
    os.setxattr(top / "folder", "user.folder", b"yes")
    os.setxattr(top / "link", "trusted.of.link", b"link", follow_symlinks=False)
    os.setxattr(top / "fifo", "trusted.of.fifo", b"fifo")
    os.chown(top / "link", 77, 88, follow_symlinks=False)
    os.chown(top / "fifo", 77, 88)
    for number, path in enumerate(sorted(top.rglob("*"), key=lambda path: -len(path.parts))):
        time = 1_000_000_000_123_456_789 + number
        os.utime(path, ns=(time, time), follow_symlinks=False)


def test_every_kind_and_attribute_round_trip(disk: Path) -> None:
    source, target = disk / "source", disk / "target"
    _everything(source)
    tree = capture(source)
    done = restore(tree, target)
    assert done.warned == []
    assert compared(source, target).replace(".d..t...... ./\n", "") == ""
    assert (target / "sparse").stat().st_blocks <= (source / "sparse").stat().st_blocks
    assert (target / "all hole").stat().st_blocks == 0
    assert (target / "plain").stat().st_ino == (target / "folder/second name").stat().st_ino
    assert os.getxattr(target / "link", "trusted.of.link", follow_symlinks=False) == b"link"
    assert os.getxattr(target / "program", "security.capability") == os.getxattr(source / "program", "security.capability")
    assert stat.S_IMODE((target / "program").stat().st_mode) == 0o6751
    again = restore(tree, target)
    assert (again.counts.created, again.counts.changed, again.counts.failed, again.counts.written) == (0, 0, 0, 0)
    with Placer(target, Options(dry_run=True), silent) as looking:
        for entry, data in tree:
            assert looking.verify(looking.root, entry, data if entry.kind == FILE else None) == []


def test_inode_flags_come_back_and_a_second_restore_gets_past_them(disk: Path) -> None:
    source, target = disk / "flags", disk / "flags-back"
    (source / "sealed").mkdir(parents=True)
    (source / "sealed/immutable").write_bytes(b"never")
    (source / "append").write_bytes(b"log")
    (source / "nodump").write_bytes(b"")
    if "btrfs" in str(disk):
        (source / "nocow").touch()
        _run("chattr", "+C", source / "nocow")
        (source / "nocow").write_bytes(b"database")
    _run("chattr", "+d", source / "nodump")
    _run("chattr", "+a", source / "append")
    _run("chattr", "+i", source / "sealed/immutable")
    _run("chattr", "+i", source / "sealed")
    try:
        tree = capture(source)
        assert restore(tree, target).warned == []
        flags = {entry.name: entry.more.flags if entry.more else 0 for entry, _ in capture(target)}
        assert flags == {entry.name: entry.more.flags if entry.more else 0 for entry, _ in tree}
        assert all(flags.values())
        with pytest.raises(PermissionError):
            (target / "sealed/immutable").write_bytes(b"changed")
        _run("chattr", "-i", target / "sealed/immutable")
        (target / "sealed/immutable").write_bytes(b"changed")
        _run("chattr", "+i", target / "sealed/immutable")
        again = restore(tree, target)
        assert (again.warned, again.counts.written) == ([], 5)
        assert (target / "sealed/immutable").read_bytes() == b"never"
        assert capture(target)[-1][0].more == tree[-1][0].more
    finally:
        for top in (source, target):
            subprocess.run(["chattr", "-R", "-f", "-i", "-a", top], check=False, capture_output=True)


def test_a_file_that_somebody_else_made_immutable_is_left_and_told(disk: Path) -> None:
    target = disk / "protected"
    target.mkdir()
    (target / "file").write_bytes(b"theirs")
    _run("chattr", "+i", target / "file")
    try:
        done = restore([(Entry(b"file", FILE, 0o644, 0, 0, 5, 5, 4, 1), b"ours")], target)
        assert done.warned == [("not-restored", "file")]
        assert "chattr" in done.events[0].hint  # type: ignore[attr-defined]
        assert (target / "file").read_bytes() == b"theirs"
    finally:
        _run("chattr", "-i", target / "file")


def test_what_is_restored_inherits_no_acl_of_the_target(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "folder").mkdir(parents=True)
    (source / "folder/file").write_bytes(b"private")
    (source / "folder/file").chmod(0o600)
    (source / "file").write_bytes(b"private")
    target.mkdir()
    _run("setfacl", "-m", "d:u:1234:rwx", target)
    assert restore(capture(source), target).warned == []
    for name in ("file", "folder", "folder/file"):
        assert metadata.read_xattrs(os.fsencode(target / name)) is None


def test_attributes_of_existing_files_are_made_right(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "file").write_bytes(b"same")
    os.setxattr(source / "file", "user.a", b"1")
    tree = capture(source)
    restore(tree, target)
    (target / "file").chmod(0o777)
    os.setxattr(target / "file", "user.a", b"2")
    os.setxattr(target / "file", "user.extra", b"3")
    for mode in ("if-changed", "always"):
        done = restore(tree, target, overwrite=mode)
        assert done.warned == []
        assert entry_of(os.fsencode(target / "file")).more == More(attributes={b"user.a": b"1"})
        assert stat.S_IMODE((target / "file").stat().st_mode) == 0o644
        (target / "file").chmod(0o600)


def test_owners_go_by_name_unless_numeric(tmp_path: Path) -> None:
    entry = Entry(b"file", FILE, 0o644, 4321, 8765, 5, 5, 1, 1)
    for numeric, wanted in ((False, (1, 2)), (True, (4321, 8765))):
        target = tmp_path / str(numeric)
        placer = Placer(target, Options(numeric_owner=numeric), silent)
        placer.root.owners = {4321: "daemon"}
        placer.root.groups = {8765: "bin"}
        placer.place(placer.root, entry, b"x")
        placer.finish()
        found = (target / "file").stat()
        assert (found.st_uid, found.st_gid) == wanted
    placer = Placer(tmp_path / "unknown", Options(), silent)
    placer.root.owners = {4321: "nobody of that name"}
    placer.place(placer.root, entry, b"x")
    placer.finish()
    assert (tmp_path / "unknown/file").stat().st_uid == 4321
