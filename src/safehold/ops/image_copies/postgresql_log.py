"""The log that an image copy of PostgreSQL is rolled forward by: brought into its folder, and looked over before it is used.

Three ways lead there.  From a primary: a restore point is made, and a slot of the image's own gives the log up to it.  From a
standby, where no restore point can be made: the slot gives what the standby has, and the goal is the last whole record of that.
From the repository: what is archived, up to its last whole record.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

assert sys.platform != "win32"

import msgspec

from safehold.core.errors import DatabaseFailed, ImageError, LogGap
from safehold.ops.databases.postgresql import reading
from safehold.ops.databases.postgresql.archive import Archive, Base, Piece
from safehold.ops.image_copies.images import Given, Image, State, write_durably
from safehold.ops.image_copies.postgresql_folder import WAL, Tools
from safehold.ops.image_copies.postgresql_recovery import Goal
from safehold.repo.repository import Repository
from safehold.sources.postgresql import records
from safehold.sources.postgresql.client_programs import receive
from safehold.sources.postgresql.connecting import Server, first_line
from safehold.sources.postgresql.controldata import ControlData
from safehold.sources.postgresql.positions import SEGMENT, format_lsn, parse_lsn, segment_name, segment_names
from safehold.sources.postgresql.programs import Account
from safehold.sources.postgresql.wal import history_name, parse_name
from safehold.sources.postgresql.waldump import tablespaces_made

if TYPE_CHECKING:
    from safehold.sources.postgresql.connecting import Session

SLOT, ARCHIVE = "slot", "archive"
PARTIAL = ".partial"
_ROLE = (
    "The user needs the REPLICATION attribute, and wal_level must be `replica` or `logical` with a free max_replication_slots."
)


class Brought(msgspec.Struct, frozen=True):
    """Log that leads to a goal."""

    goal: Goal | None
    """None: nothing is new."""
    shows_ns: int
    """The moment of the original at the goal, by its own clock; 0: not known."""


def begins(control: ControlData) -> int:
    """Where the first segment begins that a recovery needs."""
    return control.redo // control.segment * control.segment


def slot(session: Session, name: str) -> str:
    """A replication slot of an image's own, from now on; made anew if the image's making was interrupted."""
    import psycopg

    slot = "safehold_image_" + "".join(c if c.isascii() and c.isalnum() else "_" for c in name.lower())[:40]
    try:
        session.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s AND NOT active", [slot]
        )
        session.execute("SELECT pg_create_physical_replication_slot(%s, true)", [slot])
    except psycopg.Error as error:
        raise DatabaseFailed(f"No replication slot could be made on the original: {first_line(error)}.", _ROLE) from error
    return slot


def from_server(
    image: Image, state: State, tools: Tools, control: ControlData, session: Session, server: Server, url: str, given: Given
) -> Brought:
    """Receive the log from the original.  Raises ``LogGap``, ``DatabaseFailed``."""

    if server.major < 15:
        _begin_at(image, control, tools.account)

    def bring(end: int) -> None:
        receive(tools.programs, url, state.facts["slot"], image.folder / WAL, end, control.segment, tools.account)

    if not server.standby:
        name = f"safehold_image_{given.clock.now_ns()}"
        target, shows_ns = _mark_point(session, name)
        bring(_end(target, control.segment))
        _require_whole(image, control, target, state.name)
        return Brought(Goal("name", name, target), shows_ns)
    end = _replayed(session)
    if end <= state.position and state.phase == "ready":
        return Brought(None, 0)
    bring(end)
    _require_whole(image, control, end - control.segment, state.name)
    return _to_last_record(image, control, state, end, "latest")


def from_archive(image: Image, state: State, tools: Tools, control: ControlData, repository: Repository) -> Brought:
    """Fetch the log from the repository.  Raises ``LogGap``, ``DamageError``, ``NotPermitted``."""
    cluster = reading.load(repository, state.system)
    archive = cluster.archive
    stop = max(state.position, control.reached)
    whole = image.folder / WAL / segment_name(max(control.timeline, control.reached_timeline), stop - 1, control.segment)
    here = Base(id="", timeline=control.timeline, start=control.redo, stop=stop, stop_ns=0, standby=not whole.exists())
    timeline = archive.newest_timeline(here)
    found = archive.reach(here, timeline)
    pieces = _of_the_way(archive, found.pieces, timeline)
    if found.gap:
        raise LogGap(
            f"The segment {found.missing} of the original's log is missing in the repository, and later ones are there:"
            f" the image copy cannot be rolled beyond {format_lsn(found.end)}.",
            "Nothing was changed. If that segment turns up, archive it; else make the image copy anew.",
        )
    if not pieces:
        return on_hand(image, control, state)
    _fetch(repository, image, archive, pieces, tools.account)
    return _to_last_record(image, control, state, found.end, str(timeline))


def _of_the_way(archive: Archive, pieces: list[Piece], timeline: int) -> list[Piece]:
    """Without a segment in the middle of which the way turns to a timeline of which nothing is archived yet."""
    turn = next((s.start for s in archive.way(timeline) if s.timeline == timeline), 0)
    return [p for p in pieces if p.log.timeline == timeline or p.log.start + archive.segment <= turn]


def _fetch(repository: Repository, image: Image, archive: Archive, pieces: list[Piece], account: Account) -> None:
    """Put into the image's folder what is not there yet."""
    folder = image.folder / WAL
    for each in archive.way(pieces[-1].log.timeline):
        if each.timeline in archive.history_files:
            place = folder / history_name(each.timeline)
            write_durably(place, reading.content(repository, archive.history_files[each.timeline]))
            account.give(place)
    for piece in pieces:
        place = folder / (piece.name + (PARTIAL if piece.log.name.endswith(PARTIAL) else ""))
        if place.suffix or not place.exists():
            write_durably(place, reading.content(repository, piece.stored).ljust(archive.segment, b"\0"))
        account.give(place)


def on_hand(image: Image, control: ControlData, state: State) -> Brought:
    """What is in the image's folder already: the log that came with a new copy."""
    files = [path.name.removesuffix(PARTIAL) for path in (image.folder / WAL).iterdir()]
    last = parse_name(max(files))
    assert last is not None
    return _to_last_record(image, control, state, last.start(control.segment) + control.segment, "latest")


def _to_last_record(image: Image, control: ControlData, state: State, end: int, timeline: str) -> Brought:
    """The goal is the last whole record that is here, before ``end``."""
    segment = control.segment
    shows_ns = 0
    at = (end - 1) // segment * segment
    while at >= begins(control):
        path = _file_at(image, at, segment)
        # What comes after the end may be the beginning of a record of which the rest is not here.
        found = records.scan(path.read_bytes()[: end - at].ljust(segment, b"\0"), path.name) if path else None
        shows_ns = max(shows_ns, found.last_ns if found else 0)
        if found is not None and found.last:
            if found.end <= state.position and state.phase == "ready":
                return Brought(None, 0)
            return Brought(Goal("lsn", format_lsn(found.last), found.end, timeline), shows_ns)
        at -= segment
    return Brought(None, 0)


def _file_at(image: Image, at: int, segment: int) -> Path | None:
    """The file of the newest timeline that holds a position."""
    ending = segment_name(0, at, segment)[8:]
    found = [sorted((image.folder / WAL).glob(f"????????{ending}{more}")) for more in ("", PARTIAL)]
    return next((files[-1] for files in found if files), None)


def _mark_point(session: Session, name: str) -> tuple[int, int]:
    """Make a restore point that the roll goes to: its position, and the moment after it."""
    import psycopg

    query = "SELECT pg_create_restore_point(%s)::text"
    try:
        session.execute("CHECKPOINT")  # else the copy would have to replay again from the one before, each time
        row = session.execute(query, [name]).fetchone()
        now = session.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").fetchone()
        session.execute("SELECT pg_switch_wal()")
    except psycopg.Error as error:
        raise DatabaseFailed(
            f"The original let no restore point be made: {first_line(error)}.",
            "The user needs `GRANT pg_checkpoint`, and EXECUTE on pg_create_restore_point and pg_switch_wal.",
        ) from error
    assert row is not None and now is not None
    return parse_lsn(str(row[0])), int(str(now[0])) * 1000


def _begin_at(image: Image, control: ControlData, account: Account) -> None:
    """Have the first segment that is needed be received first: before 15, `pg_receivewal` does not ask where its slot stands."""
    folder = image.folder / WAL
    if not any(SEGMENT.match(path.name.encode()) for path in folder.iterdir()):
        first = folder / (segment_name(control.timeline, begins(control), control.segment) + PARTIAL)
        first.touch(0o600)
        account.give(first)


def _replayed(session: Session) -> int:
    """How far a standby has got."""
    row = session.execute("SELECT pg_last_wal_replay_lsn()::text").fetchone()
    assert row is not None
    return parse_lsn(str(row[0]))


def _end(position: int, segment: int) -> int:
    """Where the segment that holds a position ends."""
    return (position - 1) // segment * segment + segment


def _require_whole(image: Image, control: ControlData, target: int, name: str) -> None:
    """Every segment from the redo point to the target is there, of any timeline.  Raises ``LogGap``."""
    have = {path.name[8:] for path in (image.folder / WAL).iterdir() if SEGMENT.fullmatch(path.name.encode())}
    for segment in segment_names(control.timeline, begins(control), _end(target, control.segment), control.segment):
        if segment[8:] not in have:
            raise LogGap(
                f"The segment {segment} of the original's log is missing: the image copy {name} cannot be rolled"
                f" from {format_lsn(control.redo)} to {format_lsn(target)}.",
                "It was not kept for the image. Make the image copy anew.",
            )


def require_no_tablespace(image: Image, state: State, tools: Tools, control: ControlData, goal: Goal) -> None:
    """No tablespace is made on the way: the engine would make it where the original has it, and write there.

    Raises ``ImageError``; ``DatabaseFailed`` where the log can't be followed to the goal.
    """
    places = range(begins(control), goal.end, control.segment)
    files = {at: path for at in places if (path := _file_at(image, at, control.segment))}
    made = tablespaces_made(tools.programs, files, control.segment, control.redo, goal.end, tools.account)
    for number, place in made:
        raise ImageError(
            f"The original has made a tablespace in {place} (number {number}): rolled forward, {state.name} would write there.",
            "Nothing was changed. Make the image copy anew: it then has a folder of its own for it.",
        )


def drop_old(image: Image, control: ControlData) -> None:
    """Remove the log from before the redo point: what is left is what the next recovery replays."""
    first = segment_name(control.timeline, control.redo, control.segment)[8:]
    for path in (image.folder / WAL).iterdir():
        name = path.name.removesuffix(PARTIAL)
        is_passed = path.name != name and path.with_name(name).exists()
        if SEGMENT.fullmatch(name.encode()) and (name[8:] < first or is_passed):
            path.unlink()
