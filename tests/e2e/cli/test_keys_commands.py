"""Keys through the program: who may do what, and what is left behind when it fails."""

from __future__ import annotations

import html
import re
import stat
from pathlib import Path

import pytest
from cli_program import Program

from safehold.codec import passphrase


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passphrase, "STANDARD", passphrase.FLOOR)


def test_a_writer_adds_and_reads_nothing(safehold: Program, source: Path, tmp_path: Path) -> None:
    file = tmp_path / "laptop.key"
    made = safehold.do("key", "writer", file, "--json").value
    assert (made["role"], made["label"]) == ("writer", "laptop")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    safehold.do("--key-file", file, "backup", source)
    for words in (("snapshots",), ("ls", "latest"), ("restore", "latest", "-t", "x"), ("stats",), ("tag", "add", "latest", "x"),
                  ("key", "add", "--new-key-file", "y"), ("key", "rotate"), ("key", "recovery")):  # fmt: skip
        ran = safehold(*words, "--key-file", file)
        assert ran.status == 13, (words, ran.err)
    assert not (tmp_path / "y").exists()
    assert safehold.do("find", "one.txt").out


def test_add_list_remove_and_rotate(safehold: Program, tmp_path: Path) -> None:
    safehold.set(SAFEHOLD_NEW_PASSWORD="correct horse")
    safehold.do("key", "add", "--label", "Ann", "--role", "reader")
    keys = safehold.do("key", "list", "--json").value["keys"]
    assert [(k["label"], k["role"], k["method"], k["own"]) for k in keys] == [  # type: ignore[attr-defined, index]
        ("owner", "owner", "keyfile", True),
        ("Ann", "reader", "passphrase", False),
    ]
    safehold.set(SAFEHOLD_KEY_FILE=None, SAFEHOLD_PASSWORD="correct horse")
    assert safehold.do("snapshots").out == "0 snapshots\n"
    assert safehold("key", "remove", "owner").status == 13
    safehold.set(SAFEHOLD_KEY_FILE=str(safehold.key), SAFEHOLD_PASSWORD=None)
    removed = safehold.do("key", "remove", "Ann")
    assert "key rotate" in removed.err
    assert "number 2" in safehold.do("key", "rotate").out
    assert "removed" in safehold.do("key", "list", "--all").out
    safehold.set(SAFEHOLD_KEY_FILE=None, SAFEHOLD_PASSWORD="correct horse")
    assert safehold("snapshots").status == 12


def test_the_last_owner_stays(safehold: Program) -> None:
    ran = safehold("key", "remove", "owner")
    assert ran.status == 13 and "last owner" in ran.err
    ran = safehold("key", "remove", "Bob")
    assert ran.status == 2 and "key list" in ran.err


def test_a_recovery_kit_is_a_page_for_its_owner_only(safehold: Program, source: Path, tmp_path: Path) -> None:
    safehold.do("backup", source)
    kit = tmp_path / "kit.html"
    label = "<img src=x onerror=alert(1)>&"
    told = safehold.do("key", "recovery", "--kit", kit, "--label", label, "--json").value
    assert "words" not in told and told["kit"] == str(kit)
    page = kit.read_text()
    assert stat.S_IMODE(kit.stat().st_mode) == 0o600
    assert "<img" not in page and html.escape(label) in page and "<script" not in page and "<svg" in page
    assert str(safehold.repository) in page and "default-src 'none'" in page
    words = re.findall(r"<li>([a-z]+)</li>", page)
    assert len(words) == 24
    assert safehold.do("--recovery", "cat", f"latest:{source}/letters/one.txt", stdin=" ".join(words).encode()).raw == b"one\n"
    keys = len(safehold.do("key", "list", "--json").value["keys"])  # type: ignore[arg-type]
    again = safehold("key", "recovery", "--kit", kit)
    assert again.status == 2 and "already is a file" in again.err and kit.read_text() == page
    assert safehold("key", "recovery", "--kit", tmp_path / "none" / "kit.html").status == 1
    assert len(safehold.do("key", "list", "--json").value["keys"]) == keys  # type: ignore[arg-type]


def test_recovery_words_open_the_repository(safehold: Program, source: Path) -> None:
    shown = safehold.do("key", "recovery")
    assert "█" in shown.out and "not shown again" in shown.out
    words = " ".join(safehold.do("key", "recovery", "--json").value["words"])  # type: ignore[arg-type]
    safehold.do("backup", source)
    safehold.set(SAFEHOLD_KEY_FILE=None)
    assert safehold.do("--recovery", "cat", f"latest:{source}/letters/one.txt", stdin=words.encode()).raw == b"one\n"
    assert safehold("--recovery", "snapshots", stdin=b"wrong words").status == 12


def test_a_key_file_never_replaces_a_file(safehold: Program, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("mine")
    for words in (("key", "writer", kept), ("key", "add", "--new-key-file", kept), ("init", tmp_path / "r2", "--key-file", kept)):
        ran = safehold(*words) if words[0] == "key" else _init(safehold, *words)
        assert ran.status == 2 and "already is a file" in ran.err
    assert kept.read_text() == "mine"


def _init(safehold: Program, *words: object) -> object:
    safehold.set(SAFEHOLD_REPO=None)
    return safehold(*words)
