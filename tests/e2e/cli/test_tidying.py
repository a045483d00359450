"""Forgetting, taking back, pruning and copying through the program."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_program import Program

from safehold.codec import passphrase
from safehold.core.local_time import LocalZone


def ids(safehold: Program, *words: str) -> list[str]:
    shown = safehold.do("snapshots", *words, "--json").value["snapshots"]
    return [item["id"] for item in shown]  # type: ignore[attr-defined, index]


@pytest.fixture
def three(safehold: Program, source: Path) -> list[str]:
    made = []
    for number in range(3):
        (source / "changing").write_bytes(b"%d" % number * 100_000)
        made.append(str(safehold.do("backup", source, "--tag", f"t{number}", "--json").value["snapshot"]))
    return made


def test_forget_undelete_and_prune(safehold: Program, three: list[str], source: Path) -> None:
    dry = safehold.do("forget", three[0][:8], "latest:t1", "--dry-run", "--json").value
    assert dry["forgotten"] == three[:2] and ids(safehold) == three
    safehold.do("forget", three[0][:8], "latest:t1")
    assert ids(safehold) == three[2:] and ids(safehold, "--trash") == three[:2]
    assert safehold("undelete", "ffff").status == 1
    assert safehold.do("undelete", three[1][:6]).out == f"Snapshot {three[1][:8]} is back.\n"
    assert ids(safehold) == three[1:]
    assert safehold.do("prune", "--dry-run", "--empty-trash", "--json").value["snapshots"] == [three[0]]
    safehold.do("prune")
    assert ids(safehold, "--trash") == [three[0]], "its time is not over"
    pruned = safehold.do("prune", "--empty-trash", "--confirm-large", "--json").value
    assert pruned["snapshots"] == [three[0]] and ids(safehold, "--trash") == []
    assert safehold.do("cat", f"latest:{source}/changing").raw == b"2" * 100_000
    assert safehold("ls", three[0]).status == 1


def test_policies(safehold: Program, three: list[str]) -> None:
    shown = safehold.do("forget", "--keep-last", "1", "--keep-tag", "t0", "--dry-run")
    assert shown.out.count("\nkeep ") == 2 and shown.out.count("\nforget ") == 1 and "tag t0" in shown.out
    assert ids(safehold) == three
    assert safehold.do("forget", "--keep-daily", "1", "--tag", "t0", "--json").value["forgotten"] == [three[0]]
    safehold.do("forget", "--keep-within", "1h", "--prune")
    assert ids(safehold) == three[1:]
    for words in (
        ("forget",), ("forget", "latest", "--keep-last", "1"), ("forget", "--keep-last", "-5"), ("forget", "--keep-last", "x"),
        ("forget", "--keep-within", "soon"), ("prune", "--max-unused", "lots"), ("prune", "--trash-days", "-1"),
    ):  # fmt: skip
        assert safehold(*words).status == 2, words


def test_copies_into_another_repository(
    safehold: Program, three: list[str], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passphrase, "STANDARD", passphrase.FLOOR)
    (tmp_path / "secret").write_text("other")
    safehold.set(SAFEHOLD_REPO=None, SAFEHOLD_KEY_FILE=None)
    safehold.do("init", tmp_path / "second", "--password-file", "secret")
    safehold.set(SAFEHOLD_REPO=str(safehold.repository), SAFEHOLD_KEY_FILE=str(safehold.key))
    first = safehold.do("copy", "--to", tmp_path / "second", "latest", "--to-password-file", "secret", "--json").value
    assert list(first["copied"]) == [three[2]]  # type: ignore[call-overload]
    safehold.set(SAFEHOLD_TO_PASSWORD="other")
    again = safehold.do("copy", "--to", tmp_path / "second", "--json").value
    assert sorted(again["copied"]) == sorted(three[:2]) and again["skipped"] == [three[2]]  # type: ignore[call-overload]
    safehold.set(SAFEHOLD_KEY_FILE=None, SAFEHOLD_PASSWORD="other", SAFEHOLD_REPO=str(tmp_path / "second"))
    assert safehold.do("cat", f"latest:t0:{source}/changing").raw == b"0" * 100_000
    assert safehold("copy", "--to", tmp_path / "none").status == 10
    assert safehold("copy", "--to", tmp_path / "second").status == 2


def test_the_local_zone_knows_summer_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import time
    from datetime import UTC, datetime, timedelta

    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        for month, hours in ((1, 1), (7, 2)):
            local = datetime(2026, month, 1, 23, 30, tzinfo=UTC).astimezone(LocalZone())
            assert (local.day, local.hour) == (2, 23 + hours - 24) and local.utcoffset() == timedelta(hours=hours)
    finally:
        monkeypatch.undo()
        time.tzset()
