"""The share commands as a person uses them: files without a server, and links on one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_program import Program
from online_servers import ServerInThread


@pytest.fixture
def home(program: Program, tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    for name in ("mine", "photos/trip"):
        (folder / name).mkdir(parents=True)
    (folder / "mine" / "diary.txt").write_bytes(b"private")
    (folder / "photos" / "one.txt").write_bytes(b"first picture")
    (folder / "photos" / "trip" / "two.bin").write_bytes(os.urandom(400_000))
    (folder / "photos" / "link").symlink_to("one.txt")
    os.utime(folder / "photos" / "one.txt", ns=(1, 1_234_567_890_123_456_789))
    (folder / "photos" / "one.txt").chmod(0o640)
    return folder


@pytest.fixture
def local(program: Program, home: Path) -> Program:
    program.set(SAFEHOLD_PASSWORD="x")
    program.do("-r", program.repository, "init")
    program.set(SAFEHOLD_REPO=str(program.repository))
    program.do("backup", home)
    return program


def same(one: Path, other: Path) -> None:
    found = sorted(p.relative_to(one) for p in one.rglob("*"))
    assert found == sorted(p.relative_to(other) for p in other.rglob("*"))
    for name in found:
        a, b = one / name, other / name
        assert (a.lstat().st_mode, a.is_symlink()) == (b.lstat().st_mode, b.is_symlink())
        if a.is_symlink():
            assert a.readlink() == b.readlink()
        elif a.is_file():
            assert a.read_bytes() == b.read_bytes()
        if not a.is_symlink():
            assert a.stat().st_mtime_ns == b.stat().st_mtime_ns


def test_a_share_file_opens_by_its_words(local: Program, home: Path, tmp_path: Path) -> None:
    made = local.do("share", "create", f"latest:{home}/photos", "--file", tmp_path / "p.safehold-share", "--json").value
    local.set(SAFEHOLD_REPO=None, SAFEHOLD_PASSWORD=None)
    words = " ".join(made["words"]).encode()  # type: ignore[arg-type]
    told = local.do("open", tmp_path / "p.safehold-share", "--target", tmp_path / "out", "--json", stdin=words).value
    assert told["name"] == "photos" and told["failed"] == told["damaged"] == 0
    same(home / "photos", tmp_path / "out")
    again = local.do("open", tmp_path / "p.safehold-share", "--target", tmp_path / "out", "--json", stdin=words).value
    assert again["created"] == 0


def test_a_share_file_opens_by_its_password_or_key_file(local: Program, home: Path, tmp_path: Path) -> None:
    local.set(SAFEHOLD_SHARE_PASSWORD="over the phone")
    local.do("share", "create", f"latest:{home}/photos", "--file", tmp_path / "a", "--password")
    local.do("open", tmp_path / "a", "--target", tmp_path / "out-a")
    same(home / "photos", tmp_path / "out-a")
    local.set(SAFEHOLD_SHARE_PASSWORD="over the fence")
    assert local("open", tmp_path / "a", "--target", tmp_path / "out-b").status == 12
    local.do("share", "create", f"latest:{home}/photos/one.txt", "--file", tmp_path / "b", "--key-out", tmp_path / "b.key")
    assert local("open", tmp_path / "b", "--key-file", tmp_path / "nothing", "--list").status == 12
    listed = local.do("open", tmp_path / "b", "--key-file", tmp_path / "b.key", "--list", "--json").value
    assert (listed["path"], listed["size"], listed["mode"]) == ("one.txt", 13, "0640")
    assert (tmp_path / "b.key").stat().st_mode & 0o777 == 0o600


def test_a_share_file_may_leave_its_data_in_a_store_that_the_friend_reaches(local: Program, home: Path, tmp_path: Path) -> None:
    (home / "photos" / "film.bin").write_bytes(os.urandom(3 << 20))
    local.do("backup", home)
    small, key = tmp_path / "s", tmp_path / "s.key"
    words = ("share", "create", f"latest:{home}/photos", "--file", small, "--key-out", key, "--by-store", "--expires", "30d")
    local.do(*words)
    assert small.stat().st_size < 500_000
    opening = ("open", small, "--key-file", key, "--target", tmp_path / "out")
    local.set(SAFEHOLD_REPO=None, SAFEHOLD_PASSWORD=None)
    refused = local(*opening)
    assert refused.status == 2 and str(local.repository) in refused.err
    local.do(*opening, "--repo", local.repository)
    same(home / "photos", tmp_path / "out")


def test_a_cut_off_file_is_never_taken_for_whole(local: Program, home: Path, tmp_path: Path) -> None:
    local.do("share", "create", f"latest:{home}/photos", "--file", tmp_path / "a", "--key-out", tmp_path / "k")
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "b").write_bytes(data[: len(data) // 2])
    ran = local("open", tmp_path / "b", "--key-file", tmp_path / "k", "--target", tmp_path / "out")
    assert ran.status == 4 and "cut off" in ran.err and not (tmp_path / "out").exists()


def test_what_does_not_fit_together_is_said(local: Program, home: Path, tmp_path: Path) -> None:
    assert local("share", "create", f"latest:{home}").status == 2
    assert local("share", "create", "latest", "--file", tmp_path / "f", "--opens", "3").status == 2
    assert local("open", "https://backup.example.org/s/12#abc", "--list").status == 12
    assert local("open", tmp_path / "nothing", "--list").status == 2
    assert local("open", tmp_path / "nothing").status == 2


@pytest.fixture
def online(program: Program, home: Path, tmp_path: Path) -> Iterator[ServerInThread]:
    server = ServerInThread(tmp_path / "server")
    owner = server.owner()
    owner.repository()
    program.set(SAFEHOLD_REPO=f"{server.url}/anna/home", SAFEHOLD_TOKEN=owner.token("admin", "anna/home"), SAFEHOLD_PASSWORD="x")
    program.set(SAFEHOLD_STATE_DIR=str(tmp_path / "state"))
    program.do("init")
    program.do("backup", home)
    yield server
    server.stop()


def test_a_link_from_making_it_to_taking_it_back(program: Program, online: ServerInThread, home: Path, tmp_path: Path) -> None:
    made = program.do("share", "create", f"latest:{home}/photos", "--latest", "--expires", "30d", "--json").value
    link = str(made["link"])
    program.do("open", link, "--target", tmp_path / "out")
    same(home / "photos", tmp_path / "out")
    (home / "photos" / "three.txt").write_bytes(b"new")
    ran = program.do("backup", home)
    assert "shows this backup now" in ran.err
    assert "three.txt" in program.do("open", link, "--list").out
    (listed,) = program.do("share", "list", "--links", "--json").value["shares"]  # type: ignore[misc]
    assert (listed["link"], listed["opens"], listed["state"], listed["latest"]) == (link, 2, "open", True)
    log = program.do("share", "list", link, "--json").value["log"]
    assert [each["what"] for each in log].count("opened") == 2  # type: ignore[attr-defined]
    assert json.loads(program.do("share", "refresh", "--json").out)["refreshed"] == []
    program.do("share", "revoke", listed["id"][:8])
    gone = program("open", link, "--list")
    assert gone.status == 1 and "taken back" in gone.err
    assert "taken back" in program.do("share", "list").out


def test_files_that_were_asked_for(program: Program, online: ServerInThread, tmp_path: Path) -> None:
    asked = program.do("share", "request", "Pictures", "--most-files", "3", "--most-size", "2M", "--json").value
    link = str(asked["link"])
    (tmp_path / "party.jpg").write_bytes(os.urandom(1_500_000))
    (tmp_path / "empty").write_bytes(b"")
    mine = {name: os.environ[name] for name in ("SAFEHOLD_REPO", "SAFEHOLD_TOKEN", "SAFEHOLD_PASSWORD")}
    program.set(**dict.fromkeys(mine))
    assert "Pictures" in program.do("send", link, tmp_path / "party.jpg", "--from", "Bert").err
    program.do("send", link, tmp_path / "empty")
    refused = program("send", link, tmp_path / "party.jpg")
    assert refused.status == 1 and "more than was asked for" in refused.err
    wrong = link[:-3] + ("AAA" if link[-3:] != "AAA" else "BBB")
    assert program("send", wrong, tmp_path / "empty").status == 12
    stored = b"".join(p.read_bytes() for p in (tmp_path / "server").rglob("*") if p.is_file())
    assert b"party.jpg" not in stored and (tmp_path / "party.jpg").read_bytes()[:64] not in stored
    program.set(**mine)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "party.jpg").write_bytes(b"mine")
    came = program.do("share", "receive", "--target", tmp_path / "in", "--json").value["files"]
    assert sorted((each["name"], each["sender"]) for each in came) == [("empty", ""), ("party (2).jpg", "Bert")]  # type: ignore[index, attr-defined]
    assert (tmp_path / "in" / "party.jpg").read_bytes() == b"mine"
    assert (tmp_path / "in" / "party (2).jpg").read_bytes() == (tmp_path / "party.jpg").read_bytes()
    assert (tmp_path / "in" / "party (2).jpg").stat().st_mtime_ns == (tmp_path / "party.jpg").stat().st_mtime_ns
    assert program.do("share", "receive", "--target", tmp_path / "in", "--json").value["files"] == []
    program.do("share", "request", "--end", str(asked["id"]))
    program.set(**dict.fromkeys(mine))
    assert program("send", link, tmp_path / "empty").status == 1
