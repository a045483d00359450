"""Restores that are killed, run out of room, or run without root's rights, and several threads at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from other_user import as_user, let_in
from trees import Tree, capture, compared, fill, restore

from safehold.core.entries import CHAR_DEVICE, DIRECTORY, FILE, Entry, More
from safehold.core.errors import TargetError
from safehold.core.events import silent
from safehold.sources.files.placing import Placer
from safehold.sources.files.placing.terms import Options

_KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from trees import capture, restore
restore(capture(Path(sys.argv[2])), Path(sys.argv[3]), overwrite="if-changed")
"""


def _source(top: Path, files: int = 600) -> Path:
    for number in range(files):
        folder = top / f"{number % 12}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"file{number}"
        path.write_bytes(os.urandom(200) * (number % 40 + 1) * 10)
        os.utime(path, ns=(10**18 + number, 10**18 + number))
    return top


@pytest.mark.parametrize("files", [5, 100, 400])
def test_killed_in_the_middle_and_run_again(tmp_path: Path, files: int) -> None:
    source, target = _source(tmp_path / "source"), tmp_path / "target"
    command = [sys.executable, "-c", _KILLED, str(Path(__file__).parent), str(source), str(target)]
    with subprocess.Popen(command) as running:
        while sum(len(names) for _, _, names in os.walk(target)) < files and running.poll() is None:
            time.sleep(0)
        running.send_signal(signal.SIGKILL)
    tree = capture(source)
    done = restore(tree, target, overwrite="if-changed")
    assert done.warned == []
    assert done.counts.created < 612
    assert compared(source, target).replace(".d..t...... ./\n", "") == ""


def test_a_file_cut_off_at_any_point_is_restored_again(tmp_path: Path) -> None:
    content = os.urandom(3000)
    entry = Entry(b"file", FILE, 0o644, 0, 0, 10**18, 1, len(content), 1)
    for cut in (0, 1, 2999, 3000):
        (tmp_path / "file").unlink(missing_ok=True)
        (tmp_path / "file").write_bytes(content[:cut])
        restore([(entry, content)], tmp_path, overwrite="if-changed")
        assert (tmp_path / "file").read_bytes() == content
        assert (tmp_path / "file").stat().st_mtime_ns == 10**18


def test_a_full_disk_stops_with_a_clear_error_and_leaves_no_cut_file(small_disk: Path) -> None:
    content = os.urandom(300_000)
    tree: Tree = [(Entry(b"%d" % n, FILE, 0o644, 0, 0, 10**18, 1, len(content), 1), content) for n in range(9)]
    with pytest.raises(TargetError, match="is full") as raised:
        restore(tree, small_disk)
    assert "again" in raised.value.hint
    assert {path.stat().st_size for path in small_disk.iterdir()} == {300_000}


def test_a_target_that_cannot_be_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TargetError):
        restore([], tmp_path / "file")


def test_without_root_owners_are_left_out_with_one_warning(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    let_in(tmp_path)
    own = Entry(b"own", FILE, 0o4755, 4242, 4242, 5, 5, 1, 1)
    suid = Entry(b"suid", FILE, 0o6755, 0, 0, 5, 5, 1, 1, b"", More(attributes={b"trusted.x": b"1", b"user.x": b"2"}))
    node = Entry(b"null", CHAR_DEVICE, 0o666, 0, 0, 5, 5, 0, 1, b"", More(device=(1, 3)))
    closed = Entry(b"closed", DIRECTORY, 0o000, 4242, 4242, 5, 5, 0, 1)
    tree: Tree = [(own, b"1"), (suid, b"2"), (node, None), (closed, [(own, b"3")])]

    def body() -> None:
        for _ in range(2):
            done = restore(tree, tmp_path / "target")
            codes = [code for code, _ in done.warned]
            assert codes == ["needs-root", "lost-owner", "lost-xattr"], codes
            assert (done.counts.failed, done.counts.skipped) == (0, 1), done.counts
        (tmp_path / "target/closed").chmod(0o700)
        assert (tmp_path / "target/closed/own").read_bytes() == b"3"
        (tmp_path / "target/closed").chmod(0)
        assert restore([], tmp_path / "target", delete=True).warned == []

    checked = as_user(body)
    assert checked == 0
    assert list((tmp_path / "target").iterdir()) == []

    def leave_modes() -> None:
        restore(tree, tmp_path / "target")

    assert as_user(leave_modes) == 0
    assert oct((tmp_path / "target/own").stat().st_mode) == "0o104755"
    assert oct((tmp_path / "target/suid").stat().st_mode) == "0o100755"
    assert os.getxattr(tmp_path / "target/suid", "user.x") == b"2"
    assert oct((tmp_path / "target/closed").stat().st_mode) == "0o40000"


def test_unreadable_existing_files_of_the_user_are_replaced(tmp_path: Path) -> None:
    os.chown(tmp_path, 4242, 4242)
    let_in(tmp_path)
    entry = Entry(b"file", FILE, 0o400, 4242, 4242, 5, 5, 3, 1)

    def body() -> None:
        for content in (b"one", b"two"):
            assert restore([(entry, content)], tmp_path).warned == []
            assert (tmp_path / "file").read_bytes() == content

    assert as_user(body) == 0


def test_several_threads_on_one_and_on_different_folders(tmp_path: Path) -> None:
    source, target = _source(tmp_path / "source"), tmp_path / "target"
    for number in range(0, 600, 6):
        os.link(source / f"{number % 12}/file{number}", source / f"{(number + 1) % 12}/again{number}")
    tree = capture(source)
    with Placer(target, Options(open_folders=8), silent) as placer:
        jobs = []
        for entry, inside in tree:
            folder = placer.enter(placer.root, entry)
            for half in (inside[::2], inside[1::2]):
                placer.hold(folder)  # type: ignore[arg-type]
                jobs.append((folder, half))
            placer.leave(folder)  # type: ignore[arg-type]

        def work() -> None:
            while jobs:
                folder, items = jobs.pop()
                for entry, data in items:
                    placer.place(folder, entry, data)
                placer.leave(folder)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counts = placer.finish()
    assert (counts.created, counts.failed) == (712, 0)
    assert compared(source, target).replace(".d..t...... ./\n", "") == ""


def test_a_target_that_cannot_be_made_is_refused_and_nothing_counts_as_restored() -> None:
    """/proc answers mkdir with "no such file", which in a dry run only says that the target is not there yet."""
    with pytest.raises(TargetError, match="/proc/nowhere"):
        Placer(Path("/proc/nowhere"), Options(), print)


_SMALL = [(Entry(b"file%d" % n, FILE, 0o644, 0, 0, 5, 5, 1, 1), b"x") for n in range(20)]
_FOLDERS = [(Entry(b"folder%d" % n, DIRECTORY, 0o755, 0, 0, 5, 5, 0, 1), _SMALL) for n in range(3)]


def _useless(target: Path, tree: Tree) -> None:
    """A restore into the target tells one thing, and leaves nothing there."""
    told: list[object] = []
    with pytest.raises(TargetError, match="takes no files") as raised, Placer(target, Options(), told.append) as placer:
        fill(placer, placer.root, tree)
        placer.finish()
    assert str(target) in str(raised.value)
    assert len(told) <= len(tree)


@pytest.mark.parametrize("tree", [_SMALL, _FOLDERS], ids=["files", "folders"])
def test_a_target_that_takes_no_file_is_told_in_one_sentence(disk: Path, tmp_path: Path, tree: Tree) -> None:
    _useless(Path("/proc"), tree)
    _useless(Path("/sys"), tree)
    target = disk / "closed"
    target.mkdir(exist_ok=True)
    subprocess.run(["chattr", "+i", target], check=True)
    try:
        _useless(target, tree)
    finally:
        subprocess.run(["chattr", "-i", target], check=True)
    let_in(tmp_path / "x")
    (tmp_path / "mine").mkdir(mode=0o755)
    assert as_user(lambda: _useless(tmp_path / "mine", tree)) == 0
    assert [*(tmp_path / "mine").iterdir(), *target.iterdir()] == []


def test_a_read_only_target_is_told_in_one_sentence(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(TargetError, match="is read-only"):
        restore(_FOLDERS, small_disk)


def test_a_folder_that_takes_files_below_one_that_does_not_is_filled(tmp_path: Path) -> None:
    let_in(tmp_path / "x")
    tmp_path.chmod(0o755)
    (tmp_path / "folder1").mkdir()
    os.chown(tmp_path / "folder1", 4242, 4242)

    def body() -> None:
        done = restore(_FOLDERS, tmp_path)
        assert done.counts.failed == 2
        assert done.counts.created == 20

    assert as_user(body) == 0


def test_what_is_right_already_needs_no_target_that_takes_files(disk: Path) -> None:
    target = disk / "right"
    restore(_SMALL, target)
    subprocess.run(["chattr", "+i", target], check=True)
    try:
        done = restore([*_SMALL, (Entry(b"new", FILE, 0o644, 0, 0, 5, 5, 1, 1), b"x")], target)
    finally:
        subprocess.run(["chattr", "-i", target], check=True)
    assert (done.counts.kept, done.counts.failed) == (20, 1)


@pytest.mark.parametrize("kind", ["file", "fifo", "link", "device", "below a file"])
def test_a_target_of_another_kind_is_refused(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    if kind == "fifo":
        os.mkfifo(target)
    elif kind == "link":
        target.symlink_to("/dev/null")
    elif kind == "device":
        target = Path("/dev/null")
    else:
        target.write_bytes(b"")
        target = target / "below" if kind == "below a file" else target
    for dry_run in (False, True):
        if not (dry_run and kind == "below a file"):
            with pytest.raises(TargetError, match=str(target)):
                restore(_SMALL, target, dry_run=dry_run)
