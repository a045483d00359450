"""An image copy of PostgreSQL as a base in the repository.

The copy is one that was shut down in the middle of a recovery: all of it was written then, and it is consistent once the log is
replayed from its restartpoint to where it was shut down.  That is what a base taken from a standby is, and as such it is stored:
with a ``backup_label`` that begins at the restartpoint, the control file that says from where on it is consistent, and that log.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime

assert sys.platform != "win32"

from safehold.core.errors import ImageError
from safehold.ops.backup.memory import Memory
from safehold.ops.databases.assembly import Assembly
from safehold.ops.databases.postgresql import backup
from safehold.ops.databases.postgresql.filling import Filling, Origin
from safehold.ops.databases.postgresql.terms import BaseOptions, Taken
from safehold.ops.databases.recording import Filled
from safehold.ops.image_copies.images import Image, State
from safehold.ops.image_copies.postgresql_folder import ASIDE, DOWN, SIGNAL, WAL, Tools, control_in_place, require_untouched
from safehold.repo.repository import Repository
from safehold.sources.postgresql import controldata, labels, manifest, private
from safehold.sources.postgresql.connecting import Server
from safehold.sources.postgresql.controldata import ControlData
from safehold.sources.postgresql.folder import read_control
from safehold.sources.postgresql.positions import segment_name

METHOD = "image-copy"
LEFT_OUT = frozenset((str(ASIDE).encode(), SIGNAL.encode(), b"standby.signal"))
_NOWHERE = (1 << 64) - 1


def filling(repository: Repository, image: Image, state: State) -> Callable[[Assembly, Memory], Filled]:
    """What puts an image copy together as a base.  Raises ``ImageError`` where it is none."""
    tools = Tools(image, state)
    private.end_stale(image.data)
    with control_in_place(image):
        found = controldata.read(tools.programs, image.data)
        data = read_control(image.data, state.system)
    _require_fit(found, state)
    last = image.folder / WAL / segment_name(found.timeline, state.position - 1, found.segment)
    server = _server(found, state, is_cut_off=not last.exists())
    spaces = json.loads(state.facts.get("tablespaces", "{}"))

    def take(assembly: Assembly, last: bytes | None) -> tuple[Taken, bytes]:
        origin = Origin(server, image.data, image.folder / WAL, lambda: data, _NOWHERE, LEFT_OUT)
        filling = Filling(repository, origin, assembly, backup.rows(last))
        filling.fill()
        filling.small(b"backup_label", labels.of_standby(found, datetime.fromtimestamp(state.rolled_ns // 10**9, UTC)))
        filling.log(found.timeline, found.redo, state.position)
        made = manifest.made(server.major, server.system, filling.rows, found.timeline, found.redo, state.position)
        taken = Taken(
            method=METHOD,
            timeline=found.timeline,
            start=found.redo,
            stop=state.position,
            stop_ns=state.rolled_ns,
            tablespaces={oid: space["path"] for oid, space in spaces.items()},
            errors=filling.errors,
            facts={"image": "yes"},
        )
        return taken, manifest.encode(made)

    names = {oid: space["name"] for oid, space in spaces.items()}
    return backup.filling(repository, BaseOptions(url=state.source), server, names, take)


def _require_fit(found: ControlData, state: State) -> None:
    """It is what the last roll left, and one recovery along one timeline makes it consistent.  Raises ``ImageError``."""
    if state.phase != "ready":
        raise ImageError(
            f"{state.name} is in the middle of a roll that was interrupted.", "`safehold image-copy update` goes on with it."
        )
    require_untouched(found, state)
    if found.state != DOWN or not found.redo <= found.reached <= state.position:
        raise ImageError(f"{state.name} was not shut down where its last roll ended.", "Roll it forward, then keep it.")
    if found.timeline != found.reached_timeline:
        raise ImageError(
            f"{state.name} has just passed from timeline {found.timeline} to {found.reached_timeline}; kept like this it could"
            " not be restored.",
            "Roll it forward once more when the original has made a checkpoint, then keep it.",
        )


def _server(found: ControlData, state: State, *, is_cut_off: bool) -> Server:
    """The original, as a base knows it.  ``is_cut_off``: the last segment is not whole, as it is with a standby."""
    return Server(
        system=state.system,
        number=int(state.facts["major"]) * 10000,
        version=state.version,
        segment=found.segment,
        page=found.page,
        relation_pages=found.relation_pages,
        checksums=found.checksums,
        standby=is_cut_off,
        settings=json.loads(state.facts.get("settings", "{}")),
        superuser=state.facts["owner"],
    )
