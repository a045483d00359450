"""A repository's keys made by the first program of format 1, never edited: every later program opens them.

``keys/format-1.json`` also holds each secret in hexadecimal, for other implementations (a browser's) to check against.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from keys_fixtures import KeyStore

from safehold.codec.keyfile import KeyFile
from safehold.codec.passphrase import Passphrase
from safehold.codec.recovery import RecoveryKey
from safehold.core.errors import WrongKey
from safehold.core.events import Event
from safehold.repo.keys.opening import open_keyring
from safehold.repo.keys.unlock import Credential

GOLDEN = json.loads(Path(__file__).with_name("keys").joinpath("format-1.json").read_text("utf-8"))
CREDENTIALS: dict[str, tuple[Credential, str, str]] = {
    "passphrase": (Passphrase(GOLDEN["passphrase"]), "owner", "owner"),
    "words": (RecoveryKey.parse(GOLDEN["recovery_words"]), "owner", "paper"),
    "reader": (KeyFile.parse(GOLDEN["reader_key_file"]), "reader", "mum"),
    "writer": (KeyFile.parse(GOLDEN["writer_key_file"]), "writer", "laptop"),
}


def raw(name: str) -> bytes:
    return bytes.fromhex(GOLDEN[name])


def store() -> KeyStore:
    made = KeyStore()
    made.objects = {key: bytes.fromhex(data) for key, data in GOLDEN["objects"].items()}
    return made


@pytest.mark.parametrize("name", CREDENTIALS)
def test_golden_keys_open(name: str) -> None:
    credential, role, label = CREDENTIALS[name]
    warnings: list[Event] = []
    keyring = open_keyring(store(), raw("repository"), credential, report=warnings.append)
    assert warnings == []
    assert (keyring.role, keyring.label) == (role, label)
    assert keyring.id_key == raw("id_key")
    assert keyring.index_key == raw("index_key")
    assert keyring.admin_public == raw("admin_public")
    assert keyring.epoch_public == raw("epoch_public")
    privates = {} if role == "writer" else {int(n): bytes.fromhex(key) for n, key in GOLDEN["epoch_privates"].items()}
    assert keyring.epoch_privates == privates
    if role == "owner":
        assert keyring.admin_private() == raw("admin_private")
    signed = {field: bytes.fromhex(GOLDEN["signature"][field]) for field in ("slot", "message", "signature")}
    assert keyring.verify(signed["slot"], "snapshot", signed["message"], signed["signature"]).label == "owner"
    assert sorted(device.label for device in keyring.devices.values()) == [
        "laptop",
        "mum",
        "old laptop",
        "owner",
        "paper",
    ]


def test_the_golden_session_key_unwraps() -> None:
    session = GOLDEN["session"]
    reader = open_keyring(store(), raw("repository"), CREDENTIALS["reader"][0])
    key = reader.unwrap_session_key(session["epoch"], bytes.fromhex(session["id"]), bytes.fromhex(session["wrapped"]))
    assert key.hex() == session["key"]


def test_the_golden_retired_slot_is_refused() -> None:
    with pytest.raises(WrongKey, match="old laptop"):
        open_keyring(store(), raw("repository"), KeyFile.parse(GOLDEN["retired_key_file"]))
