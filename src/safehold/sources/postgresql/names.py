"""Which files of a data directory a base holds: the rules of ``src/backend/backup/basebackup.c``.

Paths are relative to the data directory; the files of a tablespace lie in ``pg_tblspc/OID/PG_.../``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

PAGE = 8192
"""Bytes of a page, unless the server was compiled otherwise."""
EMPTY_FOLDERS = frozenset(
    (
        b"pg_stat_tmp pg_replslot pg_dynshmem pg_notify pg_serial pg_snapshots pg_subtrans pg_wal/archive_status pg_wal/summaries"
    ).split()
)
"""Folders whose contents the server makes anew when it starts; of the log, only what the base needs is kept."""
_LEFT_OUT = frozenset(
    (
        b"postmaster.pid postmaster.opts postgresql.auto.conf.tmp current_logfiles.tmp backup_label backup_label.old "
        b"tablespace_map tablespace_map.old backup_manifest lost+found safehold-restore"
    ).split()
)
_RELATION = re.compile(rb"(?:base/[0-9]+|global|pg_tblspc/[0-9]+/PG_[^/]+/[0-9]+)/([0-9]+)(_fsm|_vm|_init)?(?:\.([0-9]+))?")
_TEMPORARY = re.compile(rb"t[0-9]+_[0-9]+(?:_fsm|_vm|_init)?(?:\.[0-9]+)?")
_IN_DATABASE = re.compile(rb"base/[0-9]+|pg_tblspc/[0-9]+/PG_[^/]+/[0-9]+")


def is_left_out(folder: bytes, name: bytes) -> bool:
    """Whether a name in a folder is of no use after a restore.  Unlogged relations: see ``unlogged``."""
    if name.startswith((b"pgsql_tmp", b"pg_internal.init")):
        return True
    if not folder:
        return name in _LEFT_OUT
    return folder in EMPTY_FOLDERS or (is_database(folder) and _TEMPORARY.fullmatch(name) is not None)


def is_database(folder: bytes) -> bool:
    """Whether the files of a database's relations lie in that folder."""
    return _IN_DATABASE.fullmatch(folder) is not None


def unlogged(names: Iterable[bytes]) -> frozenset[bytes]:
    """The numbers of unlogged relations in a folder: after a recovery they begin anew from their ``_init`` fork."""
    return frozenset(name[:-5] for name in names if name.endswith(b"_init"))


def is_reset(name: bytes, numbers: frozenset[bytes]) -> bool:
    """Whether a file is one of an unlogged relation (``unlogged``) that the recovery makes anew."""
    number = re.match(rb"[0-9]+", name)
    return number is not None and number[0] in numbers and not name.endswith(b"_init")


def relation(path: bytes) -> int | None:
    """Of a file of a relation's pages: the number of its segment (of 1 GiB, mostly).  None for all else."""
    found = _RELATION.fullmatch(path)
    return None if found is None else int(found[3] or b"0")
