"""Files that were sent in: what the server could do to them, and what a sender could."""

from __future__ import annotations

import io
import os
from collections.abc import Callable

import msgspec
import pytest

from safehold.codec import sealing
from safehold.codec.share_secret import RequestLink
from safehold.core.errors import DamageError, FormatError, WrongKey
from safehold.repo.shares import sent

REQUEST = bytes(range(16))
PRIVATE = b"p" * 32
PUBLIC = sealing.exchange_public(PRIVATE)


def sealed(data: bytes, name: bytes = b"a.txt") -> bytes:
    header = sent.SentHeader(name, len(data), 5, "Bert")
    made = b"".join(sent.seal(PUBLIC, REQUEST, header, io.BytesIO(data), os.urandom))
    assert len(made) == sent.sealed_size(header)
    return made


def opened(data: bytes, private: bytes = PRIVATE, request: bytes = REQUEST) -> sent.SentFile:
    return sent.SentFile(private, request, lambda at, n: data[at : at + n], len(data))


@pytest.mark.parametrize("size", [0, 1, sent.BLOCK - 1, sent.BLOCK, sent.BLOCK + 1, 2 * sent.BLOCK])
def test_it_comes_back(size: int) -> None:
    data = os.urandom(size)
    file = opened(sealed(data))
    assert (file.header.name, file.header.sender, file.size) == (b"a.txt", "Bert", size)
    assert b"".join(file.read(*piece) for piece in file.pieces()) == data
    assert file.read(max(0, size - 3), 10) == data[-3:]
    file.check_empty()


def _swap(data: bytes) -> bytes:
    begin = len(data) - 2 * (sent.BLOCK + 16)
    return data[:begin] + data[begin + sent.BLOCK + 16 :] + data[begin : begin + sent.BLOCK + 16]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data[: -(sent.BLOCK + 16)],
        lambda data: data + data[-(sent.BLOCK + 16) :],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: b"X" + data[1:],
        lambda data: data[:50] + bytes([data[50] ^ 1]) + data[51:],
        lambda data: data[:20],
        _swap,
    ],
)
def test_what_was_altered_or_cut_off_is_refused(change: Callable[[bytes], bytes]) -> None:
    data = change(sealed(os.urandom(2 * sent.BLOCK)))
    with pytest.raises(DamageError):
        file = opened(data)
        for piece in file.pieces():
            file.read(*piece)


def test_only_who_asked_opens_it_and_as_this_request() -> None:
    data = sealed(b"hello")
    with pytest.raises(DamageError):
        opened(data, b"q" * 32)
    with pytest.raises(FormatError):
        opened(data, request=b"r" * 16)


def test_names_that_are_too_long_are_refused() -> None:
    with pytest.raises(FormatError):
        opened(sealed(b"x", b"n" * 300))


def test_a_file_that_changes_while_it_is_sent_is_not_sent() -> None:
    for actual in (b"123", b"1234567"):
        with pytest.raises(DamageError):
            list(sent.seal(PUBLIC, REQUEST, sent.SentHeader(b"a", 5, 0), io.BytesIO(actual), os.urandom))


def test_a_link_fits_one_key() -> None:
    link = RequestLink.parse(RequestLink.to("https", "h:1", REQUEST, PUBLIC).text())
    assert link.fits(PUBLIC) and not link.fits(sealing.exchange_public(b"q" * 32))
    assert (link.host, link.request) == ("h:1", REQUEST)
    for wrong in ("https://h/r/00#1x", link.text()[:-1], link.text().replace("/r/", "/s/")):
        with pytest.raises(WrongKey):
            RequestLink.parse(wrong)


def test_the_header_is_an_array() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(sent.SentHeader(b"a", 1, 2, "c"))) == [b"a", 1, 2, "c"]
