"""Recovery to a moment, on real servers: each kind of target, across a promotion and back, gaps, and what is not archived yet."""

from __future__ import annotations

from postgres_archiving import Archiving, numbers


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
