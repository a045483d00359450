"""Restores that are killed, run out of room, or run without root's rights, and several threads at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from trees import Tree, capture, compared, restore

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


def _as_user(function: Any) -> int:
    """Run something as an ordinary user in a child; its exit status, 0 if nothing was raised."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([4242])
            os.setgid(4242)
            os.setuid(4242)
            function()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_without_root_owners_are_left_out_with_one_warning(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents:
        if Path(tempfile.gettempdir()) in parent.parents:
            parent.chmod(0o755)
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

    checked = _as_user(body)
    assert checked == 0
    assert list((tmp_path / "target").iterdir()) == []

    def leave_modes() -> None:
        restore(tree, tmp_path / "target")

    assert _as_user(leave_modes) == 0
    assert oct((tmp_path / "target/own").stat().st_mode) == "0o104755"
    assert oct((tmp_path / "target/suid").stat().st_mode) == "0o100755"
    assert os.getxattr(tmp_path / "target/suid", "user.x") == b"2"
    assert oct((tmp_path / "target/closed").stat().st_mode) == "0o40000"


def test_unreadable_existing_files_of_the_user_are_replaced(tmp_path: Path) -> None:
    os.chown(tmp_path, 4242, 4242)
    for parent in tmp_path.parents:
        if Path(tempfile.gettempdir()) in parent.parents:
            parent.chmod(0o755)
    entry = Entry(b"file", FILE, 0o400, 4242, 4242, 5, 5, 3, 1)

    def body() -> None:
        for content in (b"one", b"two"):
            assert restore([(entry, content)], tmp_path).warned == []
            assert (tmp_path / "file").read_bytes() == content

    assert _as_user(body) == 0


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
