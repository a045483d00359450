"""Image copies of PostgreSQL: the engine's own recovery, carried out on a folder again and again.  ``docs/image-copies.md``."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

assert sys.platform != "win32"

from safehold.core.errors import DamageError, ImageError
from safehold.core.events import Note
from safehold.ops.image_copies import postgresql_log as logs
from safehold.ops.image_copies.images import Given, Image, State
from safehold.ops.image_copies.postgresql_base import filling
from safehold.ops.image_copies.postgresql_folder import (
    ASIDE,
    CONTROL,
    SIGNAL,
    SPACES,
    WAL,
    Tools,
    control_in_place,
    make,
    put_aside,
    require_untouched,
)
from safehold.ops.image_copies.postgresql_log import Brought
from safehold.ops.image_copies.postgresql_recovery import goal_of, replay, settings, settle
from safehold.sources.postgresql import controldata, deep_check, private, programs
from safehold.sources.postgresql.client_programs import take_base
from safehold.sources.postgresql.connecting import Server, connect, inquire, public_name
from safehold.sources.postgresql.controldata import ControlData
from safehold.sources.postgresql.positions import SEGMENT
from safehold.storage.filesystem import flush_folder

if TYPE_CHECKING:
    from safehold.sources.postgresql.connecting import Session

__all__ = ["filling"]
DEEP_ON_CLONE = True


def create(image: Image, state: State, url: str, given: Given) -> State:
    """Make the copy and roll it to now.  Raises ``ImageError``, ``DatabaseFailed``, ``DatabaseUnreachable``."""
    has_slot = state.facts.get("log", logs.SLOT) == logs.SLOT
    with connect(url) as session:
        server = inquire(session)
        folder = programs.find(server.major, state.facts.get("programs", ""))
        account = programs.account(image.folder)
        make(image, account)
        state.system, state.version = server.system, server.version
        state.facts |= {"programs": str(folder), "major": str(server.major), "owner": server.superuser or "postgres"}
        if has_slot:
            state.facts["slot"] = logs.slot(session, state.name)
        _note_places(session, server, state)
        image.save(state)
        spaces = {place["path"]: image.folder / SPACES / oid for oid, place in json.loads(state.facts["tablespaces"]).items()}
        take_base(folder, url, image.data, spaces, account, with_log=not has_slot)
    (image.data / SIGNAL).touch()
    account.give(image.data / SIGNAL)
    put_aside(image)
    if not has_slot:
        _take_log_over(image)
    return update(image, state, url, given)


def update(image: Image, state: State, url: str, given: Given) -> State:
    """Roll the copy forward to now.  A crash, or a full disk, at any point costs at most what this does."""
    tools = Tools(image, state)
    private.end_stale(image.data)
    with control_in_place(image):
        before = controldata.read(tools.programs, image.data)
        require_untouched(before, state)
    if state.facts.get("log", logs.SLOT) == logs.ARCHIVE:
        is_new = not state.rolls  # it goes to the end of the log that came with it, whatever is archived by now
        brought = (
            logs.on_hand(image, before, state) if is_new else logs.from_archive(image, state, tools, before, given.repository())
        )
    else:
        with connect(url) as session:
            server = inquire(session)
            _require_same(server, state, url)
            brought = logs.from_server(image, state, tools, before, session, server, url, given)
            _note_places(session, server, state)
    return _roll(image, state, tools, before, brought, given)


def _roll(image: Image, state: State, tools: Tools, before: ControlData, brought: Brought, given: Given) -> State:
    goal = brought.goal
    if goal is None:
        given.report(Note(message=f"{state.name} is as far as its log leads."))
        return state
    logs.require_no_tablespace(image, state, tools, before, goal)
    state.phase = "rolling"
    image.save(state)
    given.report(Note(message=f"Rolling {state.name} forward to {goal.value}."))
    with control_in_place(image):
        after = replay(image, tools, before, goal)
    goal.remember(state, after.reached)
    state.redo, state.timeline, state.mark = after.redo, after.timeline, after.mark
    state.rolled_ns, state.rolls, state.phase = max(brought.shows_ns, state.rolled_ns), state.rolls + 1, "ready"
    state.facts["segment"] = str(after.segment)
    image.save(state)
    logs.drop_old(image, after)
    return state


@contextmanager
def opened(image: Image, state: State) -> Iterator[private.PrivateServer]:
    """The image, open for reading at the point that it was rolled to; the next roll goes on from there."""
    tools = Tools(image, state)
    private.end_stale(image.data)
    with control_in_place(image):
        before = controldata.read(tools.programs, image.data)
        require_untouched(before, state)
        state.phase = "reading"
        image.save(state)
        chosen = settings(image, before, goal_of(state), "pause")
        try:
            with private.running(
                tools.programs, image.data, tools.account, chosen, image.log, owner=state.facts["owner"]
            ) as server:
                server.wait_ready()
                yield server
        finally:
            settle(image, tools.account)
            state.mark, state.phase = controldata.read(tools.programs, image.data).mark, "ready"
            image.save(state)


@contextmanager
def promoted(clone: Image, state: State) -> Iterator[private.PrivateServer]:
    """A clone of the image, open for writing on a timeline of its own.  It can be rolled no further."""
    tools = Tools(clone, state)
    with control_in_place(clone):
        before = controldata.read(tools.programs, clone.data)
        chosen = settings(clone, before, goal_of(state), "promote")
        with private.running(tools.programs, clone.data, tools.account, chosen, clone.log, owner=state.facts["owner"]) as server:
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
    tools = Tools(image, state)
    private.end_stale(image.data)
    with control_in_place(image):
        found = controldata.read(tools.programs, image.data)
        require_untouched(found, state)
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
    tools = Tools(clone, state)
    with promoted(clone, state) as server:
        words = deep_check.problem(server.sockets, server.owner, tools.programs, tools.account)
    if words:
        raise DamageError(f"{state.name} is damaged: {words}.", "Look into the original as well: it may be damaged there.")


def lineage(state: State) -> str:
    """Snapshots of the image and of its original are compared with each other: most of their pages are alike."""
    return state.system


_TABLESPACES = "SELECT oid::text, spcname, pg_tablespace_location(oid) FROM pg_tablespace WHERE pg_tablespace_location(oid) <> ''"
_KEPT = ("data_directory", "config_file", "hba_file", "ident_file")
"""Settings of the original that a base tells of."""


def _note_places(session: Session, server: Server, state: State) -> None:
    """Where things are on the original: a base that is made of the image says so."""
    spaces = {str(oid): {"path": str(path), "name": str(name)} for oid, name, path in session.execute(_TABLESPACES).fetchall()}
    kept = {name: server.settings[name] for name in _KEPT if name in server.settings}
    state.version = server.version
    state.facts |= {"tablespaces": json.dumps(spaces), "settings": json.dumps(kept)}


def _take_log_over(image: Image) -> None:
    """Move the log that came with a copy to where it is kept; the last segment is whole on the original only."""
    segments = sorted(path for path in (image.data / "pg_wal").iterdir() if SEGMENT.fullmatch(path.name.encode()))
    for path in segments:
        shutil.move(path, image.folder / WAL / (path.name + (logs.PARTIAL if path == segments[-1] else "")))
    flush_folder(str(image.folder / WAL))


def _require_same(server: Server, state: State, url: str) -> None:
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
