"""Image copies of PostgreSQL that are kept as bases: restored, started, rolled on by the archive, drilled; killed and starved."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import msgspec
import pytest
from cli_program import Program
from disks import memory_disk
from postgres_archiving import Archiving, numbers
from postgres_proof import Cluster, databases, opened, sums
from postgres_servers import NEW, OLD, Server


@pytest.fixture(autouse=True)
def own_state(safehold: Program) -> None:
    safehold.set(SAFEHOLD_STATE_DIR=str(safehold.folder / "state"))


def _image(safehold: Program, server: Server, *words: str) -> Path:
    folder = server.folder / f"i{time.monotonic_ns() % 10**8}"
    safehold.do("image-copy", "create", "shop", server.url, "--target", folder, "--programs", server.bin, *words)
    return folder


def _keep(safehold: Program) -> str:
    return str(safehold.do("image-copy", "update", "shop", "--backup", "--json").value["snapshot"])


def _remove(safehold: Program, image: Path) -> None:
    safehold.do("image-copy", "remove", "shop")
    shutil.rmtree(image)


def test_a_kept_image_is_a_whole_base(safehold: Program, cluster: Cluster) -> None:
    """It starts without any archive, and holds what the original held; PostgreSQL finds nothing wrong with it."""
    server = cluster.server
    space = server.folder / f"space{cluster.major}"
    subprocess.run(["install", "-d", "-o", "postgres", "-m", "700", space], check=True)
    server.sql(f"CREATE TABLESPACE aside LOCATION '{space}'")
    server.sql("CREATE TABLE spaced TABLESPACE aside AS SELECT generate_series(1, 30000) AS n")
    image = _image(safehold, server)
    server.bench("-t", "300", "-c", "2")
    first = _keep(safehold)
    expected = sums(server)
    server.bench("-t", "300", "-c", "2")
    target, moved = cluster.target(), server.folder / f"moved{cluster.major}"
    safehold.do("restore", first, "--target", target, "--tablespace", f"aside={moved}", "--verify")
    cluster.prove(target, expected)
    shutil.rmtree(moved)
    (found,) = databases(safehold)
    assert found.method == "image-copy" and found.start < found.stop
    facts = found.facts
    assert (facts["image"], facts["standby"], facts["data_directory"]) == ("yes", "no", str(server.data))
    assert [place["path"] for place in json.loads(facts["tablespaces"]).values()] == [str(space)]
    # What follows costs what has changed; a base taken from the original goes on from there.
    before = _size(safehold)
    _keep(safehold)
    after = _size(safehold)
    _keep(safehold)
    assert _size(safehold) - after < 150_000
    assert after - before < 3_000_000
    safehold.do("backup", server.url, *(["--method", "incremental"] if cluster.major == 18 else []))
    assert _size(safehold) - after < 1_000_000
    assert databases(safehold)[-1].method == ("incremental" if cluster.major == 18 else "local")
    expected = sums(server)
    safehold.do("restore", "latest", "--target", target, "--tablespace", f"aside={moved}")
    cluster.prove(target, expected)
    server.sql("DROP TABLE spaced")
    server.sql("DROP TABLESPACE aside")
    for folder in (moved, space):
        shutil.rmtree(folder)
    _remove(safehold, image)


def _size(safehold: Program) -> int:
    return sum(path.stat().st_size for path in safehold.repository.rglob("*") if path.is_file())


@pytest.mark.parametrize("archiving_any", [OLD, pytest.param(NEW, marks=pytest.mark.soak)], indirect=True)
def test_an_archive_leads_on_from_a_kept_image(archiving_any: Archiving) -> None:
    a = archiving_any
    a.add(1)
    image = _image(a.program, a.server)
    a.add(2)
    kept = _keep(a.program)
    a.add(3)
    at_time = a.now()
    a.add(4)
    at_lsn = a.one("SELECT pg_current_wal_insert_lsn()")
    a.add(5)
    a.server.sql("SELECT pg_create_restore_point('before six')")
    a.add(6)
    a.archived()
    wanted: dict[tuple[str, ...], list[int]] = {
        ("--to-time", at_time): [1, 2, 3],
        ("--to-lsn", at_lsn): [1, 2, 3, 4],
        ("--to-name", "before six"): [1, 2, 3, 4, 5],
        ("--immediate",): [1, 2],
        (): [1, 2, 3, 4, 5, 6],
    }
    for words, expected in wanted.items():
        with a.restored(*words, snap=kept) as server:
            assert numbers(server) == expected, words
    plan = a.program.do("restore", kept, "--target", a.folder / "x", "--plan", "--json", "--to-time", at_time).value
    assert plan["base"] == kept and not (a.folder / "x").exists()
    out, own = a.folder / "t.sql", ("--programs", a.server.bin)
    a.program.do("restore", kept, "--target", out, "--extract", "postgres.t", "--to-time", at_time, *own)
    assert "\n3\t" in out.read_text() and "\n4\t" not in out.read_text()
    assert a.program("drill", kept, *own).status == 0
    # Once more, after rolls that were not kept.
    a.add(7)
    a.program.do("image-copy", "update", "shop")
    again = _keep(a.program)
    a.add(8)
    a.archived()
    with a.restored(snap=again) as server:
        assert numbers(server) == [*range(1, 9)]
    _remove(a.program, image)


def test_killed_while_it_is_kept(safehold: Program, pg15: Cluster) -> None:
    server = pg15.server
    image = _image(safehold, server)
    for step in range(6):
        server.bench("-t", "200")
        process = safehold.start("image-copy", "update", "shop", "--backup", start_new_session=True)
        while json.loads((image / "image.json").read_text())["phase"] != "rolling" and process.poll() is None:
            time.sleep(0.01)
        while json.loads((image / "image.json").read_text())["phase"] == "rolling" and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.04 * step)
        process.kill()
        process.communicate()
        # Killed while one of the engine's programs looked at it, it still has the name by which that finds it.
        assert any((image / "data/global" / name).exists() for name in ("pg_control.image", "pg_control"))
    kept = _keep(safehold)
    expected = sums(server)
    safehold.do("image-copy", "verify", "shop")
    target = pg15.target()
    safehold.do("restore", kept, "--target", target)
    pg15.prove(target, expected)
    _remove(safehold, image)


def test_the_repository_s_disk_is_full(safehold: Program, pg15: Cluster, tmp_path: Path) -> None:
    server = pg15.server
    image = _image(safehold, server)
    with memory_disk(tmp_path / "disk", "2m") as disk:
        shutil.copytree(safehold.repository, disk / "repository")
        safehold.set(SAFEHOLD_REPO=str(disk / "repository"))
        server.bench("-t", "100")
        failed = safehold("image-copy", "update", "shop", "--backup")
        assert failed.status == 15 and "is full" in failed.err
        assert safehold.do("snapshots", "--json").value["snapshots"] == []
    safehold.set(SAFEHOLD_REPO=str(safehold.repository))
    kept = _keep(safehold)
    expected = sums(server)
    target = pg15.target()
    safehold.do("restore", kept, "--target", target)
    pg15.prove(target, expected)
    _remove(safehold, image)


def test_one_that_cannot_be_right_is_not_kept(safehold: Program, pg15: Cluster) -> None:
    """What was not shut down at its goal, and what has damaged pages."""
    from safehold.core.errors import ImageError
    from safehold.ops.databases.recording import RecordOptions
    from safehold.ops.image_copies.images import Image
    from safehold.ops.image_copies.keeping import keep
    from safehold.ops.image_copies.postgresql_base import _require_fit
    from safehold.ops.image_copies.postgresql_folder import control_in_place
    from safehold.sources.postgresql import controldata

    server = pg15.server
    folder = _image(safehold, server)
    image = Image(folder)
    state = image.load()
    state.phase = "rolling"
    image.save(state)
    with pytest.raises(ImageError, match="in the middle of a roll"):
        keep(opened(safehold), image, RecordOptions())
    state.phase = "ready"
    state.position -= 1 << 20
    image.save(state)
    with pytest.raises(ImageError, match="not shut down where its last roll ended"):
        keep(opened(safehold), image, RecordOptions())
    safehold.do("image-copy", "update", "shop")
    state = image.load()
    with control_in_place(image):
        found = controldata.read(server.bin, image.data)
    _require_fit(found, state)
    with pytest.raises(ImageError, match="from timeline 1 to 2"):
        _require_fit(msgspec.structs.replace(found, reached_timeline=2), state)
    ((path,),) = server.sql("SELECT pg_relation_filepath('pgbench_accounts')")
    with (folder / "data" / str(path)).open("r+b") as file:
        file.seek(8192 * 3 + 4000)
        file.write(b"\xff" * 8)
    assert databases(safehold) == []
    failed = safehold("image-copy", "update", "shop", "--backup")
    assert failed.status == 3 and f"{path}" in failed.err and "block 3" in failed.err
    _remove(safehold, folder)


def test_a_tablespace_made_since_is_refused(safehold: Program, pg15: Cluster) -> None:
    """Rolled over it, the engine would write into the original's folder."""
    server = pg15.server
    image = _image(safehold, server)
    space = server.folder / "later"
    subprocess.run(["install", "-d", "-o", "postgres", "-m", "700", space], check=True)
    server.sql(f"CREATE TABLESPACE later LOCATION '{space}'")
    server.sql("CREATE TABLE in_later TABLESPACE later AS SELECT generate_series(1, 100) n")
    for _ in range(2):
        failed = safehold("image-copy", "update", "shop")
        assert failed.status == 1 and str(space) in failed.err
    safehold.do("image-copy", "verify", "shop")
    server.sql("DROP TABLE in_later")
    server.sql("DROP TABLESPACE later")
    assert str(space) in safehold("image-copy", "update", "shop").err
    _remove(safehold, image)
