"""Shares that nobody who is honest makes: nothing leaves the target, nothing goes on for ever."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hostile_shares import DOUBLING, ENTRIES, KEY, NAMES, SEGMENTS, TREES, file, folder, root, sealed
from shares_fixtures import Heard

from safehold.codec import compression, sealing
from safehold.codec.share_secret import Link, ShareSecret, parse_key_file
from safehold.core.entries import FILE, SYMLINK
from safehold.core.errors import DamageError, FormatError, SafeholdError, UsageError, WrongKey
from safehold.ops.open_share import bring, listing
from safehold.repo.shares import manifest
from safehold.repo.shares.files import END, MAGIC, TAIL, ShareFile
from safehold.repo.shares.keys import Lock, share_key
from safehold.repo.shares.manifest import Entry, Node, Part, Root, Segment
from safehold.repo.shares.opening import OpenShare, find
from safehold.sources.files.placing.terms import Options


class Sack:
    """A share in memory, whose parts are what a test puts in."""

    def __init__(self, root: Root, parts: tuple[Part, ...] = (), bodies: dict[bytes, bytes] | None = None) -> None:
        self.data = manifest.seal(KEY, root, [msgspec.msgpack.encode(part) for part in parts], os.urandom)
        self.bodies = bodies or {}

    def manifest(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]

    def segment(self, segment: Segment) -> bytes:
        return self.bodies[segment.id]


def opened(made: Root, *parts: Part, bodies: dict[bytes, bytes] | None = None) -> OpenShare:
    return OpenShare(KEY, Sack(made, parts, bodies))


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_elsewhere_are_refused(name: bytes) -> None:
    with pytest.raises(FormatError):
        opened(root(Node([file(name)])))


SEGMENT, BODY = sealed(b"0123456789")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name.decode())
def test_entries_that_cannot_be_are_refused(entry: Entry) -> None:
    with pytest.raises(FormatError):
        opened(root(Node([entry]), segments=(SEGMENT,)))


@pytest.mark.parametrize("segment", SEGMENTS)
def test_segments_that_cannot_be_are_refused(segment: Segment) -> None:
    with pytest.raises(FormatError):
        opened(root(Node([]), segments=(segment,)))


@pytest.mark.parametrize("made", TREES.values(), ids=TREES)
def test_trees_that_lead_in_circles_or_hold_more_than_they_say_are_refused(made: Root, tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        list(listing(opened(made)))
    with pytest.raises(FormatError):
        bring(opened(made), tmp_path / "out", Options(), Heard())


def test_a_doubling_tree_ends_at_once() -> None:
    with pytest.raises(FormatError, match="twice"):
        list(listing(opened(root(*DOUBLING, entries=1 << 60))))


@pytest.mark.parametrize("rest", [[0], [3], [1, 1]])
def test_rests_that_lead_back_or_are_too_long_are_refused(rest: list[int]) -> None:
    part = Part([SEGMENT], [], [1, 0, 10])
    share = opened(root(Node([file(b"long", 10, rest=rest)])), part, bodies={SEGMENT.id: BODY})
    with pytest.raises(FormatError):
        share.content(0, share.node((0, 0)).entries[0])


def test_a_rest_is_read() -> None:
    part = Part([SEGMENT], [], [1, 0, 10])
    share = opened(root(Node([file(b"long", 20, rest=[1, 2])])), part, part, bodies={SEGMENT.id: BODY})
    content = share.content(0, share.node((0, 0)).entries[0])
    assert content.read(5, 10) == b"5678901234"


def test_a_link_out_is_not_followed(tmp_path: Path) -> None:
    """A symlink of the share stands where one of its folders would go: whatever order they come in, nothing lands outside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").symlink_to(outside)
    share = opened(
        root(Node([folder(b"a", (0, 1))]), Node([file(b"x", 10, [1, 0, 10])]), segments=(SEGMENT,)), bodies={SEGMENT.id: BODY}
    )
    bring(share, tmp_path / "out", Options(), Heard())
    assert list(outside.iterdir()) == []
    assert (tmp_path / "out" / "a" / "x").read_bytes() == b"0123456789"


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    header = compression.HEADER.pack(compression.ZSTD, 1 << 30, 5)
    key = KEY.part_key(b"m" * 16, 0)
    from safehold.repo.shares.keys import part_aad

    top = sealing.aead_seal(key, sealing.ZERO_NONCE, header + b"xxxxx", part_aad(KEY.share, b"m" * 16, 0))
    data = manifest.HEADER.pack(manifest.MAGIC, KEY.share, b"m" * 16, KEY.commitment, len(top)) + top
    with pytest.raises(FormatError):
        manifest.Manifest(KEY, lambda offset, length: data[offset : offset + length])
    huge = manifest.HEADER.pack(manifest.MAGIC, KEY.share, b"m" * 16, KEY.commitment, 1 << 31) + top
    with pytest.raises(FormatError):
        manifest.Manifest(KEY, lambda offset, length: huge[offset : offset + length])


def _cut(data: bytes) -> bytes:
    return data[:-1]


def _flip(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("change", [_cut, *map(_flip, (0, 9, 30, 45, 72, 76, 90, -30)), lambda data: data[:40], lambda data: b""])
def test_an_altered_manifest_opens_nothing(change: Callable[[bytes], bytes]) -> None:
    data = change(Sack(root(Node([file(b"a")]))).data)
    with pytest.raises((DamageError, WrongKey)):
        manifest.Manifest(KEY, lambda offset, length: data[offset : offset + length])


def test_altered_and_exchanged_parts_and_segments_are_found_out(tmp_path: Path) -> None:
    parts = (Part([], [Node([file(b"x")])]), Part([], [Node([file(b"y")])]))
    sack = Sack(root(Node([folder(b"a", (1, 0)), folder(b"b", (2, 0))])), parts)
    first, second = OpenShare(KEY, sack).root.parts
    assert first.length == second.length
    begin = len(sack.data) - first.length - second.length
    sack.data = sack.data[:begin] + sack.data[begin + first.length :] + sack.data[begin : begin + first.length]
    with pytest.raises(DamageError):
        list(listing(OpenShare(KEY, sack)))
    other, other_body = sealed(b"9876543210", b"o" * 16)
    made = root(Node([file(b"f", 10, [1, 0, 10]), file(b"g", 10, [2, 0, 10])]), segments=(SEGMENT, other))
    swapped = opened(made, bodies={SEGMENT.id: other_body, other.id: other_body})
    heard = Heard()
    done = bring(swapped, tmp_path / "out", Options(), heard)
    assert done.damaged == 1 and not (tmp_path / "out" / "f").exists()
    assert (tmp_path / "out" / "g").read_bytes() == b"9876543210"


def test_what_comes_is_the_friends_own(tmp_path: Path) -> None:
    made = root(
        Node([folder(b"d", (0, 1)), Entry(b"l", SYMLINK, 0o777, 5, target=b"/etc/passwd"), file(b"z", 1 << 20, [0, 0, 1 << 20])]),
        Node([Entry(b"f", FILE, 0o600, 7_000_000_123, 10, [1, 0, 10])]),
        segments=(SEGMENT,),
    )
    bring(opened(made, bodies={SEGMENT.id: BODY}), tmp_path / "out", Options(), Heard())
    found = (tmp_path / "out" / "d" / "f").stat()
    assert (found.st_mtime_ns, found.st_mode & 0o777, found.st_uid) == (7_000_000_123, 0o600, os.getuid())
    assert os.readlink(tmp_path / "out" / "l") == "/etc/passwd"
    assert (tmp_path / "out" / "z").read_bytes() == bytes(1 << 20)


def test_find() -> None:
    share = opened(root(Node([folder(b"d", (0, 1))]), Node([file(b"f")])))
    assert find(share, b"") is None
    part, entry = find(share, b"/d/f") or (9, None)
    assert (part, entry.name if entry else b"") == (0, b"f")
    for path in (b"d/g", b"d/f/g", b"e"):
        with pytest.raises(SafeholdError):
            find(share, path)


@pytest.mark.parametrize(
    "lock",
    [Lock(b"s" * 16, False), Lock(b"short", True), Lock(b"s" * 16, True, (1024, 3, 1)), Lock(b"s" * 16, True, (1 << 24, 3, 1))],
)
def test_a_lowered_or_absurd_lock_is_refused(lock: Lock) -> None:
    with pytest.raises((WrongKey, FormatError)):
        share_key(bytes(16), lock, ShareSecret(bytes(16)), "password")


def test_a_lock_asks_for_what_it_needs() -> None:
    with pytest.raises(WrongKey):
        share_key(bytes(16), Lock(b"s" * 16, True), None, "")
    with pytest.raises(UsageError):
        share_key(bytes(16), Lock(b"s" * 16, True, (65536, 3, 1)), ShareSecret(bytes(16)), "")


@pytest.mark.parametrize(
    "text",
    ["https://h/s/00#1AAAA", "ftp://h/s/" + "0" * 32 + "#1" + "A" * 22, "https://h/s/" + "0" * 32, "https://h/s/" + "0" * 32 + "#2" + "A" * 22,
     "https://h/s/" + "0" * 32 + "#1" + "A" * 21 + "B", "https://user@h/s/" + "0" * 32 + "#1" + "A" * 22],
)  # fmt: skip
def test_links_that_are_none(text: str) -> None:
    with pytest.raises(WrongKey):
        Link.parse(text)


def test_words_find_slips() -> None:
    secret = ShareSecret(bytes(range(16)))
    words = secret.words()
    assert ShareSecret.from_words("1. " + " , ".join(word[:4].upper() for word in words)) == secret
    for wrong in (words[:-1], [*words, words[0]], [words[1], words[0], *words[2:]], ["nonsense", *words[1:]]):
        with pytest.raises(WrongKey):
            ShareSecret.from_words(" ".join(wrong))


def test_key_files_of_others_are_refused() -> None:
    with pytest.raises(WrongKey):
        parse_key_file("safehold-share:" + "1" * 32 + "#1" + "A" * 22, bytes(16))
    with pytest.raises(WrongKey):
        parse_key_file("hello", bytes(16))


@pytest.mark.parametrize("data", [b"", MAGIC, b"x" * 100, MAGIC + TAIL.pack(1 << 30, END), MAGIC + b"\x80" + TAIL.pack(1, END)])
def test_files_that_are_no_shares(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(FormatError):
        ShareFile(tmp_path / "f")
