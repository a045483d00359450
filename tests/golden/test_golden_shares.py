"""Shares that were made once open for ever, by every step that is written down."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from make_shares import describe

from safehold.codec.share_secret import Link, ShareSecret
from safehold.repo.shares.files import ShareFile
from safehold.repo.shares.keys import Lock, ShareKey, share_key
from safehold.repo.shares.manifest import Segment
from safehold.repo.shares.opening import OpenShare

HERE = Path(__file__).parent / "shares"
ANSWERS: dict[str, dict[str, Any]] = json.loads((HERE / "answers.json").read_text("utf-8"))


def data(value: str) -> bytes:
    return base64.b64decode(value)


class Served:
    """What a server hands out, from files."""

    def __init__(self, name: str) -> None:
        self._name = name

    def manifest(self, offset: int, length: int) -> bytes:
        return (HERE / f"{self._name}.manifest").read_bytes()[offset : offset + length]

    def segment(self, segment: Segment) -> bytes:
        if not segment.object:
            return (HERE / f"{self._name}.{segment.id.hex()}.segment").read_bytes()
        return (HERE / f"{self._name}.{segment.object}.data").read_bytes()[segment.offset :][: segment.length]


def key_of(answer: dict[str, Any]) -> ShareKey:
    secret = ShareSecret(data(answer["secret"])) if answer["secret"] else None
    lock = Lock(data(answer["salt"]), answer["needs_secret"], answer["cost"] and tuple(answer["cost"]))
    return share_key(bytes.fromhex(answer["share"]), lock, secret, answer["password"])


@pytest.mark.parametrize("name", ANSWERS)
def test_keys(name: str) -> None:
    answer = ANSWERS[name]
    key = key_of(answer)
    made = (key.key, key.auth, key.auth_hash, key.commitment)
    assert made == tuple(data(answer[each]) for each in ("k", "auth", "auth_hash", "commitment"))
    if answer["words"]:
        assert ShareSecret.from_words(" ".join(answer["words"])).value == data(answer["secret"])
    if answer["link"]:
        link = Link.parse(answer["link"])
        assert (link.share.hex(), link.secret.value) == (answer["share"], data(answer["secret"]))


@pytest.mark.parametrize("name", ["plain", "password"])
def test_served(name: str) -> None:
    answer = ANSWERS[name]
    key = key_of(answer)
    assert [data(each) for each in answer["part_keys"]] == [key.part_key(data(answer["manifest_id"]), 0)]
    opened = OpenShare(key, Served(name))
    assert describe(opened) == answer["entries"]
    assert (opened.root.name, opened.root.repository.hex()) == (answer["name"], answer["repository"])


@pytest.mark.parametrize("name", ["words-file", "password-file"])
def test_files(name: str) -> None:
    file = ShareFile(HERE / f"{name}.safehold-share")
    try:
        assert describe(OpenShare(key_of(ANSWERS[name]), file)) == ANSWERS["plain"]["entries"]
    finally:
        file.close()


def test_nothing_has_changed() -> None:
    lines = (HERE / "SHA256SUMS").read_text().splitlines()
    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in HERE.iterdir() if p.name != "SHA256SUMS"}
    assert {line[66:]: line[:64] for line in lines} == found
