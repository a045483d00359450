"""Exclusion patterns."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safehold.core.errors import UsageError
from safehold.sources.files.exclude import Excluder, read_patterns

_TABLE = [
    # pattern, path, whether it is a folder, whether it is left out
    ("*.o", "/src/x.o", False, True),
    ("*.o", "/src/x.o", True, True),
    ("*.o", "/src/x.obj", False, False),
    ("*.o", "/x.o/y", False, False),
    ("name", "/a/b/name", False, True),
    ("name", "/a/b/name2", False, False),
    ("name", "/a/b/myname", False, False),
    ("name/", "/a/name", True, True),
    ("name/", "/a/name", False, False),
    ("/home/*/.cache", "/home/me/.cache", True, True),
    ("/home/*/.cache", "/home/me/x/.cache", True, False),
    ("/home/*/.cache", "/backup/home/me/.cache", True, False),
    ("cache/tmp", "/x/cache/tmp", True, True),
    ("cache/tmp", "/x/mycache/tmp", True, False),
    ("cache/tmp", "/x/cache/tmp/y", False, False),
    ("cache/*", "/x/cache/y", False, True),
    ("cache/*", "/x/cache", True, False),
    ("cache/**", "/x/cache/y/z", False, True),
    ("a/**/b", "/a/b", False, True),
    ("a/**/b", "/a/x/b", False, True),
    ("a/**/b", "/a/x/y/b", False, True),
    ("a/**/b", "/a/xb", False, False),
    ("a/**/b", "/xa/b", False, False),
    ("**/b", "/b", False, True),
    ("**/b", "/x/y/b", False, True),
    ("**/b", "/x/yb", False, False),
    ("/**/b", "/x/y/b", False, True),
    ("/**", "/x", False, True),
    ("x**y", "/xa/by", False, True),
    ("?", "/a/é", False, True),
    ("??", "/a/é", False, False),
    ("a?b", "/a/b", False, False),
    ("[abc].txt", "/b.txt", False, True),
    ("[a-c].txt", "/d.txt", False, False),
    ("[!a-c].txt", "/d.txt", False, True),
    ("[!a-c].txt", "/a.txt", False, False),
    ("x[!a]y", "/x/y", False, False),
    ("x[.-9]y", "/x/y", False, False),
    ("x[.-9]y", "/x5y", False, True),
    ("[]x]", "/]", False, True),
    ("[[]", "/[", False, True),
    ("[a-]", "/-", False, True),
    ("[äö]", "/ö", False, True),
    ("[^a]", "/^", False, True),
    ("[", "/[", False, True),
    ("a[b", "/a[b", False, True),
    ("[&&]", "/&", False, True),
    (r"\*", "/*", False, True),
    (r"\*", "/x", False, False),
    (r"\[a]", "/[a]", False, True),
    (r"\!x", "/!x", False, True),
    (r"\#x", "/#x", False, True),
    ("#x#", "/#x#", False, True),
    ("a.b", "/axb", False, False),
    ("(a|b)+$", "/(a|b)+$", False, True),
    ("name", "/a/name\n", False, False),
    ("new\nline", "/new\nline", False, True),
    ("Name", "/name", False, False),
    ("*", "/\udcff", False, True),
    (" x", "/ x", False, True),
]


@pytest.mark.parametrize(("pattern", "path", "is_folder", "expected"), _TABLE)
def test_a_pattern(pattern: str, path: str, is_folder: bool, expected: bool) -> None:
    assert Excluder([pattern]).excludes(path.encode(errors="surrogateescape"), is_folder) is expected


def test_the_last_pattern_that_fits_decides() -> None:
    excluder = Excluder(["*.log", "!important.log", "/tmp/important.log"])
    assert excluder.excludes(b"/var/x.log", False)
    assert not excluder.excludes(b"/var/important.log", False)
    assert excluder.excludes(b"/tmp/important.log", False)
    assert not Excluder(["!x"]).excludes(b"/x", False)


@pytest.mark.parametrize("pattern", ["/", "//", "!", "!/", "[z-a]"])
def test_patterns_that_cannot_be_meant(pattern: str) -> None:
    with pytest.raises(UsageError):
        Excluder([pattern])


def test_empty_patterns_say_nothing() -> None:
    assert not Excluder(["", "  "])
    assert not Excluder([]).excludes(b"/x", False)


def test_a_file_of_patterns(tmp_path: Path) -> None:
    file = tmp_path / "excludes"
    file.write_bytes(b"\xef\xbb\xbf# a comment\r\n*.o\r\n\r\n\\#kept\r\nl\x85ne\x0c\xe2\x80\xa8\r\n")
    assert read_patterns(str(file)) == ["*.o", "\\#kept", "l\udc85ne\x0c\u2028"]
    with pytest.raises(UsageError, match="cannot be read"):
        read_patterns(str(tmp_path / "missing"))


@given(st.text("ab/*?", min_size=1, max_size=8), st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=3))
def test_as_a_naive_matcher_says(pattern: str, names: list[str]) -> None:
    if "**" in pattern or "//" in pattern or not pattern.strip("/"):
        return
    is_folder = len(names) % 2 == 0
    excluder = Excluder([pattern])
    assert excluder.excludes(("/" + "/".join(names)).encode(), is_folder) is _naive(pattern, names, is_folder)


def _naive(pattern: str, names: list[str], is_folder: bool) -> bool:
    """Part by part, from the end."""
    if pattern.endswith("/") and not is_folder:
        return False
    parts = pattern.rstrip("/").split("/")
    anchored = parts[0] == ""
    parts = parts[1:] if anchored else parts
    if len(parts) > len(names) or (anchored and len(parts) != len(names)):
        return False
    return all(fnmatch.fnmatchcase(name, part) for name, part in zip(names[-len(parts) :], parts, strict=True))


@given(st.text(max_size=12), st.binary(min_size=1, max_size=12))
def test_no_pattern_makes_anything_but_a_usage_error(pattern: str, path: bytes) -> None:
    try:
        Excluder([pattern.replace("\0", "")]).excludes(b"/" + path, False)
    except UsageError:
        return
