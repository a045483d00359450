"""Listings: which snapshots, what is in them, what differs, how much it is."""

from __future__ import annotations

import os
from pathlib import Path

from cli_program import Program


def ids(safehold: Program, *words: str) -> list[str]:
    shown = safehold.do("snapshots", *words, "--json").value["snapshots"]
    return [item["id"] for item in shown]  # type: ignore[attr-defined, index]


def test_snapshots_can_be_filtered(safehold: Program, source: Path) -> None:
    one = safehold.do("backup", source, "--tag", "a", "--host", "x", "--json").value["snapshot"]
    two = safehold.do("backup", source / "letters", "--tag", "a", "--tag", "b", "--host", "y", "--json").value["snapshot"]
    assert ids(safehold) == [one, two]
    assert ids(safehold, "--tag", "b") == [two]
    assert ids(safehold, "--host", "x") == [one]
    assert ids(safehold, "--path", "source") == [one]
    assert ids(safehold, "--host", "x", "--tag", "b") == []
    assert ids(safehold, "--trash") == []
    text = safehold.do("snapshots").out
    assert str(one)[:8] in text and "a, b" in text and text.endswith("2 snapshots\n")


def test_ls(safehold: Program, source: Path) -> None:
    safehold.do("backup", source)
    assert safehold.do("ls", "latest", source).out.splitlines() == [f"{source}/{n}" for n in ("empty", "letters", "link")]
    assert safehold.do("ls", f"latest:{source}/link").out == f"{source}/link\n"
    all_of_it = safehold.do("ls", "-R", "latest", str(source).lstrip("/")).out.splitlines()
    assert f"{source}/letters/old/two.txt" in all_of_it and len(all_of_it) == 6
    long = safehold.do("ls", "-l", "latest", source).out
    assert f"{source}/link -> letters/one.txt" in long and long.startswith("drwx") and "3.91 KiB" in long
    entry = safehold.do("ls", "latest", source / "letters" / "one.txt", "--json").value
    st = (source / "letters" / "one.txt").stat()
    assert (entry["type"], entry["size"], entry["uid"], entry["mode"]) == ("file", 4, st.st_uid, f"{st.st_mode & 0o7777:04o}")
    assert str(entry["mtime"])[19:29] == f".{st.st_mtime_ns % 10**9:09d}"


def test_paths_that_are_not_there(safehold: Program, source: Path) -> None:
    safehold.do("backup", source)
    for words in (("ls", "latest", "/nowhere"), ("cat", f"latest:{source}/letters/one.txt/deeper"), ("cat", f"latest:{source}")):
        ran = safehold(*words)
        assert ran.status == 1 and ran.out == ""
    assert "is a directory, not a file" in ran.err


def test_find(safehold: Program, source: Path) -> None:
    os.utime(source / "letters" / "one.txt", (1_000_000_000, 1_000_000_000))
    first = safehold.do("backup", source, "--json").value["snapshot"]
    second = safehold.do("backup", source, "--json").value["snapshot"]
    found = safehold.do("find", "one", "--json").lines
    assert [(item["snapshot"], item["path"]) for item in found] == [
        (first, f"{source}/letters/one.txt"),
        (second, f"{source}/letters/one.txt"),
    ]

    def names(*words: str) -> list[str]:
        return [Path(str(item["path"])).name for item in safehold.do("find", *words, "--snapshot", "latest", "--json").lines]

    assert names("*.txt") == ["two.txt", "one.txt"]
    assert names("TWO") == [] and names("TWO", "-i") == ["two.txt"]
    assert names("*", "--type", "l") == ["link"]
    assert names("*/letters/*", "--type", "f") == ["two.txt", "one.txt"]
    assert names("*.txt", "--newer", "2 days ago") == ["two.txt"]
    assert names("*.txt", "--older", "2002-01-01") == ["one.txt"]
    assert safehold.do("find", "no such thing").out == ""


def test_diff(safehold: Program, source: Path) -> None:
    safehold.do("backup", source, "--tag", "old")
    (source / "letters" / "one.txt").write_bytes(b"longer than before")
    (source / "letters" / "old" / "two.txt").chmod(0o600)
    (source / "empty").rmdir()
    (source / "empty").write_bytes(b"")
    (source / "link").unlink()
    (source / "new").mkdir()
    (source / "new" / "file").write_bytes(b"12345")
    safehold.do("backup", source)
    lines = safehold.do("diff", f"latest:old:{source}", f"latest:{source}", "--json").lines
    assert [(line["mark"], line["path"]) for line in lines[:-1]] == [
        ("T", "/empty"),
        ("U", "/letters/old/two.txt"),
        ("M", "/letters/one.txt"),
        ("-", "/link"),
        ("+", "/new"),
        ("+", "/new/file"),
    ]
    assert lines[-1] == {
        "event": "diff", "added": 2, "removed": 1, "modified": 1, "type_changed": 1, "metadata_changed": 1,
        "bytes_added": 23, "bytes_removed": 4,
    }  # fmt: skip
    text = safehold.do("diff", "latest:old", "latest").out
    assert f"M  {source}/letters/one.txt  (4 B -> 18 B)\n" in text and f"+  {source}/new/\n" in text
    assert safehold.do("diff", "latest", "latest").out == "No difference.\n"


def test_stats(safehold: Program, source: Path) -> None:
    empty = safehold.do("stats", "--json").value
    assert (empty["snapshots"], empty["logical"], empty["deduplication"]) == (0, 0, 1.0)
    safehold.do("backup", source)
    safehold.do("backup", source)
    value = safehold.do("stats", "--json").value
    assert (value["snapshots"], value["files"], value["logical"]) == (2, 4, 2 * 4004)
    on_disk = sum(p.stat().st_size for p in safehold.repository.rglob("*") if p.is_file() and p.parent.name != "tmp")
    assert value["stored"] == on_disk
    assert value["objects"]["snapshots"]["objects"] == 2  # type: ignore[index]
    assert "times less" in safehold.do("stats").out


def test_tags_make_a_new_snapshot_and_trash_the_old(safehold: Program, source: Path) -> None:
    old = safehold.do("backup", source, "--tag", "a", "--json").value["snapshot"]
    new = safehold.do("tag", "add", "latest", "b", "--json").value
    assert new["tags"] == ["a", "b"] and new["before"] == old
    assert ids(safehold) == [new["snapshot"]] and ids(safehold, "--trash") == [old]
    gone = safehold("ls", str(old)[:8])
    assert gone.status == 1 and "undelete" in gone.err
    assert safehold.do("ls", "latest:b").out
    assert safehold.do("tag", "remove", "latest", "a", "--json").value["tags"] == ["b"]
    assert "already" in safehold.do("tag", "add", "latest", "b").out
    assert safehold("tag", "add", "latest", "a,b").status == 2


def test_naming_snapshots(safehold: Program, source: Path) -> None:
    nothing = safehold("ls", "latest")
    assert nothing.status == 1 and "holds no snapshot yet" in nothing.err
    made = str(safehold.do("backup", source, "--tag", "home", "--json").value["snapshot"])
    for snap in (made, made[:6], made[:4].upper(), "latest", "latest:home", "today", "0 days ago", "2199-01-01 12:00"):
        assert safehold("ls", snap).status == 0, snap
    for snap, words in {
        "latest:other": "There is no other",
        "yesterday": "No snapshot is from yesterday or before. The first ones are: " + made[:8],
        "ffffffff" if made[0] != "f" else "00000000": "The last ones are: " + made[:8],
        "newest": "`newest` names no snapshot",
        "2026-13-77": "is no time",
    }.items():
        ran = safehold("ls", snap)
        assert ran.status == 1 and words in ran.err, ran.err
