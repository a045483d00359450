"""Whole stories on a real S3 server and over a real SSH server: back up, restore, forget, prune, check, copy; killed and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from broken_network import Proxy
from cli_program import Program
from disks import memory_disk
from processes import CORES, COUNTING
from ssh_server import SshServer

from safehold.repo.seals import DATA
from safehold.storage.open import open_store

Place = Callable[[str], str]


@pytest.fixture(params=["s3", "az", "sftp"])
def place(request: pytest.FixtureRequest, program: Program) -> Place:
    """Names places for repositories; the program finds the way there."""
    if request.param != "sftp":
        bucket: str = request.getfixturevalue("bucket" if request.param == "s3" else "container")
        return lambda name: f"{bucket}/{name}"
    server: SshServer = request.getfixturevalue("ssh_server")
    return server.location


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """Some 100 MB that do not compress: three packs and more."""
    made = tmp_path / "big"
    made.mkdir()
    randomness = Random(3)
    for number in range(12):
        (made / f"file{number:02}").write_bytes(randomness.randbytes(8 << 20))
    return made


def _same(one: Path, other: Path) -> bool:
    return subprocess.run(["diff", "-r", "--no-dereference", one, other], check=False).returncode == 0


BUCKET_IS_ENOUGH = pytest.mark.parametrize("place", ["s3", pytest.param("sftp", marks=pytest.mark.soak)], indirect=True)


def test_a_whole_life(program: Program, place: Place, source: Path, tmp_path: Path) -> None:
    here, there = place("here"), place("there")
    program.do("init", here, "--key-file", program.key)
    program.set(SAFEHOLD_REPO=here, SAFEHOLD_KEY_FILE=str(program.key))
    program.do("backup", "--tag", "first", source)
    (source / "new").write_bytes(Random(1).randbytes(300_000))
    program.do("backup", "--tag", "second", source)
    program.do("restore", f"latest:second:{source}", "--target", tmp_path / "out", "--verify")
    assert _same(source, tmp_path / "out")
    program.set(SAFEHOLD_CACHE_DIR=str(tmp_path / "another-machine"))
    program.do("restore", f"latest:first:{source}", "--target", tmp_path / "out1")
    assert not (tmp_path / "out1" / "new").exists()
    assert program.do("cat", f"latest:{source}/letters/one.txt").raw == b"one\n"
    program.do("init", there, "--key-file", tmp_path / "other.key")
    program.do("copy", "--to", there, "--to-key-file", tmp_path / "other.key")
    program.do("forget", "--keep-last", "1", "--prune")
    assert len(program.do("snapshots", "--json").lines) == 1
    program.do("check", "--read-data")
    program.set(SAFEHOLD_REPO=there, SAFEHOLD_KEY_FILE=str(tmp_path / "other.key"))
    program.do("check", "--read-data")
    program.do("restore", f"latest:second:{source}", "--target", tmp_path / "out2")
    assert _same(source, tmp_path / "out2")


@BUCKET_IS_ENOUGH
def test_a_tree_for_which_children_are_forked(program: Program, place: Place, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for folder in range(30):
        (tree / f"{folder}").mkdir(parents=True)
        for number in range(100):
            (tree / f"{folder}" / f"{number}").write_bytes(b"%d %d\n" % (folder, number) * (number + 1))
    program.set(SAFEHOLD_REPO=place("r"), SAFEHOLD_KEY_FILE=str(program.key))
    program.set(HOME=os.environ["HOME"])
    program.do("init", "--key-file", program.key)
    # In processes of their own, where the conditions for forking are those of a user.
    out, damaged = tmp_path / "out", tmp_path / "damaged"
    for words in (("backup", tree), ("restore", f"latest:{tree}", "--target", out), ("backup", tree)):
        ran = subprocess.run([sys.executable, "-c", COUNTING, *map(str, words)], capture_output=True, text=True, check=True)
        assert words[0] == "backup" or ran.stderr.splitlines()[-1] == str(CORES > 1)
    assert _same(tree, out)
    (out / "7" / "7").write_bytes(b"other")
    (out / "8" / "8").unlink()
    assert program.spawn("restore", f"latest:{tree}", "--target", out).status == 0
    assert _same(tree, out)
    with closing(open_store(place("r"))) as store:
        key = next(info.key for info in store.list("packs/") if store.get_range(info.key, 8, 1)[0] == DATA)
        data = store.get(key)
        store.delete(key)
        store.put(key, data[:50] + bytes(64) + data[114:])
    ran = program.spawn("restore", f"latest:{tree}", "--target", damaged, "--json")
    told = {event["path"] for event in ran.events if event["event"] == "warn"}
    missing = {str(path.relative_to(tree)) for path in tree.rglob("*") if not (damaged / path.relative_to(tree)).exists()}
    assert (ran.status, told) == (4, missing) and told


def _stored(location: str) -> int:
    store = open_store(location)
    try:
        return len(list(store.list("packs/")))
    finally:
        store.close()


@BUCKET_IS_ENOUGH
def test_a_killed_backup_goes_on_with_what_was_stored(program: Program, place: Place, big: Path, tmp_path: Path) -> None:
    here = place("here")
    program.set(SAFEHOLD_REPO=here, SAFEHOLD_KEY_FILE=str(program.key))
    program.do("init", "--key-file", program.key)
    process = program.start("backup", "--limit-upload", "25M", big, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        if _stored(here):
            break
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = _stored(here)
    ran = program.do("backup", big)
    assert left and f"Found {left} packs" in ran.err
    program.do("restore", f"latest:{big}", "--target", tmp_path / "out")
    assert _same(big, tmp_path / "out")
    program.do("check", "--read-data")


def test_the_network_fails_in_the_middle(program: Program, gateway: str, bucket: str, big: Path, tmp_path: Path) -> None:
    with Proxy(int(gateway.rpartition(":")[2])) as proxy:
        program.set(SAFEHOLD_REPO=f"{bucket}/r", SAFEHOLD_KEY_FILE=str(program.key))
        program.set(AWS_ENDPOINT_URL=f"http://127.0.0.1:{proxy.port}")
        program.do("init", "--key-file", program.key)
        process = program.start("backup", "--limit-upload", "40M", big)
        for _ in range(3):
            time.sleep(0.7)
            proxy.down = True
            time.sleep(0.3)
            proxy.down = False
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        program.do("check", "--read-data")
        proxy.down = True
        ran = program("snapshots")
        assert ran.status == 14 and ("cannot be reached" in ran.err or "broke off" in ran.err)
        assert ran.err.count("\n") == 1


def test_the_server_restarts_in_the_middle(program: Program, ssh_server: SshServer, big: Path) -> None:
    program.set(SAFEHOLD_REPO=ssh_server.location("r"), SAFEHOLD_KEY_FILE=str(program.key), HOME=str(ssh_server.home))
    program.do("init", "--key-file", program.key)
    process = program.start("backup", "--limit-upload", "40M", big)
    for parts in (1, 2):
        for _ in range(1000):
            time.sleep(0.01)
            if len([*ssh_server.data.glob("r/tmp/*.part"), *ssh_server.data.glob("r/packs/*/*")]) >= parts:
                break
        ssh_server.stop()
        time.sleep(0.5)
        ssh_server.start()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    program.do("check", "--read-data")


def test_a_full_disk_on_the_server(program: Program, ssh_server: SshServer, big: Path, source: Path) -> None:
    program.set(SAFEHOLD_KEY_FILE=str(program.key), HOME=str(ssh_server.home))
    with memory_disk(ssh_server.data / "small", "40M"):
        program.set(SAFEHOLD_REPO=ssh_server.location("small/r"))
        program.do("init", "--key-file", program.key)
        program.do("backup", source)
        ran = program("backup", big)
        assert ran.status == 15 and "is full" in ran.err and ran.err.count("\n") == 1
        assert not list((ssh_server.data / "small" / "r" / "tmp").iterdir())
        program.do("check", "--read-data")
        program.do("backup", source)


def test_what_goes_wrong_is_one_sentence(program: Program, bucket: str, ssh_server: SshServer) -> None:
    program.set(SAFEHOLD_PASSWORD="x", HOME=str(ssh_server.home))
    cases: list[tuple[str, int, str]] = [
        (f"{bucket}/none", 10, "There is no repository"),
        (ssh_server.location("none"), 10, "There is no repository"),
        ("s3://no-such-bucket/x", 1, "There is no bucket"),
        ("s3://", 2, "no place in a bucket"),
        ("sftp://host", 2, "no place that is reached by SFTP"),
        ("sftp://root@127.0.0.1:1/x", 14, "cannot be reached"),
    ]
    for location, status, words in cases:
        ran = program("-r", location, "snapshots")
        assert (ran.status, words in ran.err, ran.err.count("\n")) == (status, True, 1), ran.err
    assert program("init", "s3://no-such-bucket/x").status == 1
    program.set(AWS_ACCESS_KEY_ID="nobody")
    ran = program("init", bucket)
    assert ran.status == 13 and "refuses access" in ran.err
    ran = program("--limit-upload", "fast", "-r", bucket, "snapshots")
    assert ran.status == 2 and "is no rate" in ran.err


@pytest.fixture
def configured(program: Program, bucket: str, gateway: str) -> Iterator[Program]:
    """A configuration that says all that the environment says otherwise."""
    program.set(AWS_ENDPOINT_URL=None)
    folder = program.folder / "config" / "safehold"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(
        f'repository = "cloud"\n[repositories.cloud]\nlocation = "{bucket}"\nendpoint = "{gateway}"\nregion = "us-east-1"\n'
        f'connections = 3\nlimit-upload = "50M"\nlimit-download = "50M"\nkey-file = "{program.key}"\n'
    )
    yield program


def test_the_configuration_says_where(configured: Program, source: Path) -> None:
    configured.do("init", "--key-file", configured.key)
    configured.do("backup", source)
    assert len(configured.do("snapshots", "--json").lines) == 1
