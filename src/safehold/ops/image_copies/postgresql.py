"""Image copies of PostgreSQL: the engine's own recovery, carried out on a folder again and again.  ``docs/image-copies.md``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

assert sys.platform != "win32"

from safehold.core.clock import Clock
from safehold.core.errors import DamageError, DatabaseFailed, ImageError, LogGap, TargetError, UsageError
from safehold.core.events import Note, Reporter
from safehold.ops.image_copies.images import Image, State
from safehold.sources.postgresql import controldata, private, programs
from safehold.sources.postgresql.client_programs import receive, take_base
from safehold.sources.postgresql.connecting import Server, connect, first_line, inquire, public_name
from safehold.sources.postgresql.controldata import ControlData
from safehold.sources.postgresql.positions import SEGMENT, format_lsn, parse_lsn, segment_name, segment_names
from safehold.storage.filesystem import flush_folder

if TYPE_CHECKING:
    from safehold.sources.postgresql.connecting import Session

CONTROL = Path("global/pg_control")
ASIDE = Path("global/pg_control.image")
"""What the control file is called while nothing is done to the image, so that no server starts on it by mistake."""
SIGNAL = "recovery.signal"
WAL = "wal"
DOWN = "shut down in recovery"
DEEP_ON_CLONE = True
RECOVERING = (DOWN, "in archive recovery", "in crash recovery")
"""How a control file reads in the middle of a recovery, and after one that was shut down."""


def create(image: Image, state: State, url: str, clock: Clock, report: Reporter) -> State:
    """Make the copy and roll it to now.  Raises ``ImageError``, ``DatabaseFailed``, ``DatabaseUnreachable``."""
    with connect(url) as session:
        server = inquire(session)
        _require_primary(server, url)
        folder = programs.find(server.major, state.facts.get("programs", ""))
        account = programs.account(image.folder)
        _make_folders(image, account)
        state.system, state.version = server.system, server.version
        state.facts |= {
            "programs": str(folder),
            "major": str(server.major),
            "owner": server.superuser or "postgres",
            "slot": _slot(session, state),
        }
        image.save(state)
        spaces = {str(path): image.folder / "tablespaces" / str(oid) for oid, path in session.execute(_TABLESPACES).fetchall()}
        take_base(folder, url, image.data, spaces, account)
    (image.data / SIGNAL).touch()
    account.give(image.data / SIGNAL)
    _put_aside(image)
    return update(image, state, url, clock, report)


def update(image: Image, state: State, url: str, clock: Clock, report: Reporter) -> State:
    """Roll the copy forward to now.  A crash, or a full disk, at any point costs at most what this does."""
    tools = _Tools(image, state)
    private.end_stale(image.data)
    with connect(url) as session, _control_in_place(image):
        server = inquire(session)
        _require_same(server, state, url)
        before = controldata.read(tools.programs, image.data)
        _require_untouched(before, state)
        state.phase = "rolling"
        image.save(state)
        name = f"safehold_image_{clock.now_ns()}"
        target = _mark_point(session, name)
        rolled_ns = clock.now_ns()
        first = parse_segment(before, server.segment)
        receive(
            tools.programs,
            url,
            state.facts["slot"],
            image.folder / WAL,
            _end(target, server.segment),
            server.segment,
            tools.account,
        )
    with _control_in_place(image):
        _require_whole(image, before, first, target, server.segment)
        report(Note(message=f"Rolling {state.name} forward to {format_lsn(target)}."))
        after = _replay(image, tools, before, name, target)
        state.position, state.redo, state.timeline, state.mark = target, after.redo, after.timeline, after.mark
        state.rolled_ns, state.rolls, state.phase = rolled_ns, state.rolls + 1, "ready"
        state.facts["point"] = name
        state.facts["segment"] = str(server.segment)
    image.save(state)
    _drop_old(image, after)
    return state


@contextmanager
def opened(image: Image, state: State) -> Iterator[private.PrivateServer]:
    """The image, open for reading at the point that it was rolled to; the next roll goes on from there."""
    tools = _Tools(image, state)
    private.end_stale(image.data)
    with _control_in_place(image):
        before = controldata.read(tools.programs, image.data)
        _require_untouched(before, state)
        state.phase = "reading"
        image.save(state)
        settings = {"recovery_target_action": "pause", **_recovery(image, before, state.facts["point"])}
        try:
            with private.running(
                tools.programs, image.data, tools.account, settings, image.log, owner=state.facts["owner"]
            ) as server:
                server.wait_ready()
                yield server
        finally:
            state.mark, state.phase = controldata.read(tools.programs, image.data).mark, "ready"
            image.save(state)


@contextmanager
def promoted(clone: Image, state: State) -> Iterator[private.PrivateServer]:
    """A clone of the image, open for writing on a timeline of its own.  It can be rolled no further."""
    tools = _Tools(clone, state)
    with _control_in_place(clone):
        before = controldata.read(tools.programs, clone.data)
        settings = {"recovery_target_action": "promote", **_recovery(clone, before, state.facts["point"])}
        with private.running(
            tools.programs, clone.data, tools.account, settings, clone.log, owner=state.facts["owner"]
        ) as server:
            server.wait_ready()
            server.wait_promoted()
            yield server
    (clone.data / ASIDE).rename(clone.data / CONTROL)


def relocate(image: Image, clone: Image) -> None:
    """Let a clone's links to tablespaces lead to its own: through the image's it would write into the image."""
    for link in (clone.data / "pg_tblspc").iterdir():
        if link.is_symlink():
            st = link.lstat()
            inside = Path(os.readlink(link)).relative_to(image.folder)
            link.unlink()
            link.symlink_to(clone.folder / inside)
            os.chown(link, st.st_uid, st.st_gid, follow_symlinks=False)


def verify(image: Image, state: State) -> None:
    """Check every page's checksum.  Raises ``DamageError`` that names the first wrong one, ``ImageError``."""
    tools = _Tools(image, state)
    private.end_stale(image.data)
    with _control_in_place(image):
        found = controldata.read(tools.programs, image.data)
        _require_untouched(found, state)
        if not found.checksums:
            raise ImageError(f"{state.name} has no page checksums: the original was made without.", "Use --deep.")
        done = tools.run("pg_checksums", "--check", "-D", image.data)
    if done.returncode != 0:
        lines = (
            [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["it did not say what"]
        )
        raise DamageError(
            f"{state.name} is damaged: {lines[0].removeprefix('pg_checksums: error: ')}.", "Make the image copy anew."
        )


def verify_deep(clone: Image, state: State) -> None:
    """Check every index of every database against its table, on a clone.  Raises ``DamageError``."""
    tools = _Tools(clone, state)
    with promoted(clone, state) as server:
        done = tools.run(
            "pg_amcheck",
            "--all",
            "--install-missing",
            "--heapallindexed",
            "-h",
            server.sockets,
            "-U",
            server.owner,
            "--no-password",
        )
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines() or ["it did not say what"]
        raise DamageError(f"{state.name} is damaged: {lines[0]}.", "Look into the original as well: it may be damaged there.")


class _Tools:
    """The engine's programs, and whom they run as."""

    def __init__(self, image: Image, state: State) -> None:
        self.programs = programs.find(int(state.facts["major"]), state.facts.get("programs", ""))
        self.account = programs.account(image.data)

    def run(self, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(self.programs / program), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, **self.account.popen)  # type: ignore[call-overload, no-any-return]


_TABLESPACES = "SELECT oid, pg_tablespace_location(oid) FROM pg_tablespace WHERE pg_tablespace_location(oid) <> ''"


def _make_folders(image: Image, account: programs.Account) -> None:
    for folder in (image.folder, image.data, image.folder / WAL, image.folder / "tablespaces"):
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            account.give(folder)
        except OSError as error:
            raise TargetError(f"{folder} cannot be made: {error.strerror}.", "Choose another folder.") from error


def _require_primary(server: Server, url: str) -> None:
    if server.standby:
        raise UsageError(f"{public_name(url)} is a standby, where no restore point can be made.", "Name its primary.")


def _require_same(server: Server, state: State, url: str) -> None:
    _require_primary(server, url)
    if server.system != state.system:
        raise ImageError(
            f"{public_name(url)} is another database (system {server.system}) than {state.name} is a copy of ({state.system}).",
            "Name the right one, or make a new image copy.",
        )
    if str(server.major) != state.facts["major"]:
        raise ImageError(
            f"The original was upgraded from PostgreSQL {state.facts['major']} to {server.major}; no log leads over that.",
            "Make a new image copy.",
        )


def _require_untouched(found: ControlData, state: State) -> None:
    """Nobody opened the copy otherwise.  An interrupted roll leaves it in the middle of a recovery, which can go on."""
    if found.system != state.system:
        raise ImageError(f"The folder of {state.name} holds another database (system {found.system}).", "Make it anew.")
    if state.phase == "ready" and found.mark != state.mark:
        raise ImageError(
            f"{state.name} was opened otherwise since its last roll; it is no copy of the original any more.", "Make it anew."
        )
    if state.phase != "ready" and found.state not in RECOVERING and state.rolls:
        raise ImageError(f"{state.name} was opened for writing; it is no copy of the original any more.", "Make it anew.")


def _mark_point(session: Session, name: str) -> int:
    """Make a restore point that the roll goes to; its position."""
    import psycopg

    try:
        session.execute("CHECKPOINT")  # else the copy would have to replay again from the one before, each time
        row = session.execute("SELECT pg_create_restore_point(%s)::text", [name]).fetchone()
        session.execute("SELECT pg_switch_wal()")
    except psycopg.Error as error:
        raise DatabaseFailed(
            f"The original let no restore point be made: {first_line(error)}.",
            "The user needs `GRANT pg_checkpoint`, and EXECUTE on pg_create_restore_point and pg_switch_wal.",
        ) from error
    assert row is not None
    return parse_lsn(str(row[0]))


def _end(position: int, segment: int) -> int:
    """Where the segment that holds a position ends."""
    return (position - 1) // segment * segment + segment


def parse_segment(control: ControlData, segment: int) -> int:
    """Where the first segment begins that a recovery needs."""
    return control.redo // segment * segment


def _require_whole(image: Image, control: ControlData, first: int, target: int, segment: int) -> None:
    """Every segment from the redo point to the target is there, of any timeline.  Raises ``LogGap``."""
    have = {path.name[8:] for path in (image.folder / WAL).iterdir() if SEGMENT.fullmatch(path.name.encode())}
    for name in segment_names(control.timeline, first, _end(target, segment), segment):
        if name[8:] not in have:
            raise LogGap(
                f"The segment {name} of the original's log is missing: the image copy cannot be rolled"
                f" from {format_lsn(control.redo)} to {format_lsn(target)}.",
                "It was not kept for the image. Make the image copy anew.",
            )


def _recovery(image: Image, control: ControlData, point: str) -> dict[str, str]:
    wal = str(image.folder / WAL).replace("'", "'\\''").replace("%", "%%")
    return {
        "restore_command": f"cp '{wal}/%f' '%p'",
        "recovery_end_command": "",
        "recovery_target_timeline": "latest",
        "recovery_target_inclusive": "on",
        **dict.fromkeys(_TARGETS, ""),
        "recovery_target_name": point,
        **control.settings,
    }


_TARGETS = ("recovery_target", "recovery_target_time", "recovery_target_xid", "recovery_target_lsn")
"""Set to nothing, before the name is: the original may have been restored once, and its settings be in the copy."""


def _replay(image: Image, tools: _Tools, before: ControlData, point: str, position: int) -> ControlData:
    """Let the engine recover to a target and shut down; what the control file says then.  Raises ``DatabaseFailed``."""
    settings = {
        "recovery_target_action": "shutdown",
        "log_min_messages": "log",
        "shared_buffers": "256MB",
        **_recovery(image, before, point),
    }
    with private.running(tools.programs, image.data, tools.account, settings, image.log, owner="postgres") as server:
        status = server.wait_ended()
        why = server.why() if status else "it ended before"
        stopped = "recovery stopping at restore point" in server.said()
    if status != 0 or not stopped:
        raise DatabaseFailed(
            f"The roll did not reach {format_lsn(position)}: {why}.",
            f"Run it again when that is put right; {image.log} says more.",
        )
    after = controldata.read(tools.programs, image.data)
    if after.state != DOWN:
        raise DatabaseFailed(f"The roll ended with the copy {after.state}, not {DOWN}.", f"{image.log} says more.")
    return after


def _drop_old(image: Image, control: ControlData) -> None:
    """Remove the log from before the redo point: what is left is what the next recovery replays."""
    first = segment_name(control.timeline, control.redo, control.segment)[8:]
    for path in (image.folder / WAL).iterdir():
        if SEGMENT.fullmatch(path.name.encode()) and path.name[8:] < first:
            path.unlink()


def _put_aside(image: Image) -> None:
    with suppress(FileNotFoundError):
        (image.data / CONTROL).rename(image.data / ASIDE)
        flush_folder(str((image.data / CONTROL).parent))


@contextmanager
def _control_in_place(image: Image) -> Iterator[None]:
    """The control file under its own name, so that the engine's programs find it; aside again at the end."""
    with suppress(FileNotFoundError):
        (image.data / ASIDE).rename(image.data / CONTROL)
    if not (image.data / CONTROL).exists():
        raise ImageError(f"{image.data} has no control file: the copy was never finished.", "Make the image copy anew.")
    try:
        yield
    finally:
        _put_aside(image)


def _slot(session: Session, state: State) -> str:
    """A replication slot of the image's own, from now on; the one that is there, if its making was interrupted."""
    import psycopg

    name = "safehold_image_" + "".join(c if c.isascii() and c.isalnum() else "_" for c in state.name.lower())[:40]
    try:
        session.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s AND NOT active", [name]
        )
        session.execute("SELECT pg_create_physical_replication_slot(%s, true)", [name])
    except psycopg.Error as error:
        raise DatabaseFailed(f"No replication slot could be made on the original: {first_line(error)}.", _ROLE) from error
    return name


_ROLE = (
    "The user needs the REPLICATION attribute, and wal_level must be `replica` or `logical` with a free max_replication_slots."
)


def public(source: str) -> str:
    """A source without its password."""
    return public_name(source)


def give_up(url: str, state: State) -> None:
    """Give up the image's slot, so that the original keeps no log for it any more."""
    if "slot" not in state.facts:
        return
    with connect(url) as session:
        session.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", [state.facts["slot"]]
        )


def lag(url: str, state: State) -> str:
    """What is wrong with the slot, in a sentence; empty if nothing is."""
    with connect(url) as session:
        row = session.execute(
            "SELECT wal_status FROM pg_replication_slots WHERE slot_name = %s", [state.facts["slot"]]
        ).fetchone()
    if row is None:
        return (
            f"The slot {state.facts['slot']} is gone from the original: {state.name} can't be rolled on and has to be made anew."
        )
    if row[0] == "lost":
        return f"The original gave up the slot {state.facts['slot']}: {state.name} can't be rolled on and has to be made anew."
    return ""
