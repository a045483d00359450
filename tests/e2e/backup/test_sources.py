"""What is named to be backed up, and what of it is left out."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from homes import Home, counted

from safehold.core.entries import DIRECTORY
from safehold.core.errors import SourceMissing, UsageError
from safehold.repo import trees
from safehold.sources.files import folders
from safehold.storage.local import LocalStore


def _tree(top: Path) -> Path:
    for name in ("a/one", "a/deep/er/two", "b/three", "b/cache/four"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(name.encode())
    return top


def test_the_same_source_in_several_ways_is_one(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _tree(tmp_path / "source")
    (tmp_path / "link").symlink_to("source")
    monkeypatch.chdir(source)
    made = home.back_up(source, f"{source}/", ".", "a", "../source/b/..", tmp_path / "link", source / "a/deep")
    assert made.snapshot.source.paths == [os.fsencode(source)]
    assert made.snapshot.totals.files == 4


def test_several_sources_keep_their_full_paths(home: Home, tmp_path: Path) -> None:
    source = _tree(tmp_path / "source")
    os.chown(source, 1, 2)
    source.chmod(0o751)
    os.setxattr(source, "user.above", b"too")
    made = home.back_up(source / "a/deep", source / "b/three")
    assert made.snapshot.source.paths == [os.fsencode(source / "a/deep"), os.fsencode(source / "b/three")]
    assert home.names(made, source) == [b"a", b"b"]
    assert (home.names(made, source / "a"), home.names(made, source / "b")) == ([b"deep"], [b"three"])
    above = home.entry(made, source)
    assert (above.mode, above.uid, above.gid) == (0o751, 1, 2)
    assert above.more.xattrs == {"user.above": b"too"}
    node = trees.read_node(home.open().reader, home.entry(made, tmp_path).content)
    assert (node.owners[1], node.groups[2]) == ("daemon", "bin")
    assert made.snapshot.totals.files == 2


def test_a_folder_above_that_may_only_be_passed(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _tree(tmp_path / "source")
    source.chmod(0o711)
    real = folders.Folder.at.__func__  # type: ignore[attr-defined]

    def failing(cls: type, path: bytes) -> folders.Folder:
        if path == os.fsencode(source):
            raise PermissionError(13, "Permission denied")
        return real(cls, path)  # type: ignore[no-any-return]

    monkeypatch.setattr(folders.Folder, "at", classmethod(failing))
    made = home.back_up(source / "a")
    assert (home.warned, made.snapshot.incomplete) == ([], False)
    assert home.entry(made, source).mode == 0o711


def test_a_path_through_a_symlink(home: Home, tmp_path: Path) -> None:
    source = _tree(tmp_path / "source")
    (tmp_path / "link").symlink_to("source")
    made = home.back_up(tmp_path / "link/a")
    assert home.entry(made, tmp_path / "link").kind == DIRECTORY
    assert home.content(made, tmp_path / "link/a/one") == b"a/one"
    assert not os.path.lexists(source / "link")


def test_symlinks_that_are_named(home: Home, tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    _tree(tmp_path / "source")
    (tmp_path / "to file").symlink_to("source/a/one")
    made = home.back_up(tmp_path / "dangling", tmp_path / "to file")
    assert home.entry(made, tmp_path / "dangling").more.target == b"nowhere"
    assert home.entry(made, tmp_path / "to file").more.target == b"source/a/one"


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR])
def test_a_fifo_or_device_that_is_named_is_not_read(home: Home, tmp_path: Path, kind: int) -> None:
    os.mknod(tmp_path / "node", kind | 0o600, os.makedev(1, 5))
    made = home.back_up(tmp_path / "node")
    assert made.snapshot.totals.others == 1


@pytest.mark.parametrize(
    ("paths", "error"), [(["missing"], SourceMissing), ([""], UsageError), (["a", "missing"], SourceMissing)]
)
def test_what_is_not_there(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: list[str], error: type[Exception]
) -> None:
    monkeypatch.chdir(_tree(tmp_path / "source"))
    before = dict(home.store.objects)
    with pytest.raises(error):
        home.back_up(*paths)
    assert home.store.objects == before


def test_everything_from_the_root(home: Home, tmp_path: Path) -> None:
    """``/`` itself, with all but this test's folder left out."""
    source = _tree(tmp_path / "source")
    parts = tmp_path.parts[1:]
    excludes = ["/*"]
    for depth in range(1, len(parts) + 1):
        here = "/" + "/".join(parts[:depth])
        excludes += [f"!{here}", f"{here}/*"]
    excludes += [f"!{source}", f"!{source}/**"]
    made = home.back_up("/", excludes=excludes)
    assert made.snapshot.source.paths == [b"/"]
    assert made.snapshot.totals.files == 4
    assert home.content(made, source / "a/one") == b"a/one"
    assert counted(home.back_up("/", excludes=excludes)) == (0, 0, 4)


def test_excluded_things_are_left_out(home: Home, tmp_path: Path) -> None:
    source = _tree(tmp_path / "source")
    made = home.back_up(source, excludes=["cache/", "t*", "!three"])
    assert made.snapshot.totals.files == 2
    assert home.names(made, source / "a/deep/er") == []
    assert home.names(made, source / "b") == [b"three"]
    assert made.snapshot.source.excludes == ["cache/", "t*", "!three"]


def test_another_file_system_is_kept_as_an_empty_folder(home: Home, tmp_path: Path, mounted: Path) -> None:
    source = _tree(mounted.parent)
    (mounted / "inside").write_bytes(b"x")
    mounted.chmod(0o711)
    made = home.back_up(source, one_file_system=True)
    assert home.names(made, mounted) == []
    assert home.entry(made, mounted).mode == 0o711
    assert home.names(home.back_up(source), mounted) == [b"inside"]
    named = home.back_up(source, mounted, one_file_system=True)
    assert home.names(named, mounted) == [b"inside"]


def test_caches_are_left_out_when_asked(home: Home, tmp_path: Path) -> None:
    source = _tree(tmp_path / "source")
    tag = source / "b/cache/CACHEDIR.TAG"
    tag.write_bytes(b"Signature: 8a477f597d28d172789f06886806bc55\n# by a test")
    (source / "b/cache/folder").mkdir()
    (source / "a/CACHEDIR.TAG").write_bytes(b"Signature: something else")
    (source / "a/deep/CACHEDIR.TAG").mkdir()
    assert home.names(home.back_up(source), source / "b/cache") == [b"CACHEDIR.TAG", b"folder", b"four"]
    made = home.back_up(source, exclude_caches=True)
    assert home.names(made, source / "b/cache") == [b"CACHEDIR.TAG"]
    assert home.names(made, source / "a") == [b"CACHEDIR.TAG", b"deep", b"one"]
    tag.unlink()
    assert home.names(home.back_up(source, exclude_caches=True), source / "b/cache") == [b"folder", b"four"]


def test_the_repository_and_the_cache_in_the_source_are_left_out(tmp_path: Path) -> None:
    source = _tree(tmp_path)
    home = Home(tmp_path, LocalStore(tmp_path / "a/repository", create=True))
    made = home.back_up(source)
    assert len(home.notes) == 2
    assert home.names(made, source / "a") == [b"deep", b"one"]
    assert b"cache" not in home.names(made, source)
    assert home.back_up(source).snapshot.totals.files == 4
    for inside in ("a/repository", "a/repository/packs"):
        with pytest.raises(UsageError, match="repository itself"):
            home.back_up(source / inside)
