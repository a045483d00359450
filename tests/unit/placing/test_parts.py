"""The small parts of placing and of reading metadata, each on its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safehold.core.entries import DIRECTORY, FILE, SYMLINK, Entry, More
from safehold.core.errors import DamageError
from safehold.sources.files import metadata
from safehold.sources.files.compare import differences
from safehold.sources.files.placing.contents import Bytes, hole_pairs, outside
from safehold.sources.files.placing.names import refusal, windows_refusal


@given(st.lists(st.integers(0, 40), max_size=8), st.integers(1, 17), st.integers(0, 300))
def test_parts_outside_holes_are_exactly_the_rest(steps: list[int], piece: int, size: int) -> None:
    holes: list[int] = []
    position = 0
    for gap, length in zip(steps[::2], steps[1::2], strict=False):
        holes += (position + gap, length)
        position += gap + length
    pieces = [(offset, min(piece, size - offset)) for offset in range(0, size, piece)]
    parts = list(outside(pieces, hole_pairs(holes, size)))
    written = [place for offset, length in parts for place in range(offset, offset + length)]
    empty = {place for start, length in zip(holes[::2], holes[1::2], strict=True) for place in range(start, start + length)}
    assert written == [place for place in range(size) if place not in empty]
    assert all(length > 0 for _, length in parts)


@pytest.mark.parametrize("holes", [[5, 5, 8, 2], [9, 1, 0, 1], [0, -1], [-5, 10]])
def test_lists_of_holes_that_overlap_are_damage(holes: list[int]) -> None:
    with pytest.raises(DamageError):
        hole_pairs(holes, 100)


def test_names() -> None:
    assert [refusal(name) == "" for name in (b"a", b"...", b"\xff", b"a\\b", b"", b".", b"..", b"a/", b"\0")] == [True] * 4 + [
        False
    ] * 5
    refused = ["con", "NUL.txt", "COM1", "a:b", "a\\b", "dot.", "space ", "lpt9.log.old", "tab\t", "*"]
    assert all(windows_refusal(name) for name in refused)
    assert not any(windows_refusal(name) for name in ("console", "a.b", ".hidden", "com10", "é"))


def test_holes_are_found_where_the_file_system_has_them(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.seek(1 << 20)
        file.write(b"x" * 4096)
        file.truncate(2 << 20)
    fd = os.open(path, os.O_RDONLY)
    assert metadata.holes(fd, 2 << 20) == [0, 1 << 20, (1 << 20) + 4096, (1 << 20) - 4096]
    assert metadata.holes(fd, 1 << 20) == [0, 1 << 20]
    assert os.read(fd, 10) == bytes(10)
    path.write_bytes(b"full" * 1024)
    assert metadata.holes(fd, 4096) == []
    os.close(fd)


def test_attributes_that_the_kernel_makes_up_are_not_read(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "file")
    Path(os.fsdecode(path)).touch()
    assert metadata.read_xattrs(path) is None
    for name in ("user.a", "trusted.b", "security.c", "security.evm"):
        try:
            os.setxattr(path, name, b"\x05")
        except OSError:
            assert name == "security.evm"
    assert metadata.read_xattrs(path, follow=False) == {"user.a": b"\x05", "trusted.b": b"\x05", "security.c": b"\x05"}


def test_a_file_system_without_flags_has_none_and_is_asked_once() -> None:
    fd = os.open("/proc/self/status", os.O_RDONLY)
    assert metadata.read_flags(fd, -77) == 0
    os.close(fd)
    assert metadata.read_flags(fd, -77) == 0


def test_names_of_owners() -> None:
    assert (metadata.owner_name(0), metadata.group_name(0)) == ("root", "root")
    assert (metadata.owner_number("root"), metadata.group_number("root")) == (0, 0)
    assert (metadata.owner_name(987654), metadata.group_name(987654)) == ("", "")
    assert (metadata.owner_number("no such"), metadata.group_number("a\0b")) == (None, None)


def _entry(kind: int = FILE, **fields: object) -> Entry:
    values: dict[str, object] = {"mode": 0o644, "uid": 0, "gid": 0, "mtime_ns": 5, "ctime_ns": 5, "size": 3, "inode": 1}
    return Entry(b"file", kind, **(values | fields))  # type: ignore[arg-type]


class Sparse:
    """``abc``, three zeros that no piece covers, ``d``."""

    size = 7

    def read(self, offset: int, length: int) -> bytes:
        return b"abc\0\0\0d"[offset : offset + length]

    def pieces(self) -> Iterator[tuple[int, int]]:
        yield 0, 3
        yield 6, 1


def test_every_difference_is_named(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    path = tmp_path / "file"
    assert differences(folder, _entry(), None, None) == ["is missing"]
    path.write_bytes(b"abc")
    path.chmod(0o644)
    os.utime(path, ns=(5, 5))
    assert differences(folder, _entry(), b"abc", (0, 0)) == []
    assert differences(folder, _entry(), Bytes(b"abd"), None) == ["content differs"]
    assert differences(folder, _entry(DIRECTORY), None, None) == ["is a file, should be a directory"]
    assert differences(folder, _entry(mode=0o600), None, None) == ["permissions are 0644, should be 0600"]
    assert differences(folder, _entry(mtime_ns=6), None, None) == ["modification time is 5, should be 6"]
    assert differences(folder, _entry(size=4), b"abcd", (7, 0)) == ["size is 3, should be 4", "owner is 0, should be 7"]
    wanted = More(attributes={b"user.a": b"1"}, flags=0x40)
    assert differences(folder, _entry(more=wanted), None, None) == [
        "extended attribute user.a differs",
        "inode flags are 0x0, should be 0x40",
    ]
    path.write_bytes(b"abc\0\0\0d")
    sparse = Sparse()
    assert differences(folder, _entry(size=7), sparse, None)[1:] == []
    path.write_bytes(b"abc\0x\0d")
    assert differences(folder, _entry(size=7), sparse, None)[1:] == ["content differs"]
    path.unlink()
    path.symlink_to("x")
    os.utime(path, ns=(5, 5), follow_symlinks=False)
    assert differences(folder, _entry(SYMLINK, more=More(target=b"y")), None, None) == ["points elsewhere"]
    os.close(folder)
