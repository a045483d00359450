"""Backing up, and what can be seen of it afterwards."""

from __future__ import annotations

import os
import re
import shutil
import stat
from pathlib import Path

from cli_program import Program


def test_first_and_second_backup_tell_what_they_did(safehold: Program, source: Path) -> None:
    first = safehold.do("backup", source)
    assert re.search(r"Files: 2 new, 0 changed, 0 unchanged\n", first.out)
    assert re.search(r"Read: 3\.91 KiB of 3\.91 KiB in 2 files\n", first.out)
    assert re.search(r"Added: .* stored as .*\nTime: .* s\nSnapshot [0-9a-f]{8} made\n", first.out)
    assert first.err == ""
    (source / "new").write_bytes(b"new")
    (source / "letters" / "one.txt").write_bytes(b"other")
    second = safehold.do("backup", source, "--json").value
    assert [second[f"files_{what}"] for what in ("new", "changed", "unchanged")] == [1, 1, 1]
    assert re.fullmatch(r"[0-9a-f]{64}", str(second["snapshot"]))


def test_a_new_cache_compares_with_the_newest_snapshot(safehold: Program, source: Path, tmp_path: Path) -> None:
    os.utime(source / "letters" / "one.txt", (1, 1))
    first = safehold.do("backup", source, "--json").value
    shutil.rmtree(tmp_path / "cache")
    again = safehold.do("backup", source, "--json").value
    # What changed in the last two seconds may have changed unseen, so it may be read once more; nothing is stored twice.
    assert again["bytes_stored"] == 0 or int(str(again["bytes_added"])) < int(str(first["bytes_added"]))
    shown = safehold.do("snapshots", "--json").value["snapshots"]
    assert shown[1]["parent"] == first["snapshot"]  # type: ignore[index]
    shutil.rmtree(tmp_path / "cache")
    safehold.do("backup", source, "--parent", str(first["snapshot"])[:8])
    shown = safehold.do("snapshots", "--json").value["snapshots"]
    assert shown[2]["parent"] == first["snapshot"]  # type: ignore[index]
    assert safehold("backup", source, "--parent", "00000000").status == 1


def test_dry_run_counts_and_writes_nothing(safehold: Program, source: Path) -> None:
    def stored() -> dict[str, int]:
        return {str(p): p.stat().st_mtime_ns for p in safehold.repository.rglob("*") if p.is_file()}

    before = stored()
    dry = safehold.do("backup", source, "--dry-run", "--json").value
    assert stored() == before
    assert dry["snapshot"] == "" and dry["dry_run"] is True and dry["files_new"] == 2
    real = safehold.do("backup", source, "--json").value
    for count in ("files_new", "bytes_read", "bytes_added"):
        assert dry[count] == real[count]
    # The times of a folder above may have changed, and compress to a byte more or less.
    assert abs(int(str(dry["bytes_stored"])) - int(str(real["bytes_stored"]))) < 16
    assert "nothing was written" in safehold.do("backup", source, "--dry-run").out


def test_excludes_from_options_and_files(safehold: Program, source: Path, tmp_path: Path) -> None:
    (source / "a.tmp").touch()
    (source / "cache").mkdir()
    (source / "cache" / "CACHEDIR.TAG").write_bytes(b"Signature: 8a477f597d28d172789f06886806bc55\n")
    (source / "cache" / "rubbish").touch()
    patterns = tmp_path / "patterns"
    patterns.write_text("# a comment\nold/\n")
    safehold.do("backup", source, "--exclude", "*.tmp", "--exclude-file", patterns, "--exclude-caches")
    names = [Path(line).name for line in safehold.do("ls", "-R", f"latest:{source}").out.splitlines()]
    assert names == ["cache", "CACHEDIR.TAG", "empty", "letters", "one.txt", "link"]


def test_unreadable_things_end_with_3_and_are_named(safehold: Program, source: Path, monkeypatch: object) -> None:
    broken = source / "broken"
    broken.mkdir()
    real = os.open

    def refuse(path: object, *rest: object, **more: object) -> int:
        if path in (b"broken", "broken"):
            raise PermissionError(13, "Permission denied")
        return real(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)  # type: ignore[attr-defined]
    ran = safehold("backup", source)
    assert ran.status == 3
    assert f"{broken}: Could not be read: Permission denied." in ran.err
    assert "1 thing of the source could not be read" in ran.err
    assert "made, incomplete" in ran.out
    shown = safehold.do("snapshots", "--json").value["snapshots"][0]  # type: ignore[index]
    assert shown["incomplete"] is True
    assert safehold("backup", source, "--json").events[-1]["status"] == 3


def test_missing_source_makes_nothing(safehold: Program, source: Path) -> None:
    ran = safehold("backup", source, source / "nowhere")
    assert ran.status == 1
    assert "There is no " in ran.err and "nowhere" in ran.err
    assert safehold.do("snapshots").out == "0 snapshots\n"


def test_a_repository_inside_the_source_is_left_out_with_a_note(safehold: Program, source: Path, tmp_path: Path) -> None:
    ran = safehold.do("backup", tmp_path, "--exclude", "cache")
    assert f"Left out, since it is Safehold's own: {safehold.repository}" in ran.err
    listed = safehold.do("ls", f"latest:{tmp_path}").out.split()
    assert str(source) in listed and str(safehold.repository) not in listed


def test_standard_input_and_commands(safehold: Program) -> None:
    safehold.do("backup", "-", "--name", "dump.sql", "--tag", "db", stdin=b"insert\n")
    assert safehold.do("cat", "latest:db:dump.sql").raw == b"insert\n"
    safehold.do("backup", "command:printf hello")
    assert safehold.do("cat", "latest:printf").raw == b"hello"
    failed = safehold("backup", "command:false")
    assert failed.status == 1 and "no snapshot was made" in failed.err
    assert len(safehold.do("snapshots", "--json").value["snapshots"]) == 2  # type: ignore[arg-type]


def test_sources_that_this_version_lacks_are_refused(safehold: Program, source: Path) -> None:
    for word in ("device:/dev/sda",):
        ran = safehold("backup", word)
        assert ran.status == 2 and "can't yet back up" in ran.err
    ran = safehold("backup", source, "-")
    assert ran.status == 2 and "different kinds" in ran.err


def test_names_that_are_no_text_survive(safehold: Program, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path / "odd")
    os.mkdir(odd)
    for name in (b"caf\xe9", b"new\nline", b"\x1b[31mred"):
        with open(os.path.join(odd, name), "wb") as file:
            file.write(name)
    safehold.do("backup", tmp_path / "odd")
    shown = safehold.do("ls", f"latest:{tmp_path}/odd").raw.splitlines()
    assert [line.rpartition(b"/")[2] for line in shown] == [b"\\x1b[31mred", b"caf\xe9", b"new\\x0aline"]
    paths = [str(line["path"]) for line in safehold.do("ls", f"latest:{tmp_path}/odd", "--json").lines]
    assert [os.fsencode(path).rpartition(b"/")[2] for path in paths] == [b"\x1b[31mred", b"caf\xe9", b"new\nline"]
    assert safehold.do("cat", f"latest:{paths[1]}").raw == b"caf\xe9"


def test_sparse_and_paged_files_are_written_in_full(safehold: Program, tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.seek(3_000_000)
        file.write(b"end")
    image = tmp_path / "disk.img"
    image.write_bytes(os.urandom(5_000_000))
    safehold.do("backup", sparse, image)
    assert safehold.do("cat", f"latest:{sparse}").raw == sparse.read_bytes()
    assert safehold.do("cat", f"latest:{image}").raw == image.read_bytes()


def test_restore_brings_back_a_part_and_all(safehold: Program, source: Path, tmp_path: Path) -> None:
    safehold.do("backup", source)
    target = tmp_path / "target"
    ran = safehold.do("restore", f"latest:{source}", "--target", target, "--verify")
    assert "everything is as in the snapshot" in ran.out
    assert (target / "letters" / "old" / "two.txt").read_bytes() == b"two\n" * 1000
    assert os.readlink(target / "link") == "letters/one.txt"
    assert stat.S_IMODE((target / "empty").stat().st_mode) == stat.S_IMODE((source / "empty").stat().st_mode)
    (target / "extra").touch()
    dry = safehold.do("restore", f"latest:{source}", "-t", target, "--delete", "--dry-run", "--json")
    assert dry.value["deleted"] == 1 and (target / "extra").exists()
    safehold.do("restore", f"latest:{source}", "-t", target, "--delete")
    assert not (target / "extra").exists()
    missing = safehold("restore", "latest:/no/such", "-t", target)
    assert missing.status == 1 and "There is no no/such in that snapshot" in missing.err
    own = safehold("restore", "latest", "-t", safehold.repository / "x")
    assert own.status == 1 and "in the repository itself" in own.err


def test_pages_of_any_large_file_on_request(safehold: Program, source: Path) -> None:
    """A changed byte adds a page, not a chunk of a megabyte; and only sizes that can be are taken."""
    image = source / "no-known-name"
    image.write_bytes(os.urandom(5 << 20))
    safehold.do("backup", "--paged", "--page-size", "4096", source)
    with image.open("r+b") as file:
        file.seek(3_000_000)
        file.write(b"changed")
    added = safehold.do("backup", "--paged", "--page-size", "4096", source, "--json").value["bytes_stored"]
    assert 4096 < int(str(added)) < 40_000
    assert safehold.do("cat", f"latest:{image}").raw == image.read_bytes()
    refused = safehold("backup", "--page-size", "5000", source)
    assert refused.status == 2 and "power of two" in refused.err
