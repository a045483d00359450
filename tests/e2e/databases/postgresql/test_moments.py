"""Recovery to a moment, on real servers: each kind of target, across a promotion and back, gaps, and what is not archived yet."""

from __future__ import annotations

import time

import psycopg
import pytest
from postgres_archiving import Archiving, numbers
from postgres_servers import NEW, OLD


def test_every_kind_of_target(archiving_any: Archiving) -> None:
    a = archiving_any
    a.add(1)
    a.base()
    a.add(2)
    at_time = a.now()
    a.add(3)
    at_lsn = a.one("SELECT pg_current_wal_insert_lsn()")
    a.server.sql("SELECT pg_switch_wal()")
    a.add(4)
    a.server.sql("SELECT pg_create_restore_point('before five')")
    a.add(5)
    xid = a.one("INSERT INTO t (n) VALUES (6) RETURNING pg_current_xact_id()")
    a.add(7)
    a.archived()
    wanted = {
        ("--to-time", at_time): [1, 2],
        ("--to-lsn", at_lsn): [1, 2, 3],
        ("--to-name", "before five"): [1, 2, 3, 4],
        ("--to-xid", xid): [1, 2, 3, 4, 5, 6],
        ("--to-xid", xid, "--exclusive"): [1, 2, 3, 4, 5],
        ("--immediate",): [1],
        (): [1, 2, 3, 4, 5, 6, 7],
    }
    for words, expected in wanted.items():
        with a.restored(*words) as server:
            assert numbers(server) == expected, words
            assert server.sql("SHOW archive_mode") == [("off",)]
            assert server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")[0][0][:8] == "00000002"
            assert not (server.data / "safehold_wal").exists()


def test_across_a_promotion_and_back(archiving: Archiving) -> None:
    """A restored server archives as timeline 2; the repository then leads to both."""
    a = archiving
    a.add(1)
    first = a.base()
    a.add(2)
    between = a.now()
    a.add(3)
    a.archived()
    with a.restored("--to-time", between, name="second", start=False) as second:
        a.start(second, "-c", "archive_mode=on")
        second.sql("INSERT INTO t (n) VALUES (20)")
        name = str(second.sql("SELECT pg_walfile_name(pg_switch_wal())")[0][0])
        a.wait_for(name)
        a.upload()
    with a.restored(snap=first) as server:
        assert numbers(server) == [1, 2, 20]
    with a.restored("--timeline", "1", snap=first) as server:
        assert numbers(server) == [1, 2, 3]
        assert server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")[0][0][:8] == "00000003"
    plan = a.program.do("restore", "latest", "--target", a.folder / "x", "--plan", "--json").value
    assert (plan["timeline"], plan["timelines"]) == (2, [1, 2])
    assert not (a.folder / "x").exists()
    refused = a.program("restore", "latest", "--target", a.folder / "x", "--timeline", "7")
    assert refused.status == 2 and "Timeline 7" in refused.err


def test_gaps_are_named_and_not_passed(archiving: Archiving) -> None:
    a = archiving
    a.add(1)
    a.base()
    names = []
    for number in range(2, 6):
        a.add(number)
        names.append(a.one("SELECT pg_walfile_name(pg_switch_wal())"))
    late = a.now()
    a.add(6)
    last = a.one("SELECT pg_walfile_name(pg_switch_wal())")
    a.wait_for(last)
    whole = {name: (a.spool / "segments" / name).read_bytes() for name in [*names, last]}
    (a.spool / "segments" / names[1]).unlink()
    a.upload()
    refused = a.program("restore", "latest", "--target", a.folder / "x", "--to-time", late)
    assert refused.status == 1 and names[1] in refused.err and "missing" in refused.err
    assert not (a.folder / "x").exists()
    with a.restored() as server:
        assert numbers(server) == [1, 2]
    listed = a.program("db", "status", "--json", "--spool", a.spool)
    assert listed.status == 16 and listed.value["databases"][0]["gaps"] == [{"first": names[1], "last": names[1]}]  # type: ignore[index]
    assert names[1] in a.program.do("snapshots").out
    # The file is found again: the gap closes.
    (a.spool / "segments" / names[1]).write_bytes(whole[names[1]])
    a.upload()
    with a.restored("--to-time", late) as server:
        assert numbers(server) == [1, 2, 3, 4, 5]
    # The last one is not archived yet.
    a.add(7)
    refused = a.program("restore", "latest", "--target", a.folder / "x", "--to-time", a.now())
    assert refused.status == 1 and "not in the archive" in refused.err


def test_a_gap_at_the_first_and_the_last_segment(archiving: Archiving) -> None:
    a = archiving
    a.base()
    a.add(1)
    first = a.one("SELECT pg_walfile_name(pg_switch_wal())")
    a.add(2)
    second = a.one("SELECT pg_walfile_name(pg_switch_wal())")
    point = a.now()
    a.add(3)
    last = a.one("SELECT pg_walfile_name(pg_switch_wal())")
    a.wait_for(last)
    kept = {name: (a.spool / "segments" / name).read_bytes() for name in (first, last)}
    for name in kept:
        (a.spool / "segments" / name).unlink()
    a.upload()
    refused = a.program("restore", "latest", "--target", a.folder / "x", "--to-time", point)
    assert refused.status == 1 and f"{first} is missing" in refused.err
    (a.spool / "segments" / first).write_bytes(kept[first])
    a.upload()
    refused = a.program("restore", "latest", "--target", a.folder / "x", "--to-time", point)
    assert refused.status == 1 and f"{last} would be next" in refused.err
    with a.restored() as server:
        assert numbers(server) == [1, 2]
    assert second


def test_the_server_fetches_its_log_itself(archiving: Archiving) -> None:
    """With --wal fetch; a store that does not answer stops the recovery, and it does not end early."""
    a = archiving
    a.add(1)
    a.base()
    for number in range(2, 8):
        a.add(number)
        a.server.sql("SELECT pg_switch_wal()")
    a.archived()
    target = a.folder / "f"
    a.program.do("restore", "latest", "--target", target, "--wal", "fetch")
    conf = target / "postgresql.auto.conf"
    text = conf.read_text()
    assert "archive-get" in text and str(a.program.key) in text
    command = text.split("archive-get", 1)[1].split("'")[0].replace('"%f"', "%f").replace('"%p"', "%p").replace('"', "")
    conf.write_text(text + f"restore_command = '{a.errands.script} pg archive-get {command}'\n")
    away = a.program.repository.rename(a.program.repository.with_name("away"))
    server = type(a.server)(a.folder, a.server.major, "f")
    server.start("-c", f"unix_socket_directories={server.sockets}", wait=False)
    assert server.wait_ended() != 0
    assert "could not restore file" in server.log.read_text()
    away.rename(a.program.repository)
    a.start(server)
    assert numbers(server) == [1, 2, 3, 4, 5, 6, 7]
    server.stop()


def test_a_base_alone_is_restored_to_its_end(archiving: Archiving) -> None:
    a = archiving
    a.server.sql("ALTER SYSTEM SET recovery_target_name = 'stale'")
    a.server.sql("ALTER SYSTEM SET primary_conninfo = 'host=nowhere'")
    a.add(1)
    a.base()
    a.add(2)
    with a.restored() as server:
        assert numbers(server) == [1]
        assert server.sql("SHOW primary_conninfo") == [("",)]


def test_an_older_base_for_an_earlier_time(archiving: Archiving) -> None:
    a = archiving
    a.add(1)
    first = a.base()
    a.add(2)
    early = a.now()
    a.add(3)
    second = a.base()
    a.add(4)
    a.archived()
    plan = a.program.do("restore", "latest", "--target", a.folder / "x", "--to-time", early, "--plan")
    assert first[:8] in plan.out and f"{second[:8]}, was finished after" in plan.out
    refused = a.program("restore", second[:12], "--target", a.folder / "x", "--to-time", early)
    assert refused.status == 1 and first[:8] in refused.err
    with a.restored("--to-time", early) as server:
        assert numbers(server) == [1, 2]
    refused = a.program("restore", "latest", "--target", a.folder / "x", "--to-time", "2020-01-01 12:00")
    assert refused.status == 1 and "no older base" in refused.err


def test_what_the_server_does_when_it_has_arrived(archiving: Archiving) -> None:
    a = archiving
    a.add(1)
    a.base()
    a.add(2)
    moment = a.now()
    a.add(3)
    a.archived()
    to = ("--to-time", moment, "--action")
    with a.restored(*to, "pause", start=False) as server:
        server.start("-c", f"unix_socket_directories={server.sockets}")
        for _ in range(200):
            if server.sql("SELECT pg_is_wal_replay_paused()") == [(True,)] and numbers(server) == [1, 2]:
                break
            time.sleep(0.05)
        assert numbers(server) == [1, 2]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            server.sql("INSERT INTO t (n) VALUES (9)")
        assert (server.data / "safehold_wal").exists()
        server.sql("SELECT pg_wal_replay_resume()")
        a.wait_promoted(server)
        server.sql("INSERT INTO t (n) VALUES (9)")
        assert numbers(server) == [1, 2, 9] and not (server.data / "safehold_wal").exists()
    with a.restored(*to, "shutdown", start=False) as server:
        for _ in range(2):  # until its target or its action is another one
            server.start("-c", f"unix_socket_directories={server.sockets}", wait=False)
            assert server.wait_ended() == 0
            assert "shut down in recovery" in server.run("pg_controldata", "-D", server.data).stdout
        a.start(server, "-c", "recovery_target_action=promote")
        assert numbers(server) == [1, 2]
        assert server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")[0][0][:8] == "00000002"


def test_segments_of_64_mib(archiving_64: Archiving) -> None:
    a = archiving_64
    a.add(1)
    a.base()
    a.add(2)
    moment = a.now()
    a.server.sql("SELECT pg_switch_wal()")
    a.add(3)
    position = a.one("SELECT pg_current_wal_insert_lsn()")
    a.add(4)
    a.archived()
    for words, expected in {("--to-time", moment): [1, 2], ("--to-lsn", position): [1, 2, 3]}.items():
        with a.restored(*words) as server:
            assert numbers(server) == expected, words
            assert server.sql("SHOW wal_segment_size") == [("64MB",)]
    image = a.folder / "large"
    a.program.set(SAFEHOLD_STATE_DIR=str(a.program.folder / "state"))
    a.program.do("image-copy", "create", "large", a.server.url, "--target", image)
    a.add(5)
    kept = str(a.program.do("image-copy", "update", "large", "--backup", "--json").value["snapshot"])
    a.add(6)
    a.archived()
    with a.restored(snap=kept) as server:
        assert numbers(server) == [1, 2, 3, 4, 5, 6]
    a.program.do("image-copy", "remove", "large")


@pytest.mark.parametrize("archiving_any", [OLD, pytest.param(NEW, marks=pytest.mark.soak)], indirect=True)
def test_a_time_when_an_idle_server_had_done_its_last_transaction(archiving_any: Archiving) -> None:
    a = archiving_any
    a.add(1)
    a.base()
    a.add(2)
    early = a.now()
    time.sleep(1.1)  # a checkpoint's time is in whole seconds
    a.server.sql("CHECKPOINT")
    late = a.now()
    a.archived()
    out = a.folder / "x"
    plan = a.program.do("restore", "latest", "--target", out, "--to-time", early, "--plan")
    assert "all of the log is recovered" in plan.out
    for words in (["--action", "pause"], ["--action", "shutdown"], ["--wal", "fetch"]):
        refused = a.program("restore", "latest", "--target", out, "--to-time", early, *words)
        assert refused.status == 2 and f"Leave out {' '.join(words)}." in refused.err
    with a.restored("--to-time", early) as server:
        assert numbers(server) == [1, 2]
        assert server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")[0][0][:8] == "00000002"
    refused = a.program("restore", "latest", "--target", out, "--to-time", late)
    assert refused.status == 1 and "CHECKPOINT" in refused.err
    assert not out.exists()
    a.add(3)
    a.archived()
    with a.restored("--to-time", late, "--action", "promote") as server:
        assert numbers(server) == [1, 2]
