"""Paths as the names on the way to a source."""

from __future__ import annotations

import ntpath
import posixpath
from typing import Any

import pytest

from safehold.ops.backup.roots import components, plan


@pytest.mark.parametrize(
    ("path", "system", "expected"),
    [
        (b"/", posixpath, []),
        (b"/home/me", posixpath, [b"home", b"me"]),
        (b"//home\\x//me/", posixpath, [b"home\\x", b"me"]),
        (b"C:\\", ntpath, [b"C"]),
        (b"C:\\Users\\me", ntpath, [b"C", b"Users", b"me"]),
        (b"c:/Users/me", ntpath, [b"c", b"Users", b"me"]),
        (b"\\\\server\\share\\x", ntpath, [b"__server_share", b"x"]),
    ],
)
def test_components(path: bytes, system: Any, expected: list[bytes]) -> None:
    assert components(path, system) == expected


def test_a_plan_has_paths_that_can_be_opened() -> None:
    top = plan([b"/a/b", b"/a/c"])
    assert sorted(top.below) == [b"a"]
    assert [(child.path, child.is_source) for child in top.below[b"a"].below.values()] == [(b"/a/b", True), (b"/a/c", True)]
    drive = plan([b"C:\\Users\\me"], ntpath).below[b"C"]
    assert (drive.path, drive.below[b"Users"].path) == (b"C:\\", b"C:\\Users")
    assert plan([b"/"]).is_source
    assert plan([b"D:\\"], ntpath).below[b"D"].is_source
