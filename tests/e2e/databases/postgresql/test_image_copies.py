"""Image copies of PostgreSQL: made, rolled, opened, killed, starved, and opened by mistake."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_program import Program
from postgres_servers import MAJORS, OLD, Server, folder_for_servers

from safehold.sources.postgresql import client_programs, programs

SUM = "select count(*), sum(abalance), (select count(*) from pgbench_history) from pgbench_accounts"
SHOW = "psql -X -At -c '" + SUM + "' postgres"


@pytest.fixture(params=[OLD])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with folder_for_servers() as folder:
        started = Server(folder, request.param).init().start()
        started.bench("-i", "-s", "2", "-q")
        yield started
        started.stop()


@pytest.fixture
def image(safehold: Program, server: Server) -> Path:
    safehold.set(SAFEHOLD_STATE_DIR=str(safehold.folder / "state"))
    folder = server.folder / "image"
    safehold.do("image-copy", "create", "shop", server.url, "--target", folder, "--programs", server.bin)
    return folder


def _shown(safehold: Program) -> str:
    """What the opened image says of its tables; the command's output goes past Python."""
    script = safehold.folder / "shown"
    safehold.do("image-copy", "open", "shop", "--read-only", "--command", f"{SHOW} > {script}")
    return script.read_text().strip()


def _there(server: Server) -> str:
    return "|".join(str(value) for value in server.sql(SUM)[0])


def _state(image: Path) -> dict[str, object]:
    return json.loads((image / "image.json").read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize("server", MAJORS, indirect=True)
def test_an_image_follows_the_original(safehold: Program, server: Server, image: Path) -> None:
    for _ in range(2):
        server.bench("-t", "200", "-c", "2")
        safehold.do("image-copy", "update", "shop")
        assert _shown(safehold) == _there(server)
        safehold.do("image-copy", "verify", "shop")
    assert len(list((image / "wal").iterdir())) <= 2
    assert not any(path.is_symlink() for path in (image / "data/pg_wal").iterdir())
    listed = safehold.do("image-copy", "list", "--json").value["image_copies"]
    assert [(one["name"], one["state"], one["rolls"]) for one in listed] == [("shop", "ready", 3)]  # type: ignore[attr-defined]


def test_a_clone_is_written_to_and_the_image_rolls_on(safehold: Program, server: Server, image: Path) -> None:
    server.sql("create table before_roll as select 1")
    safehold.do("image-copy", "update", "shop")
    clone = server.folder / "clone"
    script = 'psql -X -At -c "create table mine(); select count(*) from pgbench_accounts" postgres'
    safehold.do("image-copy", "open", "shop", "--read-write", "--clone", clone, "--command", script)
    server.bench("-t", "100")
    safehold.do("image-copy", "update", "shop")
    safehold.do("image-copy", "verify", "shop", "--deep")
    assert not (image / "verify").exists()
    assert "not empty" in safehold("image-copy", "open", "shop", "--read-write", "--clone", clone).err
    # The clone is a database like any other by now.
    again = Server(server.folder, name="clone/data")
    again.sockets = server.folder / "again"
    again.configure(archive_mode="off", restore_command="", listen_addresses="")
    again.start()
    try:
        assert again.sql("select count(*) from mine") == [(0,)]
    finally:
        again.stop()


def test_tablespaces_are_copied_and_a_clone_has_its_own(safehold: Program, server: Server) -> None:
    safehold.set(SAFEHOLD_STATE_DIR=str(safehold.folder / "state"))
    space = server.folder / "space=1"
    server.run("initdb", "--version")
    subprocess.run(["install", "-d", "-o", "postgres", "-m", "700", space], check=True)
    server.sql(f"create tablespace elsewhere location '{space}'")
    server.sql("create table t tablespace elsewhere as select generate_series(1, 1000) n")
    image = server.folder / "image"
    safehold.do("image-copy", "create", "shop", server.url, "--target", image)
    server.sql("insert into t select 7 from generate_series(1, 500)")
    safehold.do("image-copy", "update", "shop")
    (spaced,) = (image / "tablespaces").iterdir()
    before = {path: path.read_bytes() for path in spaced.rglob("*") if path.is_file()}
    out = safehold.folder / "out"
    script = f"psql -X -At -c 'update t set n = 0; checkpoint; select count(*), sum(n) from t' postgres > {out}"
    safehold.do("image-copy", "open", "shop", "--read-write", "--clone", server.folder / "clone", "--command", script)
    assert "1500|0" in out.read_text()
    assert {path: path.read_bytes() for path in spaced.rglob("*") if path.is_file()} == before
    safehold.do(
        "image-copy",
        "open",
        "shop",
        "--read-only",
        "--command",
        f"psql -X -At -c 'select count(*), sum(n) from t' postgres > {out}",
    )
    assert out.read_text().strip() == "1500|504000"


def test_it_can_be_killed_at_any_moment(safehold: Program, server: Server, image: Path) -> None:
    for step in range(10):
        server.bench("-t", "150")
        process = safehold.start("image-copy", "update", "shop", start_new_session=True)
        time.sleep(0.15 + 0.06 * step)
        process.kill()
        process.communicate()
        if step % 3 == 2:
            safehold.do("image-copy", "update", "shop")
            safehold.do("image-copy", "verify", "shop")
            assert _shown(safehold) == _there(server)
    safehold.do("image-copy", "update", "shop")
    assert _shown(safehold) == _there(server)


def test_its_making_can_be_killed_and_begun_again(safehold: Program, server: Server) -> None:
    safehold.set(SAFEHOLD_STATE_DIR=str(safehold.folder / "state"))
    words = ("image-copy", "create", "shop", server.url, "--target", server.folder / "image")
    process = safehold.start(*words)
    time.sleep(0.5)
    process.kill()
    process.communicate()
    failed = safehold("image-copy", "update", "shop")
    assert failed.status == 1
    assert "never finished" in failed.err or "no image copy" in failed.err
    safehold.do(*words)
    assert server.sql("select count(*) from pg_replication_slots") == [(1,)]
    safehold.do("image-copy", "remove", "shop")
    assert server.sql("select count(*) from pg_replication_slots") == [(0,)]
    assert safehold.do("image-copy", "list", "--json").value == {"image_copies": []}


def test_a_server_started_on_it_by_mistake_stops_at_once(safehold: Program, server: Server, image: Path) -> None:
    wrong = server.run("postgres", "-D", image / "data", "-c", "listen_addresses=", check=False)
    assert wrong.returncode != 0
    server.bench("-t", "50")
    safehold.do("image-copy", "update", "shop")
    assert _shown(safehold) == _there(server)


def test_a_process_that_got_a_dead_server_s_number_is_left_alone(safehold: Program, server: Server, image: Path) -> None:
    other = subprocess.Popen(["sleep", "600"])
    try:
        (image / "data/postmaster.pid").write_text(f"{other.pid}\n{image / 'data'}\n")
        safehold.do("image-copy", "verify", "shop")
        postmaster = int((server.data / "postmaster.pid").read_text().split()[0])
        (image / "data/postmaster.pid").write_text(f"{postmaster}\n{image / 'data'}\n")
        safehold.do("image-copy", "verify", "shop")
        assert server.sql("select 1") == [(1,)]
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_one_that_was_opened_for_writing_is_refused(safehold: Program, server: Server, image: Path) -> None:
    (image / "data/global/pg_control.image").rename(image / "data/global/pg_control")
    (image / "data/recovery.signal").unlink()
    other = Server(server.folder, name="image/data")
    other.sockets = server.folder / "other"
    other.start("-c", f"unix_socket_directories={other.sockets}")
    other.sql("create table split_brain()")
    other.stop()
    failed = safehold("image-copy", "update", "shop")
    assert failed.status == 1 and "was opened" in failed.err
    assert safehold("image-copy", "verify", "shop").status == 1


def test_a_gap_is_named_and_nothing_is_rolled(safehold: Program, server: Server, image: Path) -> None:
    slot = _state(image)["facts"]["slot"]  # type: ignore[index]
    server.sql(f"select pg_drop_replication_slot('{slot}')")
    for _ in range(3):
        server.bench("-t", "50")
        server.sql("select pg_switch_wal()")
        server.sql("checkpoint")
    before = _state(image)["position"]
    failed = safehold("image-copy", "update", "shop")
    assert failed.status == 1 and ("does not exist" in failed.err or "removed" in failed.err)
    assert _state(image)["position"] == before
    shutil.rmtree(image)
    safehold.do("image-copy", "create", "shop", server.url, "--target", image)


@pytest.mark.parametrize("place", [0, 1, -1])
def test_a_missing_segment_is_named(safehold: Program, server: Server, image: Path, place: int) -> None:
    """Received already by a roll that was stopped, and lost then."""
    for _ in range(3):
        server.bench("-t", "50")
        server.sql("select pg_switch_wal()")
    state = _state(image)
    server.sql("select pg_create_restore_point('end')")  # at a segment's very beginning, 17 names the next one
    (end,) = server.sql("select pg_walfile_name(pg_switch_wal())")[0]
    number = int(str(end)[8:16], 16) << 32 | int(str(end)[16:], 16) * (16 << 20)
    slot = state["facts"]["slot"]  # type: ignore[index]
    client_programs.receive(
        server.bin, server.url, slot, image / "wal", number + (16 << 20), 16 << 20, programs.account(image / "data")
    )
    segments = sorted(path for path in (image / "wal").iterdir() if len(path.name) == 24)
    lost = segments[place]
    lost.unlink()
    if place == -1:  # the original has it still
        safehold.do("image-copy", "update", "shop")
        assert _shown(safehold) == _there(server)
        return
    failed = safehold("image-copy", "update", "shop")
    assert failed.status == 1 and lost.name in failed.err and "missing" in failed.err
    assert _state(image)["position"] == state["position"]


def test_another_database_is_refused(safehold: Program, server: Server, image: Path) -> None:
    other = Server(server.folder, name="other").init().start()
    try:
        failed = safehold("image-copy", "update", "shop", "--source", other.url)
        assert failed.status == 1 and "another database" in failed.err
    finally:
        other.stop()
    safehold.do("image-copy", "update", "shop")


def test_a_full_disk_costs_nothing(safehold: Program, server: Server) -> None:
    safehold.set(SAFEHOLD_STATE_DIR=str(safehold.folder / "state"))
    image = server.folder / "small"
    image.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m,mode=755", "tmpfs", image], check=True)
    try:
        subprocess.run(["chown", "postgres", image], check=True)
        safehold.do("image-copy", "create", "shop", server.url, "--target", image / "shop")
        server.bench("-t", "100")
        free = shutil.disk_usage(image).free
        filler = image / "filler"
        with filler.open("wb") as file:
            file.write(bytes(free - 20 * 1024 * 1024))
        for _ in range(3):
            server.bench("-t", "100")
            server.sql("select pg_switch_wal()")
        failed = safehold("image-copy", "update", "shop")
        assert failed.status != 0 and "Traceback" not in failed.err
        filler.unlink()
        safehold.do("image-copy", "update", "shop")
        assert _shown(safehold) == _there(server)
    finally:
        subprocess.run(["umount", "-l", image], check=False)


def test_wrong_words(safehold: Program, server: Server, image: Path, tmp_path: Path) -> None:
    assert "There are: shop" in safehold("image-copy", "update", "shopp").err
    assert safehold("image-copy", "open", "shop").status == 2
    assert safehold("image-copy", "create", "x", "/etc", "--target", tmp_path / "x").status == 2
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thing").write_text("mine")
    failed = safehold("image-copy", "create", "x", server.url, "--target", tmp_path / "full")
    assert failed.status == 1 and "not empty" in failed.err and os.listdir(tmp_path / "full") != []
    assert (tmp_path / "full/thing").read_text() == "mine"
    failed = safehold("image-copy", "create", "y", "postgresql://postgres@/?host=/nowhere", "--target", tmp_path / "y")
    assert failed.status == 1 and "cannot be reached" in failed.err


def test_a_damaged_page_is_found(safehold: Program, server: Server, image: Path) -> None:
    ((path,),) = server.sql("select pg_relation_filepath('pgbench_accounts')")
    with (image / "data" / str(path)).open("r+b") as file:
        file.seek(8192 * 3 + 4000)
        file.write(b"\xff" * 8)
    failed = safehold("image-copy", "verify", "shop")
    assert failed.status == 4 and str(path) in failed.err
