"""The program and a real server: from an empty machine to a restore, admission of devices, hostile servers, kills."""

from __future__ import annotations

import gc
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from cli_program import Program, Ran
from online_servers import Client, Person, ServerInThread, ServerProcess

from safehold.core.clock import SystemClock
from safehold.storage.online.address import parse
from safehold.storage.online.api import Api
from safehold.storage.online.store import OnlineStore
from safehold.storage.validation import validate
from safehold.storage.validation_checks import CHECKS


@pytest.fixture
def started(tmp_path: Path) -> Iterator[ServerProcess]:
    made = ServerProcess(tmp_path / "srv")
    yield made
    made.stop()


@pytest.fixture
def home(program: Program, started: ServerProcess) -> str:
    """A repository on it; its address, which is also the default."""
    words = ("--account", "anna", "--setup", started.setup_code, "--fingerprint", started.fingerprint)
    program.do("login", started.url, *words)
    address = f"{started.url}/anna/home"
    program.do("init", address)
    program.set(SAFEHOLD_REPO=address)
    return address


def _tree(folder: Path, seed: int = 1) -> Path:
    random = Random(seed)
    for number in range(40):
        path = folder / f"d{number % 5}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.randbytes(random.randrange(200_000)))
    return folder


def _same(one: Path, other: Path) -> None:
    done = subprocess.run(
        ["rsync", "-aHAXn", "--checksum", "--itemize-changes", "--delete", f"{one}/", f"{other}/"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0 and not done.stdout, done.stdout


def test_the_store_keeps_the_promises_of_the_protocol(tmp_path: Path) -> None:
    server = ServerInThread(tmp_path / "srv")
    try:
        owner = server.owner()
        owner.repository()
        store = OnlineStore(parse(f"{server.url}/anna/home", repository=True), Api(server.url, owner.token("admin")))
        results = list(validate(store, Random(7), SystemClock()))
        assert [result.name for result in results] == list(CHECKS)
        assert {result.name: result.detail for result in results if not result.ok} == {}
        assert list(store.list("")) == []
        store.close()
    finally:
        server.stop()


def test_from_nothing_to_a_restore(program: Program, home: str, tmp_path: Path) -> None:
    tree = _tree(tmp_path / "tree")
    first = program.do("backup", tree, "--json").value
    assert first["files_new"] == 40
    (tree / "d0" / "f0").write_bytes(b"changed")
    second = program.do("backup", tree, "--json").value
    assert second["files_changed"] == 1 and second["files_unchanged"] == 39
    program.do("check", "--read-data")
    program.do("restore", "latest", "--target", tmp_path / "back")
    _same(tree, tmp_path / "back" / tree.relative_to("/"))
    shutil.rmtree(tmp_path / "cache")  # and so on a machine that has nothing but login and passphrase
    program.do("restore", str(first["snapshot"]), "--target", tmp_path / "older")
    assert (tmp_path / "older" / tree.relative_to("/") / "d0" / "f0").stat().st_size != 7


def test_a_self_signed_server_is_trusted_by_its_fingerprint_only(program: Program, started: ServerProcess) -> None:
    words = ("--account", "anna", "--setup", started.setup_code)
    refused = program("login", started.url, *words)
    assert refused.status == 13 and "not one to trust" in refused.err
    wrong = program("login", started.url, *words, "--fingerprint", "00" * 32)
    assert wrong.status == 13
    assert program("login", started.url.replace("https", "http"), *words).status == 14
    assert program("login", "http://backup.example.org", *words).status == 2
    for place in ("nonsense", "https://", "https://u:p@h/a/b", "https://h:99999999/a/b"):
        assert program("login", place).status == 2, place
    assert program("-r", f"{started.url}/anna/home", "snapshots").status == 13  # not logged in


def test_a_device_is_admitted_by_its_words_and_shut_out(
    program: Program, home: str, started: ServerProcess, tmp_path: Path
) -> None:
    tree = _tree(tmp_path / "tree")
    mine = {
        "SAFEHOLD_STATE_DIR": str(tmp_path / "state"),
        "SAFEHOLD_CACHE_DIR": str(tmp_path / "cache"),
        "SAFEHOLD_PASSWORD": "passphrase",
    }
    theirs = {
        "SAFEHOLD_STATE_DIR": str(tmp_path / "state2"),
        "SAFEHOLD_CACHE_DIR": str(tmp_path / "cache2"),
        "SAFEHOLD_PASSWORD": None,
    }
    program.set(**theirs)
    asking = program.start("login", started.url, "--fingerprint", started.fingerprint, "--name", "laptop", "--json")
    assert asking.stdout is not None
    import json

    words = json.loads(asking.stdout.readline())["words"]
    program.set(**mine)
    assert program("device", "approve", "one two three four five six").status == 2
    assert program("device", "approve", "abandon", "ability", "able", "about", "above", "absent").status == 2
    program.do("device", "approve", *words.split("-"))
    told = json.loads(asking.communicate(timeout=60)[0].splitlines()[-1])
    assert asking.returncode == 0 and told["location"] == home
    program.set(**theirs, SAFEHOLD_KEY_FILE=told["key_file"])
    program.do("backup", tree)
    assert program("restore", "latest", "--target", tmp_path / "r").status == 13
    program.set(**mine, SAFEHOLD_KEY_FILE=None)
    (device,) = program.do("device", "list", "--json").value["devices"]  # type: ignore[misc]
    assert device["name"] == "laptop" and device["sources"][0]["status"] == "done"
    program.do("restore", "latest", "--target", tmp_path / "r")
    _same(tree, tmp_path / "r" / tree.relative_to("/"))
    program.do("device", "revoke", "laptop")
    program.set(**theirs, SAFEHOLD_KEY_FILE=told["key_file"])
    assert program("backup", tree).status == 13


def test_forgetting_and_pruning_need_the_second_factor(program: Program, tmp_path: Path, server: ServerInThread) -> None:
    owner = server.owner()
    owner.repository()
    address = f"{server.url}/anna/home"
    program.set(SAFEHOLD_TOKEN=owner.token("admin"), SAFEHOLD_REPO=address)
    program.do("init")
    tree = _tree(tmp_path / "tree")
    program.do("backup", tree)
    shutil.rmtree(tree / "d1")
    program.do("backup", tree)
    snapshots = [line["id"] for line in program.do("snapshots", "--json").value["snapshots"]]  # type: ignore[attr-defined]
    program.do("forget", snapshots[0])
    before = _kept(owner)
    refused = program("prune", "--trash-days", "0")
    assert refused.status == 13 and "safehold account confirm" in refused.err
    assert before <= _kept(owner) and _trash(owner) == set()  # nothing went, not even a part
    program.do("account", "confirm", "--code", owner.recovery[0])  # type: ignore[attr-defined]
    done = program.do("prune", "--trash-days", "0", "--json").value
    assert done["bytes_freed"] > 0, done  # type: ignore[operator]
    gone = before - _kept(owner)
    assert any(key.startswith("packs/") for key in gone) and any(key.startswith("snapshots/") for key in gone)
    assert gone <= _trash(owner)
    program.do("check", "--read-data")
    program.do("restore", snapshots[1], "--target", tmp_path / "r")
    _same(tree, tmp_path / "r" / tree.relative_to("/"))


def _kept(owner: Person) -> set[str]:
    return {line[0] for line in owner("GET", "/api/v1/repositories/anna/home/objects").json["objects"]}


def _trash(owner: Person) -> set[str]:
    return {line["key"] for line in owner("GET", "/api/v1/repositories/anna/home/trash").json["objects"]}


def _at_last(program: Program, *words: object) -> Ran:
    """Run it until the server is there for long enough."""
    for _ in range(10):
        ran = program(*words)
        if ran.status == 0:
            return ran
        assert ran.status == 14, ran.err
    raise AssertionError(ran.err)


def test_retention_counts_by_the_servers_times_for_writers(program: Program, tmp_path: Path) -> None:
    """A writer's snapshots all say that they are of today; the server saw them come on three days."""
    server = ServerInThread(tmp_path / "srv")
    try:
        owner = server.owner()
        owner.repository()
        program.set(SAFEHOLD_TOKEN=owner.token("admin"), SAFEHOLD_REPO=f"{server.url}/anna/home")
        program.do("init")
        program.do("key", "writer", tmp_path / "w.key")
        tree = _tree(tmp_path / "tree")
        for _ in range(3):
            program.do("--key-file", tmp_path / "w.key", "backup", tree)
            server.clock.pass_days(1)
            program.set(SAFEHOLD_TOKEN=server.fresh_token())
        told = program.do("forget", "--keep-daily", "3", "--dry-run", "--json").value
        assert told["forgotten"] == [] and len(told["kept"]) == 3, told  # type: ignore[arg-type]
    finally:
        server.stop()


# CPython leaves a TLS socket to the garbage collector if the other side is gone between connecting and the handshake.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_kills_of_the_server_lose_nothing_that_was_acknowledged(
    program: Program, home: str, tmp_path: Path, started: ServerProcess
) -> None:
    tree = tmp_path / "tree"
    random = Random(4)
    stop = threading.Event()

    def kill_now_and_then() -> None:
        for _ in range(8):  # a slow machine would not get on between ever more of them
            if stop.wait(random.uniform(0.5, 2.5)):
                return
            started.kill()
            started.start()

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    made = []
    try:
        for number in range(3):
            (tree / f"{number}").mkdir(parents=True)
            for each in range(8):
                (tree / f"{number}" / f"{each}").write_bytes(random.randbytes(2_000_000))
            ran = _at_last(program, "backup", tree, "--json")
            made.append((ran.value["snapshot"], sorted(p.name for p in tree.iterdir())))
    finally:
        stop.set()
        killer.join()
        gc.collect()
    program.do("check", "--read-data")
    listed = {line["id"] for line in program.do("snapshots", "--json").value["snapshots"]}  # type: ignore[attr-defined]
    assert {snapshot for snapshot, _ in made} <= listed
    program.do("restore", "latest", "--target", tmp_path / "r")
    _same(tree, tmp_path / "r" / tree.relative_to("/"))


def test_a_server_that_was_set_back_is_found_out(program: Program, home: str, tmp_path: Path, started: ServerProcess) -> None:
    tree = _tree(tmp_path / "tree")
    program.do("backup", tree)
    started.stop()
    shutil.copytree(started.folder, tmp_path / "before")
    started.start()
    program.do("backup", tree)
    started.stop()
    shutil.rmtree(started.folder)
    shutil.copytree(tmp_path / "before", started.folder)
    started.start()
    refused = program("backup", tree)
    assert refused.status == 4 and "older state" in refused.err
    assert program("snapshots").status == 4
    program.do("login", home, "--trust-now")
    program("snapshots")
    program.do("backup", tree)


def test_a_forked_history_is_found_out(program: Program, home: str, tmp_path: Path, started: ServerProcess) -> None:
    program.do("backup", _tree(tmp_path / "tree"))
    started.stop()
    with sqlite3.connect(started.folder / "safehold.sqlite") as database:
        database.execute("UPDATE repositories SET head = ?", ("f" * 64,))
    database.close()
    started.start()
    refused = program("snapshots")
    assert refused.status == 4 and "another history" in refused.err


def test_a_server_that_is_away_is_said_plainly(
    program: Program, home: str, started: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    started.stop()
    refused = program("snapshots")
    assert refused.status == 14 and "cannot be reached" in refused.err


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small file system")
def test_a_full_disk_of_the_server(program: Program, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder], check=True)
    server: ServerProcess | None = None
    try:
        server = ServerProcess(folder / "srv")
        program.do("login", server.url, "--account", "anna", "--setup", server.setup_code, "--fingerprint", server.fingerprint)
        program.do("init", f"{server.url}/anna/home")
        program.set(SAFEHOLD_REPO=f"{server.url}/anna/home")
        small = tmp_path / "tree"
        (small / "a").mkdir(parents=True)
        (small / "a" / "1").write_bytes(Random(1).randbytes(1_000_000))
        program.do("backup", small)
        (small / "a" / "2").write_bytes(Random(2).randbytes(30_000_000))
        full = program("backup", small)
        assert full.status == 15, full.err
        (small / "a" / "2").unlink()
        program.do("check", "--read-data")
        (small / "a" / "3").write_bytes(Random(3).randbytes(500_000))
        program.do("backup", small)  # nothing of what did not fit is in the way
        program.do("restore", "latest", "--target", tmp_path / "r")
        _same(small, tmp_path / "r" / small.relative_to("/"))
    finally:
        if server is not None:
            server.stop()
        subprocess.run(["umount", folder], check=True)


def until(check: Callable[[], object]) -> None:
    for _ in range(400):
        if check():
            return
        time.sleep(0.05)
    raise AssertionError("that does not come")


def test_one_server_at_a_port_says_so(program: Program, started: ServerProcess, tmp_path: Path) -> None:
    second = program.spawn("server", "run", "--data", tmp_path / "other", "--listen", started.url.rpartition("/")[2])
    assert second.status == 1 and "Nothing can listen" in second.err
    assert Client(started.url, fingerprint=started.fingerprint)("GET", "/api/v1/health").status == 200
