"""Nothing is ever written outside the target: hostile names, planted and swapped symlinks, impossible entries."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from trees import capture, restore

from safehold.core.entries import CHAR_DEVICE, DIRECTORY, FILE, SYMLINK, Entry, More
from safehold.sources.files.placing import Placer
from safehold.sources.files.placing.terms import Options

_NAMES = [b"", b".", b"..", b"/", b"/etc/passwd", b"../out", b"a/b", b"a\0b", b"x" * 256]


def _entry(name: bytes, kind: int = FILE, **fields: Any) -> Entry:
    values: dict[str, Any] = {"mode": 0o755, "uid": 0, "gid": 0, "mtime_ns": 5, "ctime_ns": 5, "size": 0, "inode": 1}
    return Entry(name, kind, **(values | fields))


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("kind", [FILE, DIRECTORY, SYMLINK])
@pytest.mark.parametrize("mode", ["always", "if-changed", "never"])
def test_hostile_names_fail_alone_and_touch_nothing(tmp_path: Path, name: bytes, kind: int, mode: str) -> None:
    outside, target = tmp_path / "a", tmp_path / "target"
    outside.mkdir()
    more = More(target=b"/etc") if kind == SYMLINK else None
    tree = [(_entry(name, kind, more=more), [] if kind == DIRECTORY else b""), (_entry(b"good"), b"")]
    done = restore(tree, target, overwrite=mode, delete=True)
    assert (done.counts.failed, done.counts.created) == (1, 1)
    assert [path.name for path in target.iterdir()] == ["good"]
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a", "target"]
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"mtime_ns": 1 << 100},
        {"uid": 1 << 70},
        {"uid": -5},
        {"kind": 99},
        {"size": -1},
        {"more": More(attributes={b"user.a\0b": b""})},
        {"more": More(attributes={b"no namespace": b"x"})},
        {"more": More(holes=[5])},
        {"more": More(holes=[0, -4])},
        {"kind": SYMLINK},
        {"kind": SYMLINK, "more": More(target=b"\0")},
        {"kind": CHAR_DEVICE, "more": More(device=(1 << 40, 1 << 40))},
    ],
)
def test_impossible_entries_fail_alone(tmp_path: Path, fields: dict[str, Any]) -> None:
    done = restore([(_entry(b"bad", **fields), b""), (_entry(b"good"), b"")], tmp_path)
    assert (tmp_path / "good").exists()
    assert len(done.warned) == 1


def test_a_huge_mode_gives_no_more_than_permissions(tmp_path: Path) -> None:
    restore([(_entry(b"file", mode=0o7770644), b"")], tmp_path)
    assert (tmp_path / "file").stat().st_mode == 0o100644


def test_the_same_name_twice_cannot_lead_through_a_symlink(tmp_path: Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    link = _entry(b"x", SYMLINK, more=More(target=os.fsencode(outside)))
    restore([(link, None), (_entry(b"x", DIRECTORY), [(_entry(b"file"), b"")])], target)
    assert list(outside.iterdir()) == []
    assert (target / "x/file").exists()
    restore([(_entry(b"y", DIRECTORY), [(_entry(b"file"), b"")]), (link, None), (_entry(b"x"), b"")], target, delete=True)
    assert list(outside.iterdir()) == []


def _swap(stop: threading.Event, target: Path, outside: Path) -> None:
    """Put a symlink to the outside in the place of the folder, and back, as fast as possible."""
    folder, aside = target / "folder", target / "aside"
    while not stop.is_set():
        with contextlib.suppress(OSError):
            folder.rename(aside)
            folder.symlink_to(outside)
        with contextlib.suppress(OSError):
            folder.unlink()
            aside.rename(folder)


@pytest.mark.parametrize("delete", [False, True])
def test_a_folder_swapped_for_a_symlink_while_restoring_leads_nowhere(tmp_path: Path, delete: bool) -> None:
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    (outside / "victim").write_bytes(b"precious")
    names = sorted(f"f{number}".encode() for number in range(8))
    inside = _entry(b"inner", DIRECTORY), [(_entry(name, size=4), b"evil") for name in names]
    tree = [(_entry(b"folder", DIRECTORY), [*[(_entry(name, size=4), b"evil") for name in names], inside])]
    (target / "folder").mkdir(parents=True)
    stop = threading.Event()
    racer = threading.Thread(target=_swap, args=(stop, target, outside))
    racer.start()
    try:
        for _ in range(150):
            restore(tree, target, delete=delete, open_folders=8)
    finally:
        stop.set()
        racer.join()
    assert [path.name for path in outside.iterdir()] == ["victim"]
    assert (outside / "victim").read_bytes() == b"precious"
    assert outside.stat().st_mode == 0o040755


def test_a_closed_folder_that_was_exchanged_is_not_used_again(tmp_path: Path) -> None:
    events: list[Any] = []
    target = tmp_path / "target"
    with Placer(target, Options(open_folders=8), events.append) as placer:
        folder = placer.enter(placer.root, _entry(b"folder", DIRECTORY))
        assert folder is not None
        for number in range(20):
            assert placer.enter(placer.root, _entry(b"%d" % number, DIRECTORY)) is not None
        (target / "folder").rename(target / "moved")
        (target / "folder").mkdir()
        placer.place(folder, _entry(b"file"), b"")
    assert [(event.code, event.path) for event in events] == [("not-restored", "folder/file")]
    assert list((target / "folder").iterdir()) == []


def _deep(levels: int) -> list[tuple[Entry, Any]]:
    tree: list[tuple[Entry, Any]] = [(_entry(b"bottom", size=6), b"bottom")]
    for _ in range(levels):
        tree = [(_entry(b"a-name-of-twenty-char", DIRECTORY), tree)]
    return tree


def test_three_thousand_levels_and_a_path_of_66000_bytes(tmp_path: Path) -> None:
    target, tree = tmp_path / "target", _deep(3000)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for expected in (3001, 0):
        with Placer(target, Options(open_folders=40), print) as placer:
            way, inside = [placer.root], tree
            while inside[0][0].kind == DIRECTORY:
                folder = placer.enter(way[-1], inside[0][0])
                assert folder is not None
                way.append(folder)
                inside = inside[0][1]
            placer.place(way[-1], inside[0][0], b"bottom")
            assert len(list(Path("/proc/self/fd").iterdir())) < before + 90
            for folder in reversed(way[1:]):
                placer.leave(folder)
            counts = placer.finish()
        assert (counts.created, counts.failed) == (expected, 0)
    emptied = restore([], target, delete=True)
    assert emptied.counts.deleted == 3001
    assert capture(target) == []
