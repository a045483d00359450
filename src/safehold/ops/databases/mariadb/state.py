"""How far a server's binary log is stored, as this machine remembers it.  A hint: the catalogue is what counts."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from safehold.repo.repository import Repository


class State(msgspec.Struct, frozen=True):
    """The place where following goes on."""

    name: str
    """The binary log file."""
    position: int = 0
    """In it; 0: at its beginning."""
    created: int = 0
    """When that file was begun, in seconds since 1970; 0: not known."""
    timeline: int = 0
    """Grows by one whenever a server begins to number its logs anew."""
    commit: str = ""
    """The snapshot of the last commit; empty: nothing is stored yet, this is only where to begin."""


def load(repository: Repository, system: str) -> State | None:
    """What is remembered; None if nothing is, or it cannot be read."""
    try:
        return msgspec.json.decode(_path(repository, system).read_bytes(), type=State)
    except (OSError, msgspec.MsgspecError):
        return None


def save(repository: Repository, system: str, state: State) -> None:
    """Remember it; where the disk does not take it, the next run asks the repository or the server."""
    path = _path(repository, system)
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(state))
        os.replace(fresh, path)


def _path(repository: Repository, system: str) -> Path:
    return repository.cache / f"mariadb-log-{system}.json"


def timeline_of(state: State | None, number: int, created: int) -> int:
    """The timeline of a binary log file with that number, begun then."""
    if state is None:
        return 0
    known = int(state.name.rpartition(".")[2])
    restarted = number < known or (number == known and state.created and created and state.created != created)
    return state.timeline + 1 if restarted else state.timeline
