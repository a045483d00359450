"""Files and folders that change, vanish, are exchanged or cannot be read while they are backed up."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from homes import Home, counted, during
from other_user import as_user, let_in

from safehold.core.errors import SourceMissing
from safehold.ops.backup import walk
from safehold.sources.files import folders, metadata

_MIB = 1 << 20


def _source(tmp_path: Path, **contents: bytes) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    for name, content in {"before": b"b", "file": b"first content", "zlast": b"z", **contents}.items():
        (source / name).write_bytes(content)
    return source


def _while_reading(monkeypatch: pytest.MonkeyPatch, file: Path, action: Callable[[], object], times: int = 1) -> None:
    """Do something after the file was opened and before its first byte is read, so many times."""
    real = folders.Folder.open_file
    left = [times]

    def opening(self: folders.Folder, name: bytes) -> int:
        fd = real(self, name)
        if name == os.fsencode(file.name) and left[0]:
            left[0] -= 1
            action()
        return fd

    monkeypatch.setattr(folders.Folder, "open_file", opening)


def _before_opening(monkeypatch: pytest.MonkeyPatch, file: Path, action: Callable[[], object], times: int = 1) -> None:
    """Do something after the listing and before the file is opened."""
    during(
        monkeypatch,
        folders.Folder,
        "open_file",
        lambda _, name: action() and None if name == os.fsencode(file.name) else False,
        times,
    )


@pytest.mark.parametrize("size", [13, 300_000, 9 * _MIB])
@pytest.mark.parametrize("other", [b"", b"x", b"other content", b"longer" * 60_000, b"much longer" * _MIB])
def test_a_file_that_changes_is_read_again(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, other: bytes
) -> None:
    source = _source(tmp_path, file=os.urandom(size))
    _while_reading(monkeypatch, source / "file", lambda: (source / "file").write_bytes(other))
    made = home.back_up(source)
    assert home.warned == []
    assert home.content(made, source / "file") == other
    assert made.snapshot.totals.files == 3


@pytest.mark.parametrize("name", ["file", "file.img"])
def test_a_file_that_never_rests_is_told_kept_and_read_again(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    source = _source(tmp_path)
    file = source / name
    file.write_bytes(os.urandom(5 * _MIB))

    def change() -> None:
        with open(file, "ab") as out:
            out.write(b"more")

    _while_reading(monkeypatch, file, change, 3)
    made = home.back_up(source)
    assert home.warned == [("changed-while-read", str(file))]
    assert home.entry(made, file).size == len(home.content(made, file))
    assert home.content(made, file)[: 5 * _MIB] == file.read_bytes()[: 5 * _MIB]
    again = home.back_up(source)
    assert counted(again)[1:] == (1, (again.snapshot.totals.files - 1))
    assert home.content(again, file) == file.read_bytes()


def test_a_sparse_file_cut_off_while_read_can_be_restored(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _source(tmp_path)
    file = source / "sparse"

    def write(length: int) -> None:
        with open(file, "wb") as out:
            out.write(os.urandom(_MIB))
            out.seek(3 * _MIB)
            out.write(os.urandom(_MIB))
            out.truncate(6 * _MIB)
        os.truncate(file, length)

    write(6 * _MIB)
    lengths = iter([_MIB // 2, 6 * _MIB, _MIB // 2])
    _while_reading(monkeypatch, file, lambda: write(next(lengths)), 3)
    made = home.back_up(source)
    assert [code for code, _ in home.warned] == ["changed-while-read"]
    assert (home.restored(made, source) / "sparse").stat().st_size == home.entry(made, file).size


def _to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _to_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("elsewhere")


def _to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_bytes(b"inside")


def _to_device(path: Path) -> None:
    path.unlink()
    os.mknod(path, 0o666 | 0o020000, os.makedev(1, 5))  # /dev/zero: it never ends


@pytest.mark.parametrize(("become", "kind"), [(_to_fifo, 3), (_to_link, 2), (_to_folder, 1), (_to_device, 5)])
@pytest.mark.parametrize("size", [13, 9 * _MIB])
def test_a_file_that_becomes_something_else_is_stored_as_that(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, become: Callable[[Path], None], kind: int, size: int
) -> None:
    source = _source(tmp_path, file=os.urandom(size))
    _before_opening(monkeypatch, source / "file", lambda: become(source / "file"))
    made = home.back_up(source)
    assert home.warned == []
    assert home.names(made, source) == [b"before", b"file", b"zlast"]
    assert home.entry(made, source / "file").kind == kind
    if kind == 1:
        assert home.content(made, source / "file/inside") == b"inside"
    assert home.entry(home.back_up(source), source / "file") == home.entry(made, source / "file")


def test_a_file_that_vanishes_is_not_missed(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _source(tmp_path)
    _before_opening(monkeypatch, source / "file", (source / "file").unlink)
    made = home.back_up(source)
    assert (home.warned, made.snapshot.incomplete) == ([], False)
    assert home.names(made, source) == [b"before", b"zlast"]


def test_a_file_that_is_exchanged_by_renaming(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _source(tmp_path)
    (tmp_path / "new").write_bytes(b"the new one")
    _before_opening(monkeypatch, source / "file", lambda: (tmp_path / "new").rename(source / "file"))
    made = home.back_up(source)
    assert home.content(made, source / "file") == b"the new one"


@pytest.mark.parametrize("become", ["nothing", "file", "link"])
def test_a_folder_that_becomes_something_else(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, become: str) -> None:
    source = _source(tmp_path)
    folder = source / "middle"
    folder.mkdir()
    home.back_up(source)

    def exchange(_: Any, name: bytes) -> bool | None:
        if name != b"middle":
            return False
        folder.rmdir()
        if become == "file":
            folder.write_bytes(b"a file now")
        elif become == "link":
            folder.symlink_to("/etc")
        return None

    during(monkeypatch, folders.Folder, "folder", exchange)
    made = home.back_up(source)
    assert home.warned == []
    there = home.names(made, source)
    assert (b"middle" in there) == (become != "nothing")
    if become == "file":
        assert home.content(made, folder) == b"a file now"


@pytest.mark.parametrize("also_above", [False, True])
def test_a_folder_moved_away_while_deep_below_it(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, also_above: bool
) -> None:
    """The folders above are found again by the way down; where that leads elsewhere too, what is left of them is told."""
    source = _source(tmp_path)
    deep = source.joinpath(*["d"] * 12)
    deep.mkdir(parents=True)
    for folder in (source / "d/later", source / "d/d/later", source / "later"):
        folder.mkdir()
        (folder / "file").write_bytes(b"later")
    monkeypatch.setattr(walk, "OPEN_FOLDERS", 4)
    away, above = tmp_path / "away", tmp_path / "above"

    def move(self: Any, name: bytes) -> bool | None:
        if self.path.count(b"/d") < 11:
            return False
        (source / "d/d").rename(away)
        if also_above:
            (source / "d").rename(above)
        return None

    during(monkeypatch, folders.Folder, "folder", move)
    made = home.back_up(source)
    assert made.snapshot.incomplete == also_above
    expected = [("unreadable", str(source / "d/later")), ("unreadable", str(source / "d"))] if also_above else []
    assert home.warned == expected
    for path in ("later/file", "d/d/later/file", *([] if also_above else ["d/later/file"])):
        assert home.content(made, source / path) == b"later"
    if also_above:
        above.rename(source / "d")
    away.rename(source / "d/d")
    again = home.back_up(source)
    assert not again.snapshot.incomplete
    assert home.content(again, source / "d/later/file") == b"later"


def test_a_deep_walk_with_few_open_folders_where_folders_are_unchanged(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _source(tmp_path)
    deep = source.joinpath(*["d"] * 12)
    deep.mkdir(parents=True)
    (source / "d/d/d/x").mkdir()
    monkeypatch.setattr(walk, "OPEN_FOLDERS", 2)
    home.back_up(source)
    (deep / "new").write_bytes(b"new")
    made = home.back_up(source)
    assert (counted(made), home.content(made, deep / "new")) == ((1, 0, 3), b"new")
    assert home.names(made, source / "d/d/d") == [b"d", b"x"]


# What cannot be read.


def test_an_ordinary_user_backs_up_what_it_may_read_and_more_when_it_may(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    let_in(tmp_path)
    passed = tmp_path / "passed"
    passed.mkdir()
    source = _source(passed, closed=b"secret")
    (source / "shut").mkdir()
    (source / "shut/inside").write_bytes(b"inside")
    (source / "closed").chmod(0o600)
    (source / "shut").chmod(0o700)
    passed.chmod(0o711)

    def first() -> None:
        home = Home(tmp_path)
        made = home.back_up(source)
        assert made.snapshot.incomplete
        assert sorted(home.warned) == [("unreadable", str(source / "closed")), ("unreadable", str(source / "shut"))]
        assert made.snapshot.statistics.errors == 2
        assert home.names(made, source) == [b"before", b"file", b"zlast"]
        again = home.back_up(source)
        assert len(home.warned) == 2
        assert again.snapshot.incomplete
        (tmp_path / "ask").write_bytes(b"")
        while not (source / "opened").exists():
            home.clock.sleep(0.005)
        late = home.back_up(source)
        assert not late.snapshot.incomplete
        assert home.content(late, source / "shut/inside") == b"inside"
        assert home.content(late, source / "closed") == b"secret"

    child = os.fork()
    if child == 0:
        os._exit(as_user(first))
    clock = Home(tmp_path / "unused").clock
    while not (tmp_path / "ask").exists() and os.waitpid(child, os.WNOHANG) == (0, 0):
        clock.sleep(0.005)
    (source / "closed").chmod(0o644)
    (source / "shut").chmod(0o755)
    (source / "opened").write_bytes(b"")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_disk_error_is_told_and_tried_again_though_nothing_else_changed(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _source(tmp_path)
    home.back_up(source)
    os.utime(source / "file", ns=(1, 1))
    real = folders.Folder.open_file

    def failing(self: folders.Folder, name: bytes) -> int:
        if name == b"file":
            raise OSError(errno.EIO, "Input/output error")
        return real(self, name)

    monkeypatch.setattr(folders.Folder, "open_file", failing)
    for _ in range(2):
        made = home.back_up(source)
        assert home.warned == [("unreadable", str(source / "file"))]
        assert (made.snapshot.incomplete, home.names(made, source)) == (True, [b"before", b"zlast"])
    monkeypatch.undo()
    made = home.back_up(source)
    assert (home.warned, made.snapshot.incomplete, counted(made)) == ([], False, (1, 0, 2))


@pytest.mark.parametrize("what", ["listing", "link", "stat"])
def test_other_disk_errors(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    source = _source(tmp_path)
    (source / "broken").mkdir()
    (source / "link").symlink_to("file")
    error = OSError(errno.EIO, "Input/output error")
    if what == "link":
        monkeypatch.setattr(os, "readlink", lambda *a, **o: (_ for _ in ()).throw(error))
    else:
        rows = folders.Folder.rows

        def failing(self: folders.Folder) -> Any:
            if not self.path.endswith(b"broken"):
                return rows(self)
            if what == "listing":
                raise error
            return [], [(b"one", error)]

        monkeypatch.setattr(folders.Folder, "rows", failing)
    made = home.back_up(source)
    path = {"listing": "broken", "link": "link", "stat": "broken/one"}[what]
    assert home.warned == [("unreadable", str(source / path))]
    assert made.snapshot.incomplete
    monkeypatch.undo()
    assert not home.back_up(source).snapshot.incomplete


@pytest.mark.parametrize("of_folder", [False, True])
def test_attributes_that_cannot_be_read_do_not_cost_the_bytes(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_folder: bool
) -> None:
    source = _source(tmp_path)
    (source / "folder").mkdir()
    (source / "folder/inside").write_bytes(b"inside")
    path = source / ("folder" if of_folder else "file")
    os.setxattr(path, "user.mark", b"value")
    real = metadata.read_xattrs

    def failing(where: int | bytes, follow: bool = True) -> Any:
        found = real(where, follow)
        if found:
            raise OSError(errno.EIO, "Input/output error")
        return found

    monkeypatch.setattr(metadata, "read_xattrs", failing)
    for _ in range(2):
        made = home.back_up(source)
        assert home.warned == [("unreadable", str(path))]
        assert made.snapshot.incomplete
        assert home.content(made, source / "file") == b"first content"
        assert home.content(made, source / "folder/inside") == b"inside"
    monkeypatch.undo()
    made = home.back_up(source)
    assert (home.warned, made.snapshot.incomplete) == ([], False)
    assert home.entry(made, path).more.xattrs == {"user.mark": b"value"}


def test_a_source_that_cannot_be_read_does_not_drop_the_others(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _source(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    real = folders.Folder.at.__func__  # type: ignore[attr-defined]

    def failing(cls: Any, path: bytes) -> folders.Folder:
        if path == os.fsencode(other):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(cls, path)  # type: ignore[no-any-return]

    monkeypatch.setattr(folders.Folder, "at", classmethod(failing))
    made = home.back_up(source, other)
    assert (home.warned, made.snapshot.incomplete) == ([("unreadable", str(other))], True)
    assert home.content(made, source / "file") == b"first content"
    with pytest.raises(SourceMissing, match="Permission denied"):
        home.back_up(other)
