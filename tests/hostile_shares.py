"""Parts of shares that nobody who is honest makes: the program and the pages must refuse the same."""

from __future__ import annotations

import os
from typing import Any

from safehold.codec import compression, sealing
from safehold.core.entries import DIRECTORY, FILE
from safehold.repo.shares.keys import ShareKey
from safehold.repo.shares.manifest import Entry, Node, Part, Root, Segment

KEY = ShareKey(bytes(range(16)), bytes(range(32)))
REPOSITORY = b"r" * 16


def root(*nodes: Node, entries: int = 100, size: int = 1 << 40, segments: tuple[Segment, ...] = (), **more: Any) -> Root:
    return Root(KEY.share, REPOSITORY, "it", 0, 0, 0, entries, size, Part(list(segments), list(nodes)), **more)


def file(name: bytes, size: int = 0, slices: list[int] | None = None, **more: Any) -> Entry:
    return Entry(name, FILE, 0o644, 0, size, slices or [], **more)


def folder(name: bytes, below: tuple[int, int] | None) -> Entry:
    return Entry(name, DIRECTORY, 0o755, 0, below=below)


def sealed(raw: bytes, name: bytes = b"s" * 16) -> tuple[Segment, bytes]:
    """A segment of that content, and its sealed body."""
    key = os.urandom(32)
    aad = b"safehold/1 segment\0" + REPOSITORY + b"\1" + name
    body = sealing.aead_seal(key, sealing.ZERO_NONCE, compression.pack(raw), aad)
    return Segment(name, key, len(raw), len(body)), body


NAMES = [b"", b".", b"..", b"../up", b"a/b", b"/etc", b"a\0b"]

ENTRIES = [
    Entry(b"d", 5, 0o644, 0),
    Entry(b"s", FILE, 0o4755, 0),
    Entry(b"t", FILE, 0o644, 1 << 63),
    file(b"big", 1 << 63),
    file(b"less", 11, [1, 0, 10]),
    file(b"outside", 11, [1, 0, 11]),
    file(b"beyond", 10, [1, 1, 10]),
    file(b"nowhere", 10, [2, 0, 10]),
    file(b"negative", 10, [1, -1, 10]),
    file(b"half", 10, [1, 0]),
    file(b"nothing", 0, [1, 0, 0]),
    file(b"holes", 10, [1, 0, 10], holes=[8, 5]),
    file(b"odd", 10, [1, 0, 10], holes=[8]),
    file(b"over", 10, [1, 0, 10], holes=[4, 2, 3, 2]),
]
"""Beside one segment of ten bytes."""

SEGMENTS = [
    Segment(b"short", b"k" * 32, 10, 10),
    Segment(b"s" * 16, b"k", 10, 10),
    Segment(b"s" * 16, b"k" * 32, 1 << 30, 10),
    Segment(b"s" * 16, b"k" * 32, 10, 1 << 30),
    Segment(b"s" * 16, b"k" * 32, 10, 10, -1),
    Segment(b"s" * 16, b"k" * 32, 10, 10, 0, -1),
    Segment(b"s" * 16, b"k" * 32, 10, 10, 0, 0, b"pack"),
]

TREES = {
    "self": root(Node([folder(b"a", (0, 0))])),
    "circle": root(Node([folder(b"a", (0, 1))]), Node([folder(b"b", (0, 0))])),
    "no node": root(Node([folder(b"a", (0, 7))])),
    "no part": root(Node([folder(b"a", (9, 0))])),
    "no place": root(Node([folder(b"a", None)])),
    "twice": root(Node([folder(b"a", (0, 1)), folder(b"b", (0, 1))]), Node([file(b"x")])),
    "more self": root(Node([], (0, 0))),
    "more back": root(Node([file(b"a")], (0, 1)), Node([file(b"b")], (0, 0))),
    "too many": root(Node([file(b"a"), file(b"b")]), entries=1),
    "too large": root(Node([file(b"a", 10, [0, 0, 10])]), size=9),
    "a name twice": root(Node([file(b"a"), file(b"a")])),
    "a name twice in two nodes": root(Node([file(b"b")], (0, 1)), Node([file(b"a")])),
}

DOUBLING = [Node([folder(b"a", (0, n + 1)), folder(b"b", (0, n + 1))]) for n in range(40)] + [Node([])]
"""Each folder is in the one before it twice: 2 to the 40th paths, if anybody walked them."""
