"""Image copies of MariaDB: incremental backups laid over a full one, again and again.  ``docs/image-copies.md``."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

assert sys.platform != "win32"

import msgspec

from safehold.core.errors import DamageError, DatabaseFailed, ImageError, UsageError
from safehold.core.events import Note
from safehold.ops.backup.memory import Memory
from safehold.ops.databases.assembly import Assembly
from safehold.ops.databases.mariadb import state as states
from safehold.ops.databases.mariadb import storing
from safehold.ops.databases.mariadb.backup import facts_of
from safehold.ops.databases.mariadb.restore import hand_over
from safehold.ops.databases.recording import Filled
from safehold.ops.image_copies.cloning import cloned
from safehold.ops.image_copies.images import DATA, Given, Image, State, write_durably
from safehold.ops.image_copies.keeping import by_page
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Database
from safehold.sources import database_url
from safehold.sources.mariadb import pages, private, taking, xbstream
from safehold.sources.mariadb import server as servers
from safehold.sources.mariadb.connecting import Address, Connection, address, connect, rows
from safehold.sources.mariadb.private import Private
from safehold.sources.mariadb.server import Server
from safehold.sources.mariadb.taking import CHECKPOINTS, Taken, Taking, take
from safehold.sources.mariadb.unpacking import unpack
from safehold.sources.open_files import users
from safehold.storage.filesystem import flush_folder

DEEP_ON_CLONE = True
ENGINE = "mariadb"
DELTA = "delta"
"""The stream of the last incremental, kept until the roll is over: laying it over the copy uses up what was extracted from it."""
EXTRACTED = "delta.d"
BEFORE = "checkpoints"
"""What the copy said of itself before the roll.  A roll that was cut off is done again from there: the engine writes its own note
before it has put the last files in place, and would refuse."""
READING = "reading"
TABLES = "tables"
"""Which table was in each tablespace when the last roll began: one imported since is in no incremental."""
PARALLEL = 2
_MARKED = ("ibdata1", "ib_logfile0", "aria_log_control", CHECKPOINTS)
_OPENED = ("multi-master.info", "ddl_recovery.log", "ddl_recovery-backup.log", "ibtmp1")
"""Files that a server makes, and the backup program does not."""
_ANEW = "Make the image copy anew."
_AGAIN = "`safehold image-copy update` tries it again; if it goes on like this, make the image copy anew."


class Open(msgspec.Struct, frozen=True):
    """A private server that runs."""

    url: str
    environment: dict[str, str]


def create(image: Image, state: State, source: str, given: Given) -> State:
    """Make the copy.  Raises ``DatabaseUnreachable``, ``DatabaseFailed``, ``TargetError``."""
    where = _address(source)
    with closing(connect(where)) as connection:
        server = servers.ask(connection)
        _require_mariadb(server, where)
        servers.checkpoint(connection)
        tables = servers.tables(connection)
    image.data.mkdir(mode=0o700, exist_ok=True)
    _give(image, server)
    state.system, state.version = _system(server, where), server.version
    with take(where, server, PARALLEL) as stream:
        unpack(stream, image.data)
        taken = stream.taken
    state.rolled_ns = given.clock.now_ns()
    _write_tables(image, tables)
    given.report(Note(message="Preparing the copy."))
    private.prepare(image.data, ENGINE, server.version, hint="Run it again.")
    return _done(image, state, where, server, taken)


def update(image: Image, state: State, source: str, given: Given) -> State:
    """Roll the copy forward to now.  A crash, or a full disk, at any point costs at most what this does."""
    settle(image, state)
    where = _address(source)
    with closing(connect(where)) as connection:
        server = servers.ask(connection)
        _require_same(connection, server, where, state)
        servers.checkpoint(connection)
        tables = _require_no_import(image, connection, where)
    delta, since = image.folder / DELTA, _position(image)
    try:
        with delta.open("wb") as file:
            with take(where, server, PARALLEL, since=since, keep=file) as stream:
                for _ in stream:
                    pass
                taken = stream.taken
            file.flush()
            os.fsync(file.fileno())
        if taken.checkpoints.get("from_lsn") != str(since):
            raise DatabaseFailed(f"The incremental does not begin at {since}, where the copy ends.", "Run it again.")
        with closing(connect(where)) as connection:
            _require_no_import(image, connection, where)
        given.report(Note(message=f"Rolling {state.name} forward by {delta.stat().st_size:,} bytes."))
        _extract(image)
        write_durably(image.folder / BEFORE, (image.data / CHECKPOINTS).read_bytes())
    except BaseException:
        _clear(image)
        raise
    state.phase = "rolling"
    state.facts |= facts_of(server, taken) | {"moment": str(given.clock.now_ns())}
    image.save(state)
    _lay_over(image, state)
    _write_tables(image, tables)
    return state


def settle(image: Image, state: State) -> None:
    """Finish a roll that was cut off, and see to it that nobody opened the copy otherwise.  Raises ``ImageError``."""
    _drop_reading(image)
    if any((image.data / name).exists() for name in _OPENED) or (state.phase != "rolling" and _mark(image) != state.mark):
        raise ImageError(
            f"{state.name} was opened otherwise since its last roll; it is no copy of the original any more.", "Make it anew."
        )
    if state.phase != "rolling":
        _clear(image)
        return
    write_durably(image.data / CHECKPOINTS, (image.folder / BEFORE).read_bytes())
    _extract(image)
    _lay_over(image, state)


@contextmanager
def opened(image: Image, state: State) -> Iterator[Open]:
    """A clone that is gone afterwards, for reading: a server changes the files even if nobody writes."""
    settle(image, state)
    scratch = image.folder / READING
    try:
        clone = cloned(image, scratch)
        with private.running(clone.data, ENGINE, state.version, state.facts) as server:
            rows(server.admin, "set global read_only = 1")
            rows(server.admin, "set global tx_read_only = 1")
            yield _open(server)
    finally:
        _drop_reading(image)


@contextmanager
def promoted(clone: Image, state: State) -> Iterator[Open]:
    """A clone of the image, open for writing."""
    with private.running(clone.data, ENGINE, state.version, state.facts) as server:
        yield _open(server)


def relocate(image: Image, clone: Image) -> None:
    """Nothing in a data folder says where it lies."""
    del image, clone


def verify(image: Image, state: State) -> None:
    """Every page's checksum.  Raises ``DamageError`` that names the first file, ``ImageError``."""
    settle(image, state)
    for path in [*sorted(image.data.glob("undo[0-9]*")), *_tables(image.data)]:
        pages.check(path)
    size = int(state.facts.get("innodb_page_size", pages.PAGE))
    for first, last in pages.beside_doublewrite(image.data / "ibdata1", size):
        pages.check(image.data / "ibdata1", first, last)


def verify_deep(clone: Image, state: State) -> None:
    """Every index of every table, by a server on a clone.  Raises ``DamageError``."""
    with private.running(clone.data, ENGINE, state.version, state.facts) as server:
        count, problems = server.check("extended")
    if problems:
        raise DamageError(
            f"{len(problems)} of {count} tables of {state.name} are not as they should be: {problems[0].rstrip('.')}.",
            "Look into the original as well: it may be damaged there.",
        )


def public(source: str) -> str:
    """A source without its password."""
    return database_url.parse(source).public


def give_up(source: str, state: State) -> None:
    """The original keeps nothing for the image."""
    del source, state


def lineage(state: State) -> str:
    """Snapshots of the image and of its original are compared with each other: most of their pages are alike."""
    return state.system


def filling(repository: Repository, image: Image, state: State) -> Callable[[Assembly, Memory], Filled]:
    """What puts the image together as a base.  Raises ``ImageError``."""
    settle(image, state)
    page = int(state.facts.get("innodb_page_size", pages.PAGE))
    return by_page(image, _described(repository, state), lambda name: storing.page_of(name, page))


def _described(repository: Repository, state: State) -> Database:
    """What a snapshot says of the image: which binary log leads on from it, too."""
    facts = {name: value for name, value in state.facts.items() if name != "programs"} | {"image": "yes"}
    number = servers.number_of(facts["binlog"]) if "binlog" in facts else 0
    start = number << 32
    return Database(
        engine=ENGINE,
        system=state.system,
        name=state.source,
        version=state.version,
        method="image-copy",
        timeline=states.timeline_of(states.load(repository, state.system), number, int(facts.get("binlog_created", 0))),
        start=start,
        stop=start | int(facts.get("position", 0)),
        stop_ns=state.rolled_ns,
        facts=facts,
    )


def _address(source: str) -> Address:
    url = database_url.parse(source)
    if url.database:
        raise UsageError(f"An image copy holds the whole server, not only {url.database}.", "Leave the name out.")
    return address(url, os.environ)


def _system(server: Server, where: Address) -> str:
    return server.system(where.url.query.get("system", ""))


def _require_mariadb(server: Server, where: Address) -> None:
    if server.engine != ENGINE:
        raise UsageError(
            f"{where.url.public} is a MySQL server: image copies are made of MariaDB.", "`safehold backup` takes bases."
        )


def _require_same(connection: Connection, server: Server, where: Address, state: State) -> None:
    """The server is the one that the copy is of, and its history goes on from there."""
    _require_mariadb(server, where)
    name = where.url.public
    if _system(server, where) != state.system:
        raise ImageError(
            f"{name} is another database than {state.name} is a copy of.", "Name the right one, or make a new image copy."
        )
    if server.series != servers.series(state.version):
        raise ImageError(f"The original was upgraded from {state.version} to {server.version}.", "Make a new image copy.")
    ((_, now),) = rows(connection, "show global status like 'Innodb_lsn_current'")
    if int(now) < int(state.facts["last_lsn"]) or _is_rewound(connection, server, state):
        raise ImageError(
            f"{name} was set back to a time before the last roll of {state.name}: its history is another by now.",
            "Make a new image copy; until then, the old one shows what the original has lost.",
        )


def _require_no_import(image: Image, connection: Connection, where: Address) -> dict[int, int]:
    """The tables that there are.  Raises ``ImageError`` where the file of one was exchanged for another since the last roll.

    ``ALTER TABLE ... IMPORT TABLESPACE`` writes pages whose log position says that they are old: the backup program leaves
    them out of incrementals without a word.
    """
    now = servers.tables(connection)
    try:
        before = msgspec.msgpack.decode((image.folder / TABLES).read_bytes(), type=dict[int, int])
    except FileNotFoundError:
        return now
    if any(now.get(space, table) != table for space, table in before.items()):
        raise ImageError(f"A table of {where.url.public} was imported since the last roll, and incrementals leave it out.", _ANEW)
    return now


def _write_tables(image: Image, tables: dict[int, int]) -> None:
    write_durably(image.folder / TABLES, msgspec.msgpack.encode(tables))


def _is_rewound(connection: Connection, server: Server, state: State) -> bool:
    """Whether the binary log says that the copy has seen a state that is not in the server's past."""
    name = state.facts.get("binlog", "")
    if not name or not server.has_log:
        return False
    logs = {log.name: log.size for log in servers.binlogs(connection)}
    if name in logs:
        created = facts_of(server, Taken({}, {}, name, 0, "")).get("binlog_created", "")
        another = created != state.facts.get("binlog_created", created)
        return another or logs[name] < int(state.facts["position"])
    return bool(logs) and max(map(servers.number_of, logs)) < servers.number_of(name)


def _give(image: Image, server: Server) -> None:
    """The folders belong to whom the original's belong: the private server runs as that user."""
    try:
        found = os.stat(server.variables["datadir"])
    except (OSError, KeyError):
        return
    if os.geteuid() == 0:
        for folder in (image.folder, image.data):
            os.chown(folder, found.st_uid, found.st_gid)


def _extract(image: Image) -> None:
    """Extract the incremental anew: what was extracted before may have been used up."""
    shutil.rmtree(image.folder / EXTRACTED, ignore_errors=True)
    with (image.folder / DELTA).open("rb") as file:
        stream = Taking(xbstream.chunks(file.read))
        unpack(stream, image.folder / EXTRACTED)
        _ = stream.taken


def _lay_over(image: Image, state: State) -> None:
    extracted = image.folder / EXTRACTED
    expected, moved = _expected(extracted)
    private.prepare(image.data, ENGINE, state.version, incremental=extracted, hint=_AGAIN)
    lost = expected - {str(path.relative_to(image.data)) for path in _tables(image.data)}
    if lost and not moved:
        raise ImageError(f"After the roll, {sorted(lost)[0]} is not in the copy.", _ANEW)
    state.rolled_ns = int(state.facts.pop("moment"))
    _finish(image, state)


def _expected(extracted: Path) -> tuple[set[str], bool]:
    """The tables that an incremental speaks of, and whether some were renamed or dropped while it was taken."""
    found, moved = set(), False
    for path in extracted.rglob("*"):
        name = str(path.relative_to(extracted))
        if name.endswith((".ibd.delta", ".ibd", ".new")):
            found.add(name.removesuffix(".delta").removesuffix(".new").removesuffix(".ibd") + ".ibd")
        moved |= name.endswith((".ren", ".del"))
    return found, moved


def _tables(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.ibd"))


def _done(image: Image, state: State, where: Address, server: Server, taken: Taken) -> State:
    state.facts |= facts_of(server, taken)
    _finish(image, state)
    return state


def _finish(image: Image, state: State) -> None:
    """The copy is what it should be, on the disk: keep by what that is known later."""
    like = image.data.stat()
    if os.geteuid() == 0:
        os.chown(image.data / "ibdata1", like.st_uid, like.st_gid)
    hand_over(image.data)
    _sync(image.data)
    state.position, state.mark, state.phase = _position(image), _mark(image), "ready"
    state.rolls += 1
    image.save(state)
    _clear(image)


def _sync(folder: Path) -> None:
    """What programs wrote below a folder is on the disk when this returns."""
    done = subprocess.run(["sync", "-f", str(folder)], capture_output=True, check=False) if shutil.which("sync") else None
    if done is None or done.returncode != 0:
        os.sync()


def _drop_reading(image: Image) -> None:
    """Remove the clone that was read, and end the server on it, if what started that was killed."""
    with suppress(FileNotFoundError):
        for pid in users(image.folder / READING / DATA / "ibdata1"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    shutil.rmtree(image.folder / READING, ignore_errors=True)


def _clear(image: Image) -> None:
    """Remove what a roll needs only while it lasts."""
    for name in (DELTA, BEFORE):
        (image.folder / name).unlink(missing_ok=True)
    shutil.rmtree(image.folder / EXTRACTED, ignore_errors=True)
    flush_folder(str(image.folder))


def _position(image: Image) -> int:
    """InnoDB's log position from which the next incremental is taken.  Raises ``ImageError``."""
    try:
        return int(taking.settings((image.data / CHECKPOINTS).read_bytes())["to_lsn"])
    except (OSError, KeyError, ValueError) as error:
        raise ImageError(f"{image.data / CHECKPOINTS} does not say where the copy stands.", _ANEW) from error


def _mark(image: Image) -> str:
    """What any server that is started on the copy changes."""
    found = [path.stat() if (path := image.data / name).exists() else None for name in _MARKED]
    return " ".join(f"{one.st_size}:{one.st_mtime_ns}" if one else "-" for one in found)


def _open(server: Private) -> Open:
    socket = str(server.socket)
    return Open(f"mariadb://root@/?socket={socket}", {"MYSQL_UNIX_PORT": socket})
