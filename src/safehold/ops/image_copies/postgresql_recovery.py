"""The engine's own recovery, carried out on an image copy's folder: to a goal and no further."""

from __future__ import annotations

import os
import shutil
import sys

assert sys.platform != "win32"

import msgspec

from safehold.core.errors import DatabaseFailed
from safehold.ops.image_copies.images import Image, State
from safehold.ops.image_copies.postgresql_folder import DOWN, WAL, Tools
from safehold.sources.postgresql import controldata, private
from safehold.sources.postgresql.controldata import ControlData
from safehold.sources.postgresql.positions import format_lsn
from safehold.sources.postgresql.programs import Account
from safehold.storage.filesystem import replace_durably

_TARGETS = (
    "recovery_target",
    "recovery_target_time",
    "recovery_target_xid",
    "recovery_target_lsn",
    "recovery_target_name",
)
_REACHED = "recovery stopping "
"""What the engine says when it has come to its goal: after a position, or at a restore point."""


class Goal(msgspec.Struct, frozen=True):
    """Where a recovery stops: at a restore point, or after the record that begins at a position."""

    kind: str
    """``name`` or ``lsn``."""
    value: str
    end: int
    """The position that is reached there."""
    timeline: str = "latest"
    """Which one is followed."""

    def remember(self, state: State, reached: int) -> None:
        """Note that an image copy is there.  ``reached``: what its control file says; after a switch that is the next segment."""
        state.position = max(self.end, reached)
        state.facts |= {"point": self.value, "kind": self.kind, "follows": self.timeline}


def goal_of(state: State) -> Goal:
    """Where an image copy is: a recovery of it stops there again."""
    facts = state.facts
    return Goal(facts.get("kind", "name"), facts["point"], state.position, facts.get("follows", "latest"))


def settings(image: Image, control: ControlData, goal: Goal, action: str) -> dict[str, str]:
    """What a server on the folder is told.  ``action``: at the goal."""
    return {
        "restore_command": _fetching(image, "cp" if action == "promote" else "ln -sf"),
        "recovery_end_command": "",
        "recovery_target_timeline": goal.timeline,
        "recovery_target_inclusive": "on",
        # Set to nothing before the goal is: the original may have been restored once, and its settings be in the copy.
        **dict.fromkeys((each for each in _TARGETS if each != f"recovery_target_{goal.kind}"), ""),
        f"recovery_target_{goal.kind}": goal.value,
        "recovery_target_action": action,
        **control.settings,
    }


def _fetching(image: Image, how: str) -> str:
    """Give the engine a file of the log.

    A link takes it neither the time to write it once more nor to sync it, and links are what it never recycles into files that
    it writes to: in a recovery that does not end it only reads them.  One that ends goes on writing, beside copies.
    """
    wal = str(image.folder / WAL).replace("'", "'\\''").replace("%", "%%")
    return f"for file in '{wal}/%f' '{wal}/%f.partial'; do test -e \"$file\" && exec {how} \"$file\" '%p'; done; exit 1"


def settle(image: Image, account: Account) -> None:
    """Put the files themselves in place of the links that the engine has kept: what it begins with next, a segment or two.

    Its folder then holds all that it needs, wherever it is taken.
    """
    for link in (image.data / "pg_wal").iterdir():
        if not link.is_symlink():
            continue
        if not link.exists():  # of a roll that was cut off, before the folder was moved
            link.unlink()
            continue
        partial = link.with_name("xlogtemp.safehold")  # the engine removes what is called so
        shutil.copyfile(link, partial)
        account.give(partial)
        partial.chmod(0o600)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        replace_durably(str(partial), str(link))


def replay(image: Image, tools: Tools, before: ControlData, goal: Goal) -> ControlData:
    """Let the engine recover to a goal and shut down; what the control file says then.  Raises ``DatabaseFailed``."""
    chosen = {"log_min_messages": "log", "shared_buffers": "256MB", **settings(image, before, goal, "shutdown")}
    with private.running(tools.programs, image.data, tools.account, chosen, image.log, owner="postgres") as server:
        status = server.wait_ended()
        why = server.why() if status else "it ended before"
        stopped = _REACHED in server.said()
    if status != 0 or not stopped:
        raise DatabaseFailed(
            f"The roll did not reach {format_lsn(goal.end)}: {why}.",
            f"Run it again when that is put right; {image.log} says more.",
        )
    after = controldata.read(tools.programs, image.data)
    if after.state != DOWN:
        raise DatabaseFailed(f"The roll ended with the copy {after.state}, not {DOWN}.", f"{image.log} says more.")
    settle(image, tools.account)
    return after
