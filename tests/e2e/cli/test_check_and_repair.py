"""Checking and repairing through the program."""

from __future__ import annotations

import random
from pathlib import Path

from cli_program import Program


def packs(safehold: Program, kind: int) -> list[Path]:
    found = [path for path in safehold.repository.glob("packs/*/*") if path.read_bytes()[8] == kind]
    return sorted(found, key=lambda path: path.stat().st_mtime_ns)


def damage(path: Path) -> bytes:
    good = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(good[:200] + bytes([good[200] ^ 1]) + good[201:])
    return good


def test_a_sound_repository(safehold: Program, source: Path) -> None:
    safehold.do("backup", source)
    assert safehold.do("check").out.startswith("No damage was found in 1 snapshot, ")
    value = safehold.do("check", "--read-data", "--json").value
    assert value["event"] == "check" and value["clean"] is True and value["findings"] == [] and value["unchecked"] == []
    assert value["packs"] == value["packs_read"] and value["packs"]
    assert safehold.do("check", "--json").value["packs_read"] == 0
    assert safehold.do("check", "--read-data=5%", "--json").value["packs_read"] == 1, "rounded up"
    assert safehold.do("repair").out.endswith("There is nothing to repair.\n")
    assert safehold.do("repair", "--dry-run", "--json").value["clean"] is True


def test_damage_is_found_and_repaired(safehold: Program, source: Path) -> None:
    (source / "large").write_bytes(random.Random(1).randbytes(300_000))
    snapshot = str(safehold.do("backup", source, "--json").value["snapshot"])
    (pack,) = packs(safehold, 1)
    damage(pack)
    assert safehold("check").status == 0, "file data is not read"
    found = safehold("check", "--read-data")
    assert found.status == 4 and "damage: pack-damaged: packs/" in found.out and f"  lost: {snapshot[:8]}:{source}/" in found.out
    ran = safehold("check", "--read-data", "--json")
    (finding,) = ran.value["findings"]  # type: ignore[misc]
    assert ran.status == 4 and not ran.value["clean"] and finding["code"] == "pack-damaged"
    assert finding["file_count"] == len(finding["files"]) > 0 and finding["files"][0]["snapshot"] == snapshot
    dry = safehold.do("repair", "--dry-run", "--json").value
    assert dry["dry_run"] is True and dry["twins"] == [snapshot] and dry["hurt"] == [snapshot] and pack.exists()
    assert "Would have saved" in safehold.do("repair", "--dry-run").out
    done = safehold.do("repair", "--json").value
    (twin,) = done["twins"]  # type: ignore[misc]
    assert twin != snapshot and not pack.exists() and done["dry_run"] is False
    assert any(path.is_file() for path in safehold.repository.glob("quarantine/**/*"))
    assert safehold("check", "--read-data").status == 4, "the first snapshot is still hurt"
    again = str(safehold.do("backup", source, "--json").value["snapshot"])
    assert safehold.do("check", "--read-data", "--json").value["clean"] is True, "what was lost is stored again"
    assert safehold.do("cat", f"{again}:{source}/large").raw == (source / "large").read_bytes()
    assert safehold.do("repair").out.endswith("There is nothing to repair.\n")


def test_wrong_use_and_wrong_keys(safehold: Program, source: Path, tmp_path: Path) -> None:
    safehold.do("backup", source)
    for words in (("check", "--read-data=all"), ("check", "--read-data=101%"), ("check", "more"), ("repair", "more")):
        assert safehold(*words).status == 2, words
    safehold.do("key", "writer", tmp_path / "laptop.key")
    safehold.set(SAFEHOLD_KEY_FILE=str(tmp_path / "laptop.key"))
    assert safehold("repair").status == 13
    ran = safehold.do("check", "--read-data", "--json").value
    assert ran["clean"] is True and ran["unchecked"], "what a writer cannot look at is said"
    assert "not checked" in safehold.do("check").err


def test_a_dry_run_is_not_remembered(safehold: Program, source: Path) -> None:
    safehold.do("backup", source)
    safehold.do("backup", source, "--dry-run")
    safehold.do("backup", "-", "--dry-run", stdin=b"x")
    assert safehold.do("check", "--json").value["clean"] is True
    assert "gone" not in safehold.do("snapshots").err
    safehold.do("backup", source)
    assert safehold.do("check", "--json").value["clean"] is True
