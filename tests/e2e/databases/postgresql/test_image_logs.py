"""Where the log of an image copy comes from: the repository's archive, or a standby."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_program import Program
from postgres_archiving import Archiving, numbers
from postgres_servers import NEW, OLD, Server


@pytest.fixture(autouse=True)
def own_state(safehold: Program) -> None:
    safehold.set(SAFEHOLD_STATE_DIR=str(safehold.folder / "state"))


def _shown(safehold: Program) -> list[int]:
    out = safehold.folder / "shown"
    command = f"psql -X -At -c 'select n from t order by n' postgres > {out}"
    safehold.do("image-copy", "open", "shop", "--read-only", "--command", command)
    return [int(line) for line in out.read_text().split()]


def _state(image: Path) -> dict[str, object]:
    return json.loads((image / "image.json").read_text())  # type: ignore[no-any-return]


@pytest.fixture
def archived_image(archiving_any: Archiving) -> Iterator[Path]:
    """An image copy whose log comes from the repository, of a table with 1."""
    a = archiving_any
    a.add(1)
    folder = a.folder / f"{a.server.data.name}.image"
    words = ("--log", "archive", "--programs", a.server.bin)
    a.program.do("image-copy", "create", "shop", a.server.url, "--target", folder, *words)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("archiving_any", [NEW, pytest.param(OLD, marks=pytest.mark.soak)], indirect=True)
def test_the_archive_leads_on_without_the_original(archiving_any: Archiving, archived_image: Path) -> None:
    a, update = archiving_any, ("image-copy", "update", "shop")
    assert a.server.sql("SELECT count(*) FROM pg_replication_slots") == [(0,)]
    assert _shown(a.program) == [1]
    a.add(2)
    assert "as far as its log leads" in a.program.do(*update).err
    assert _shown(a.program) == [1]
    a.archived()
    a.program.do(*update)
    assert _shown(a.program) == [1, 2]
    for number in (3, 4, 5):
        a.add(number)
        a.server.sql("SELECT pg_switch_wal(); CHECKPOINT")
    a.archived()
    moment = a.now()
    a.server.stop()
    kept = a.program.do(*update, "--backup", "--json").value
    assert str(kept["shows"])[:16] <= moment.replace(" ", "T")[:16]
    assert "as far as its log leads" in a.program.do(*update).err
    a.program.do("image-copy", "verify", "shop", "--deep")
    assert _shown(a.program) == [1, 2, 3, 4, 5]
    assert len(list((archived_image / "wal").iterdir())) <= 5
    with a.restored(snap=str(kept["snapshot"])) as server:
        assert numbers(server) == [1, 2, 3, 4, 5]
    a.program.do("image-copy", "remove", "shop")


def test_a_gap_in_the_archive_is_named(archiving: Archiving) -> None:
    a, update = archiving, ("image-copy", "update", "shop")
    a.add(1)
    image = a.folder / "gappy"
    a.program.do("image-copy", "create", "shop", a.server.url, "--target", image, "--log", "archive")
    for first, which in ((2, 0), (6, 2)):
        names = []
        for number in range(first, first + 4):
            a.add(number)
            names.append(a.one("SELECT pg_walfile_name(pg_switch_wal())"))
        a.wait_for(names[-1])
        lost = a.spool / "segments" / names[which]
        kept = lost.read_bytes()
        lost.unlink()
        a.upload()
        before = _state(image)["position"]
        failed = a.program(*update)
        assert failed.status == 1 and lost.name in failed.err and "missing" in failed.err
        assert _state(image)["position"] == before
        lost.write_bytes(kept)
        a.upload()
        a.program.do(*update)
        assert _shown(a.program) == [*range(1, first + 4)]
    shutil.rmtree(image)


def test_the_archive_leads_to_another_timeline(archiving: Archiving) -> None:
    """The original is lost, a restored server takes its place, and the image follows that."""
    a, update = archiving, ("image-copy", "update", "shop")
    a.add(1)
    a.base()
    image = a.folder / "followed"
    a.program.do("image-copy", "create", "shop", a.server.url, "--target", image, "--log", "archive")
    a.add(2)
    a.archived()
    a.program.do(*update)
    a.add(3)
    a.archived()
    a.server.stop()
    with a.restored(name="second", start=False) as second:
        a.start(second, "-c", "archive_mode=on")
        second.sql("INSERT INTO t (n) VALUES (20)")
        name = str(second.sql("SELECT pg_walfile_name(pg_switch_wal())")[0][0])
        for _ in range(200):
            if (a.spool / "segments" / name).exists():
                break
            time.sleep(0.05)
        a.upload()
        a.program.do(*update)
        assert _shown(a.program) == [1, 2, 3, 20]
        kept = str(a.program.do(*update, "--backup", "--json").value["snapshot"])
    with a.restored(snap=kept) as server:
        assert numbers(server) == [1, 2, 3, 20]
    shutil.rmtree(image)


def test_rolls_by_the_archive_can_be_killed(archiving: Archiving) -> None:
    a = archiving
    a.add(1)
    image = a.folder / "killed"
    a.program.do("image-copy", "create", "shop", a.server.url, "--target", image, "--log", "archive")
    for step in range(4):
        a.add(step + 2)
        a.server.bench("-i", "-s", "1", "-q")
        a.archived()
        process = a.program.start("image-copy", "update", "shop", start_new_session=True)
        time.sleep(0.3 + 0.18 * step)
        process.kill()
        process.communicate()
        if step == 1:
            a.program.do("image-copy", "update", "shop")
            assert _shown(a.program) == [1, 2, 3]
    a.program.do("image-copy", "update", "shop")
    assert _shown(a.program) == [1, 2, 3, 4, 5]
    a.program.do("image-copy", "verify", "shop")
    shutil.rmtree(image)


@pytest.fixture(params=[OLD, pytest.param(NEW, marks=pytest.mark.soak)])
def pair(pg_folder: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Server, Server]]:
    """A primary and its standby."""
    major = request.param
    primary = Server(pg_folder, major, f"prim{major}").init().start()
    primary.sql("CREATE TABLE t (n int)")
    standby = Server(pg_folder, major, f"stby{major}")
    primary.run("pg_basebackup", "-h", primary.sockets, "-U", "postgres", "-D", standby.data, "-R", "-c", "fast")
    standby.configure()
    standby.start()
    yield primary, standby
    standby.stop()
    primary.stop()


def _caught_up(primary: Server, standby: Server) -> None:
    ((position,),) = primary.sql("SELECT pg_current_wal_lsn()::text")
    for _ in range(200):
        if standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{position}'") == [(True,)]:
            return
        time.sleep(0.05)
    raise AssertionError("the standby is behind")


def test_an_image_of_a_standby(safehold: Program, pair: tuple[Server, Server]) -> None:
    """The primary is not asked for anything; what the standby has replayed is what the image shows."""
    primary, standby = pair
    image = standby.folder / f"{standby.data.name}.image"
    primary.sql("INSERT INTO t VALUES (1)")
    _caught_up(primary, standby)
    safehold.do("image-copy", "create", "shop", standby.url, "--target", image, "--programs", standby.bin)
    assert _shown(safehold) == [1]
    assert primary.sql("SELECT count(*) FROM pg_replication_slots") == [(0,)]
    for number in (2, 3):
        primary.sql(f"INSERT INTO t VALUES ({number})")
        _caught_up(primary, standby)
        safehold.do("image-copy", "update", "shop")
        assert _shown(safehold) == list(range(1, number + 1))
    assert "as far as its log leads" in safehold.do("image-copy", "update", "shop").err
    primary.sql("SELECT pg_switch_wal(); INSERT INTO t VALUES (4); CHECKPOINT; SELECT pg_switch_wal(); INSERT INTO t VALUES (5)")
    _caught_up(primary, standby)
    kept = str(safehold.do("image-copy", "update", "shop", "--backup", "--json").value["snapshot"])
    safehold.do("image-copy", "verify", "shop", "--deep")
    assert _shown(safehold) == [1, 2, 3, 4, 5]
    target = standby.folder / f"{standby.data.name}.r"
    safehold.do("restore", kept, "--target", target)
    again = Server(standby.folder, standby.major, target.name)
    again.start("-c", f"unix_socket_directories={again.sockets}")
    assert numbers(again) == [1, 2, 3, 4, 5]
    again.stop()
    shutil.rmtree(target)
    # It takes the primary's place: the image follows, with restore points from now on.
    standby.sql("SELECT pg_promote()")
    standby.sql("INSERT INTO t VALUES (6)")
    safehold.do("image-copy", "update", "shop")
    assert _shown(safehold) == [1, 2, 3, 4, 5, 6]
    safehold.do("image-copy", "update", "shop", "--backup")
    safehold.do("image-copy", "remove", "shop")
    assert standby.sql("SELECT count(*) FROM pg_replication_slots") == [(0,)]
    shutil.rmtree(image)
