"""Rules for what is in the target: overwrite modes, only changed data, other kinds in the way, delete, dry run."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from trees import capture, compared, restore

from safehold.core.entries import DIRECTORY, FIFO, FILE, SYMLINK, Entry, More
from safehold.core.errors import DamageError
from safehold.core.events import silent
from safehold.sources.files.placing import Placer
from safehold.sources.files.placing.terms import Counts, Options, Outcome

_STAMP = 1_000_000_000_000_000_005


def _file(name: str, content: bytes, **more: object) -> tuple[Entry, bytes]:
    extra = More(**more) if more else None  # type: ignore[arg-type]
    return Entry(name.encode(), FILE, 0o644, 0, 0, _STAMP, 1, len(content), 1, b"", extra), content


def _folder(name: str, *inside: tuple[Entry, object]) -> tuple[Entry, list[tuple[Entry, object]]]:
    return Entry(name.encode(), DIRECTORY, 0o755, 0, 0, _STAMP, 1, 0, 1), list(inside)


class Pieces:
    """Bytes handed out piece by piece."""

    def __init__(self, content: bytes, step: int = 50_000) -> None:
        self.content, self.step, self.size, self.reads = content, step, len(content), 0

    def read(self, offset: int, length: int) -> bytes:
        self.reads += 1
        return self.content[offset : offset + length]

    def pieces(self) -> Iterator[tuple[int, int]]:
        for offset in range(0, self.size, self.step):
            yield offset, min(self.step, self.size - offset)


def _blocks_of(path: Path) -> list[str]:
    """Physical extents of a file."""
    listing = subprocess.run(["filefrag", "-v", str(path)], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if line.strip()[:1].isdigit()]


def _state(top: Path) -> list[tuple[Path, int, int, int]]:
    found = [(path, path.lstat()) for path in sorted(top.rglob("*"))]
    return [(path, stat.st_ino, stat.st_size, stat.st_ctime_ns) for path, stat in found]


@pytest.mark.parametrize("whole", [True, False])
def test_always_writes_only_blocks_that_differ(tmp_path: Path, whole: bool) -> None:
    old = random.Random(1).randbytes(2_000_000)
    new = old[:1_000_000] + b"changed" + old[1_000_007:]
    target = tmp_path / "target"
    restore([_file("image", old)], target)
    inode = (target / "image").stat().st_ino
    entry, _ = _file("image", new)
    done = restore([(entry, new if whole else Pieces(new))], target)  # type: ignore[list-item]
    assert (target / "image").read_bytes() == new
    assert (target / "image").stat().st_ino == inode
    assert 0 < done.counts.written <= 2 * 65_536
    assert (target / "image").stat().st_mtime_ns == _STAMP


def test_on_a_copy_on_write_system_unchanged_extents_stay(disk: Path) -> None:
    if "btrfs" not in str(disk):
        return
    old = random.Random(2).randbytes(4_000_000)
    restore([_file("image", old)], disk / "extents")
    before = _blocks_of(disk / "extents/image")
    new = b"changed" + old[7:]
    restore([_file("image", new)], disk / "extents")
    after = _blocks_of(disk / "extents/image")
    assert (disk / "extents/image").read_bytes() == new
    assert len(after) <= len(before) + 2


@pytest.mark.parametrize("size", [0, 10, 70_000, 200_000, 900_000])
def test_shrunk_and_grown_files_become_right(tmp_path: Path, size: int) -> None:
    content = random.Random(3).randbytes(size)
    for old in (b"", b"x" * 10, content + b"tail", content[: size // 2], b"y" * 400_000):
        (tmp_path / "file").write_bytes(old)
        restore([_file("file", content)], tmp_path)
        assert (tmp_path / "file").read_bytes() == content
        assert (tmp_path / "file").stat().st_mtime_ns == _STAMP


def test_if_changed_trusts_size_and_time_and_never_keeps(tmp_path: Path) -> None:
    (tmp_path / "same").write_bytes(b"disk")
    os.utime(tmp_path / "same", ns=(_STAMP, _STAMP))
    (tmp_path / "other").write_bytes(b"disk")
    tree = [_file("other", b"snap"), _file("same", b"snap")]
    assert restore(tree, tmp_path, overwrite="never").counts.kept == 2
    assert (tmp_path / "other").read_bytes() == b"disk"
    done = restore(tree, tmp_path, overwrite="if-changed")
    assert (done.counts.kept, done.counts.changed) == (1, 1)
    assert ((tmp_path / "other").read_bytes(), (tmp_path / "same").read_bytes()) == (b"snap", b"disk")
    assert restore(tree, tmp_path).counts.written == 4
    assert (tmp_path / "same").read_bytes() == b"snap"


def test_other_kinds_in_the_way_are_replaced_and_told(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"precious")
    target = tmp_path / "target"
    target.mkdir()
    (target / "a").symlink_to(outside / "precious")
    (target / "b").symlink_to(outside)
    (target / "c").mkdir()
    os.mkfifo(target / "d")
    (target / "e").write_bytes(b"")
    (target / "f").write_bytes(b"")
    link = Entry(b"e", SYMLINK, 0o777, 0, 0, _STAMP, 1, 0, 1, b"", More(target=b"a"))
    fifo = Entry(b"f", FIFO, 0o600, 0, 0, _STAMP, 1, 0, 1)
    tree = [
        _file("a", b"A"),
        _folder("b", _file("in", b"B")),
        _file("c", b"C"),
        _file("d", b"D"),
        (link, None),
        (fifo, None),
    ]
    done = restore(tree, target)
    assert done.warned == []
    assert done.told == [("replace", name) for name in "abcdef"]
    assert [path.name for path in outside.iterdir()] == ["precious"]
    assert (outside / "precious").read_bytes() == b"precious"
    assert ((target / "a").read_bytes(), (target / "b/in").read_bytes()) == (b"A", b"B")
    assert (target / "e").readlink() == Path("a")
    assert (target / "f").is_fifo()


def test_a_full_folder_in_the_way_of_a_file_needs_delete(tmp_path: Path) -> None:
    (tmp_path / "name/inside").mkdir(parents=True)
    done = restore([_file("name", b"x")], tmp_path)
    assert done.warned == [("in-the-way", "name")]
    assert "--delete" in done.events[0].hint  # type: ignore[attr-defined]
    assert (tmp_path / "name/inside").is_dir()
    done = restore([_file("name", b"x")], tmp_path, delete=True)
    assert done.told == [("delete", "name/inside"), ("delete", "name"), ("replace", "name")]
    assert (tmp_path / "name").read_bytes() == b"x"


def test_other_names_of_an_existing_file_do_not_change(tmp_path: Path) -> None:
    elsewhere, target = tmp_path / "elsewhere", tmp_path / "target"
    target.mkdir()
    elsewhere.write_bytes(b"theirs")
    os.link(elsewhere, target / "file")
    restore([_file("file", b"ours!!")], target)
    assert (elsewhere.read_bytes(), (target / "file").read_bytes()) == (b"theirs", b"ours!!")


def test_a_file_of_another_owner_is_replaced_and_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"theirs")
    os.chown(tmp_path / "file", 1234, 1234)
    with (tmp_path / "file").open("rb") as spying:
        restore([_file("file", b"secret")], tmp_path)
        assert spying.read() == b"theirs"
    assert ((tmp_path / "file").read_bytes(), (tmp_path / "file").stat().st_uid) == (b"secret", 0)


def test_a_program_that_is_running_is_replaced(tmp_path: Path) -> None:
    program = tmp_path / "sleep"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    with subprocess.Popen([str(program), "60"]) as running:
        done = restore([_file("sleep", b"new")], tmp_path)
        running.kill()
    assert (done.warned, program.read_bytes()) == ([], b"new")


def test_hard_links_are_made_again_from_any_state(tmp_path: Path) -> None:
    group = {"link": (1, 2)}
    tree = [_file("a", b"one", **group), _folder("d", _file("b", b"one", **group)), _file("z", b"one", **group)]
    for state in ("nothing", "separate", "again"):
        if state == "separate":
            (tmp_path / "d/b").unlink()
            (tmp_path / "d/b").write_bytes(b"other")
        done = restore(tree, tmp_path)
        assert done.warned == []
        assert (tmp_path / "a").stat().st_nlink == 3
        assert (tmp_path / "d/b").read_bytes() == b"one"
    assert (done.counts.kept, done.counts.changed) == (4, 0)


def test_holes_are_punched_into_existing_files(disk: Path) -> None:
    target = disk / "punched"
    target.mkdir()
    (target / "file").write_bytes(b"x" * 2_000_000)
    content = b"head".ljust(65_536, b"x") + bytes(1_900_000 - 65_536) + b"tail" * 25_000
    done = restore([_file("file", content, holes=[65_536, 1_900_000 - 65_536])], target)
    assert done.warned == []
    assert (target / "file").read_bytes() == content
    assert (target / "file").stat().st_blocks * 512 < 400_000
    assert restore([_file("file", content, holes=[65_536, 1_900_000 - 65_536])], target).counts.written == 0


def test_delete_removes_what_the_snapshot_has_not_and_nothing_else(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "kept").mkdir(parents=True)
    (source / "kept/file").write_bytes(b"kept")
    restore(capture(source), target)
    (target / "kept/extra/more").mkdir(parents=True)
    (target / "kept/extra/link").symlink_to(outside)
    (target / "kept/extra/more/file").write_bytes(b"x")
    (target / "stranger").symlink_to(outside)
    tree = capture(source)
    planned = restore(tree, target, delete=True, dry_run=True)
    assert [event for event in planned.told if event[0] == "delete"] == [
        ("delete", "stranger"),
        ("delete", "kept/extra"),
    ]
    assert (target / "kept/extra/more/file").exists()
    done = restore(tree, target, delete=True)
    assert done.counts.deleted == 5
    assert {path for _, path in done.told} == {
        "stranger",
        "kept/extra",
        "kept/extra/link",
        "kept/extra/more",
        "kept/extra/more/file",
    }
    assert (outside / "deep").is_dir()
    assert compared(source, target).replace(".d..t...... ./\n", "") == ""


def test_delete_does_not_empty_what_is_mounted(tmp_path: Path, small_disk: Path) -> None:
    (small_disk / "file").write_bytes(b"on another disk")
    done = restore([], tmp_path, delete=True)
    assert done.warned == [("not-deleted", "small")]
    assert (small_disk / "file").exists()


def test_a_dry_run_tells_and_touches_nothing(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "new/deeper").mkdir(parents=True)
    for name, content in (("same", b"1"), ("differs", b"2"), ("new/file", b"3"), ("fresh", b"4")):
        (source / name).write_bytes(content)
    target.mkdir()
    subprocess.run(["cp", "-a", source / "same", target], check=True)
    (target / "differs").write_bytes(b"x")
    (target / "extra").write_bytes(b"")
    before = _state(tmp_path)
    done = restore(capture(source), target, dry_run=True, delete=True)
    assert _state(tmp_path) == before
    assert sorted(done.told) == [
        ("change", "differs"),
        ("create", "fresh"),
        ("create", "new"),
        ("create", "new/deeper"),
        ("create", "new/file"),
        ("delete", "extra"),
        ("keep", "same"),
    ]
    nowhere = restore(capture(source), tmp_path / "nowhere", dry_run=True)
    assert nowhere.counts.created == 6
    assert not (tmp_path / "nowhere").exists()


def test_wrong_sizes_and_damaged_data_fail_alone(tmp_path: Path) -> None:
    class Damaged(Pieces):
        def read(self, offset: int, length: int) -> bytes:
            if offset:
                raise DamageError("Pack 12 is damaged", "run `safehold repair`")
            return super().read(offset, length)

    short, _ = _file("short", b"12345")
    hurt, content = _file("hurt", b"x" * 200_000)
    tree = [(hurt, Damaged(content)), (short, b"123"), _file("whole", b"fine")]
    done = restore(tree, tmp_path)  # type: ignore[arg-type]
    assert done.warned == [("damaged", "hurt"), ("damaged", "short")]
    assert done.counts == Counts(created=1, failed=2, written=4, codes=done.counts.codes)
    assert done.counts.codes["damaged"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["whole"]


def test_only_bytes_that_are_needed_are_asked_for(tmp_path: Path) -> None:
    linked = [_file(name, b"same", link=(1, 2))[0] for name in ("first", "second")]
    same, other = _file("same", b"1")[0], _file("other", b"2")[0]
    restore([_file("same", b"1"), _file("other", b"x")], tmp_path)
    os.utime(tmp_path / "other", ns=(1, 1))
    asked = {}
    for mode in ("always", "if-changed", "never"):
        with Placer(tmp_path, Options(overwrite=mode), silent) as placer:  # type: ignore[arg-type]
            asked[mode] = [placer.needs(placer.root, entry) for entry in (same, other, linked[0])]
    assert asked == {"always": [True] * 3, "if-changed": [False, True, True], "never": [False, False, True]}
    with Placer(tmp_path, Options(overwrite="if-changed"), silent) as placer:
        assert placer.place(placer.root, same) is Outcome.KEPT
        placer.place(placer.root, linked[0], b"same")
        assert not placer.needs(placer.root, linked[1])
        assert placer.place(placer.root, linked[1]) is Outcome.CREATED
        assert placer.place(placer.root, other) is Outcome.FAILED
        os.link(tmp_path / "other", tmp_path / "another")
        assert placer.place(placer.root, other) is Outcome.FAILED
    assert (tmp_path / "other").read_bytes() == b"x"
    assert (tmp_path / "second").read_bytes() == b"same"


def test_the_target_itself_gets_attributes_if_asked_for(tmp_path: Path) -> None:
    top = Entry(b"", DIRECTORY, 0o750, 3, 4, _STAMP, 1, 0, 1, b"", More(attributes={b"user.a": b"b"}))
    entry, content = _file("file", b"x")
    with Placer(tmp_path / "target", Options(), silent, top) as placer:
        placer.place(placer.root, entry, content)
        placer.finish()
    found = (tmp_path / "target").stat()
    assert (found.st_mode, found.st_uid, found.st_gid, found.st_mtime_ns) == (0o40750, 3, 4, _STAMP)
    assert os.getxattr(tmp_path / "target", "user.a") == b"b"
