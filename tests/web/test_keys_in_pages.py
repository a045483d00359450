"""What the pages make of keys: recovery keys that the program opens, retirements that it heeds, QR codes, and the keys of passwords."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path

import msgspec
import pytest
import segno
from web_reader import HERE

from safehold.codec.keyfile import KeyFile
from safehold.codec.passphrase import FLOOR, Passphrase
from safehold.codec.recovery import RecoveryKey
from safehold.core.clock import ManualClock
from safehold.core.errors import WrongKey
from safehold.repo import repository
from safehold.repo.keys.admin import add_slot, list_slots
from safehold.server.audit import line_hash
from safehold.storage.local import LocalStore

LABEL = "<img src=x onerror=alert(1)> \u5bc6\u94a5"
LOGIN = "bbcb11d9d62c1ea73eb0100bc88c7fb7675d0728417ae324525596460cbf6dbf"
WRAP = "50e90c63f9789969adba6fba9c639c0e117532b8d1e9ea08e4cdffe2c5f6d24c"
VALUES = [
    0,
    127,
    128,
    255,
    256,
    65535,
    65536,
    2**32 - 1,
    2**32,
    2**53 + 1,
    2**64 - 1,
    None,
    True,
    False,
    "",
    "a" * 31,
    "\u00e4" * 16,
]
VALUES += [
    "b" * 255,
    "c" * 256,
    b"",
    b"\0" * 255,
    b"\1" * 256,
    b"\2" * 65536,
    [],
    list(range(15)),
    list(range(16)),
    {1: b"x" * 32, 300: b""},
]


def told(value: object) -> object:
    """As JSON can hold it."""
    if isinstance(value, bytes):
        return {"bytes": list(value)}
    if isinstance(value, dict):
        return {"map": [[key, told(each)] for key, each in value.items()]}
    return {"big": str(value)} if isinstance(value, int) and value > 2**53 else value


def rows(text: str, mask: int) -> list[str]:
    made = segno.make(text, error="m", micro=False, boost_error=False, mask=mask)
    return ["".join(str(int(dark)) for dark in row) for row in made.matrix]


def comparable(text: str) -> str:
    """Shorter by a letter where its bits just fill a byte: segno then puts a byte of zeros where the standard has none."""
    return text[:-1] if (17 + 11 * (len(text) // 2) + 6 * (len(text) % 2)) % 8 == 0 else text


def audit_log() -> str:
    """Four lines of the log, newest first, as the server gives them."""
    texts = ['say "\\"', "tab\t, \x01 and \x7f", "\u5f20\u4e09 \U0001f600 \u2028", '{"time_ns":12, "time_ns": 3}']
    before, lines = "0" * 64, []
    for number, text in enumerate(texts, 1):
        line: dict[str, object] = {
            "number": number,
            "time_ns": 1795000000123456789 + number,
            "actor": "p:1",
            "account": "",
            "repository": "",
        }
        line |= {
            "address": "::1",
            "what": "login",
            "detail": msgspec.json.encode({"name": text}, order="sorted").decode() if number % 2 else text,
        }
        before = line_hash(before, line)
        lines.insert(0, {**line, "hash": before})
    return msgspec.json.encode({"lines": lines, "next": None}).decode()


def test_what_pages_make_is_what_the_program_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safehold.codec.passphrase.STANDARD", FLOOR)
    clock = ManualClock()
    store = LocalStore(tmp_path / "store", create=True)
    keyring = repository.create(store, Passphrase("first"), tmp_path / "cache", clock=clock).keyring
    bob = KeyFile.new(keyring.repository_id, os.urandom)
    gone = add_slot(store, keyring, "reader", bob, "Bob", clock=clock)
    words = [" ".join(RecoveryKey.new(os.urandom).words()).upper() for _ in range(8)]
    texts = [(comparable(text), mask) for mask, text in enumerate(words)]
    texts += [(comparable(("ABANDON " * 28)[:length]), 5) for length in (3, 20, 38, 39, 61, 90, 122, 154, 178, 221)]
    order = {
        "folder": str(tmp_path / "store"),
        "passphrase": "first",
        "label": LABEL,
        "remove": gone.hex(),
        "values": [told(value) for value in VALUES],
        "texts": texts,
        "log": audit_log(),
        "password": {
            "text": "A\u0308pfel & Birnen \u82f9\u679c",
            "salt": base64.b64encode(bytes(range(16))).decode(),
            "memory": 65536,
            "passes": 3,
            "lanes": 1,
        },
    }
    command = ["node", "--no-warnings", str(HERE / "keys.mjs")]
    done = subprocess.run(command, input=json.dumps(order), capture_output=True, text=True, check=False, timeout=120)
    assert (done.stderr, done.returncode) == ("", 0), done.stderr
    said = json.loads(done.stdout)
    assert said["packed"] == [msgspec.msgpack.encode(value).hex() for value in VALUES]
    assert said["codes"] == [rows(text, mask) for text, mask in texts]
    assert said["password"] == {"login": LOGIN, "wrap": WRAP}
    assert said["log"] == [{"checked": 4, "wrong": None}, {"checked": 2, "wrong": None}, *([{"checked": 1, "wrong": 2}] * 4)]
    assert said["changed"] == "keys-changed" and said["last"] == "last-owner"
    assert [(each["label"], each["method"], each["retired"]) for each in said["slots"]] == [
        ("owner", "passphrase", None),
        (LABEL, "recovery", None),
        ("Bob", "keyfile", "1795000001000000000"),
    ]
    opened = repository.open_repository(store, RecoveryKey.parse(" ".join(said["words"])), tmp_path / "other", clock=clock)
    slots = {each.label: each for each in list_slots(store, opened.keyring)}
    assert slots[LABEL].role == "owner" and slots[LABEL].created_ns == 1795000000123456789
    assert slots["Bob"].retired_ns == 1795000001000000000 and slots["owner"].retired_ns == 1795000002000000000
    add_slot(store, opened.keyring, "owner", Passphrase("third"), "new", clock=clock)  # its admin key is the true one
    repository.open_repository(store, Passphrase("third"), tmp_path / "third", clock=clock)
    for removed in (Passphrase("first"), bob):
        with pytest.raises(WrongKey):
            repository.open_repository(store, removed, tmp_path / "again", clock=clock)
    store.close()
