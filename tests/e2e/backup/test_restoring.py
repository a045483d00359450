"""Restoring snapshots: whole and in part, again after a kill, around damage."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from homes import Home, compared

from safehold.core.errors import PathMissing, TargetError
from safehold.core.events import Warn
from safehold.ops.restore import Result as Restored
from safehold.ops.restore import restore
from safehold.sources.files.placing.terms import Options, Placed
from safehold.storage.local import LocalStore


def _tree(top: Path) -> Path:
    for name in ("a/one.txt", "a/deep/er/two.txt", "a/deep/three.log", "b/four.txt", "five.log"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(name.encode() * 100)
    return top


def _restore(home: Home, made: Any, target: Path, path: Path | str, **options: Any) -> Restored:
    home.events.clear()
    extra = {name: options.pop(name) for name in ("include", "verify") if name in options}
    return restore(home.open(), made.snapshot, target, Options(**options), path=os.fsencode(path), **extra)


def _files(top: Path) -> list[str]:
    return sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file())


def test_parts_by_path(home: Home, tmp_path: Path) -> None:
    source = _tree(tmp_path / "source")
    made = home.back_up(source)
    _restore(home, made, tmp_path / "folder", source / "a/deep")
    assert compared(source / "a/deep", tmp_path / "folder") == ""
    _restore(home, made, tmp_path / "file", source / "a/one.txt")
    assert _files(tmp_path / "file") == ["one.txt"]
    _restore(home, made, tmp_path / "whole", "")
    assert compared(source, tmp_path / "whole" / str(source)[1:]) == ""
    for missing in ("nowhere", source / "a/one.txt/x"):
        with pytest.raises(PathMissing):
            _restore(home, made, tmp_path / "none", missing)


@pytest.mark.parametrize(
    ("include", "expected"),
    [
        (["*.txt"], ["a/deep/er/two.txt", "a/one.txt", "b/four.txt"]),
        (["deep"], ["a/deep/er/two.txt", "a/deep/three.log"]),
        (["/SOURCE/a/*.txt", "five.log"], ["a/one.txt", "five.log"]),
        (["*.txt", "!two.txt"], ["a/one.txt", "b/four.txt"]),
        (["nothing"], []),
    ],
)
def test_includes(home: Home, tmp_path: Path, include: list[str], expected: list[str]) -> None:
    source = _tree(tmp_path / "source")
    (source / "a").chmod(0o700)
    made = home.back_up(source)
    target = tmp_path / "target"
    _restore(home, made, target, source, include=[text.replace("/SOURCE", str(source)) for text in include])
    assert _files(target) == expected
    if "a/one.txt" in expected:
        assert (target / "a").stat().st_mode & 0o777 == 0o700
        assert (target / "a").stat().st_mtime_ns == (source / "a").stat().st_mtime_ns
    assert (target / "b").exists() == any(name.startswith("b/") for name in expected)


def test_delete_overwrite_and_dry_run(home: Home, tmp_path: Path) -> None:
    source = _tree(tmp_path / "source")
    made = home.back_up(source)
    target = tmp_path / "target"
    _restore(home, made, target, source)
    (target / "a/one.txt").write_bytes(b"spoilt")
    (target / "extra").write_bytes(b"extra")
    (target / "b/four.txt").unlink()
    spoilt = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}

    _restore(home, made, target, source, delete=True, dry_run=True)
    told = {(event.action, event.path) for event in home.events if isinstance(event, Placed)}
    assert {("change", "a/one.txt"), ("delete", "extra"), ("create", "b/four.txt")} <= told
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == spoilt

    _restore(home, made, target, source, overwrite="never")
    assert (target / "a/one.txt").read_bytes() == b"spoilt"
    assert (target / "b/four.txt").exists()
    _restore(home, made, target, source, overwrite="if-changed")
    assert (target / "a/one.txt").read_bytes() == (source / "a/one.txt").read_bytes()
    assert (target / "extra").exists()
    done = _restore(home, made, target, source, delete=True)
    assert done.counts.deleted == 1
    assert compared(source, target) == ""


def test_a_source_is_rewound_in_place(home: Home, tmp_path: Path) -> None:
    """Only what differs is written, also of a large file."""
    source = _tree(tmp_path / "source")
    large = os.urandom(9 << 20)
    (source / "large").write_bytes(large)
    made = home.back_up(source)
    with open(source / "large", "r+b") as file:
        file.seek(5 << 20)
        file.write(b"changed")
    inode = (source / "large").stat().st_ino
    done = _restore(home, made, source, source, delete=True)
    assert (source / "large").read_bytes() == large
    assert (source / "large").stat().st_ino == inode
    assert done.counts.written <= 128 * 1024


def test_verify_finds_what_differs(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _tree(tmp_path / "source")
    made = home.back_up(source)
    target = tmp_path / "target"
    assert _restore(home, made, target, source, verify=True).differing == 0
    (target / "a/one.txt").write_bytes((source / "a/one.txt").read_bytes()[:-1] + b"!")
    times = (source / "a/one.txt").stat().st_mtime_ns
    os.utime(target / "a/one.txt", ns=(times, times))
    done = _restore(home, made, target, source, overwrite="never", verify=True)
    assert done.differing == 1
    assert [(e.code, e.path) for e in home.events if isinstance(e, Warn)] == [("differs", "a/one.txt")]


@pytest.mark.parametrize("files", [3, 150, 500])
def test_killed_in_the_middle_and_run_again(tmp_path: Path, files: int) -> None:
    source = tmp_path / "source"
    for number in range(700):
        (source / f"{number % 9}").mkdir(parents=True, exist_ok=True)
        (source / f"{number % 9}/file{number}").write_bytes(os.urandom(200) * (number % 30 + 1) * 10)
    home = Home(tmp_path, LocalStore(tmp_path / "store", create=True))
    made = home.back_up(source)
    target = tmp_path / "target"
    child = os.fork()
    if child == 0:
        _restore(home, made, target, source)
        os._exit(0)
    while sum(len(names) for _, _, names in os.walk(target)) < files and os.waitpid(child, os.WNOHANG) == (0, 0):
        pass
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):
        pytest.fail("it was done before it could be killed")
    done = _restore(home, made, target, source, overwrite="if-changed", verify=True)
    assert (home.warned, done.differing) == ([], 0)
    assert done.counts.created < 700 + 9
    assert compared(source, target) == ""


def test_a_target_in_the_repository_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path, LocalStore(tmp_path / "store", create=True))
    made = home.back_up(_tree(tmp_path / "source"))
    (tmp_path / "link").symlink_to("store")
    for target in (tmp_path / "store", tmp_path / "store/new", tmp_path / "link/packs"):
        with pytest.raises(TargetError, match="repository itself"):
            _restore(home, made, target, "")
    assert not (tmp_path / "store/new").exists()


def test_a_target_in_the_source(home: Home, tmp_path: Path) -> None:
    source = _tree(tmp_path / "source")
    made = home.back_up(source)
    _restore(home, made, source / "back", source)
    assert _files(source / "back") == ["a/deep/er/two.txt", "a/deep/three.log", "a/one.txt", "b/four.txt", "five.log"]


def test_around_damage_everything_else_is_restored_and_exact_names_are_told(home: Home, tmp_path: Path) -> None:
    source = _tree(tmp_path / "source")
    before = set(home.store.objects)
    home.back_up(source)
    first = {key for key in home.store.objects if key.startswith("packs/")} - before
    (source / "new").mkdir()
    (source / "new/hurt").write_bytes(os.urandom(5000))
    (source / "new/hurt.img").write_bytes(os.urandom(5 << 20))
    made = home.back_up(source)
    for key in {key for key in home.store.objects if key.startswith("packs/")} - first - before:
        data = home.store.objects[key]
        if len(data) > 5000 + (5 << 20):  # the pack of data; trees are in another
            home.store.objects[key] = data[:1000] + bytes([data[1000] ^ 1]) + data[1001:6000] + b"x" * (len(data) - 6000)
    done = _restore(home, made, tmp_path / "target", source)
    hurt = sorted(os.path.basename(event.path) for event in home.events if isinstance(event, Warn))
    assert hurt == ["hurt", "hurt.img"]
    assert done.damaged + done.counts.failed == 2
    assert _files(tmp_path / "target") == ["a/deep/er/two.txt", "a/deep/three.log", "a/one.txt", "b/four.txt", "five.log"]


def test_a_damaged_folder_costs_only_what_is_in_it(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safehold.core.errors import DamageError
    from safehold.repo import trees

    source = _tree(tmp_path / "source")
    made = home.back_up(source)
    hurt = home.entry(made, source / "a/deep").content
    real = trees.read_node

    def reading(reader: Any, tree: bytes) -> Any:
        if tree == hurt:
            raise DamageError("Chunk 1234 is not what was stored.")
        return real(reader, tree)

    monkeypatch.setattr(trees, "read_node", reading)
    done = _restore(home, made, tmp_path / "target", source)
    assert home.warned == [("damaged", str(source / "a/deep"))]
    assert done.damaged == 1
    assert _files(tmp_path / "target") == ["a/one.txt", "b/four.txt", "five.log"]
