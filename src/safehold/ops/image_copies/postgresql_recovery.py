"""The engine's own recovery, carried out on an image copy's folder: to a goal and no further."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import msgspec

from safehold.core.errors import DatabaseFailed
from safehold.ops.image_copies.images import Image, State
from safehold.ops.image_copies.postgresql_folder import DOWN, WAL, Tools
from safehold.sources.postgresql import controldata, private
from safehold.sources.postgresql.controldata import ControlData
from safehold.sources.postgresql.positions import format_lsn

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
    wal = str(image.folder / WAL).replace("'", "'\\''").replace("%", "%%")
    return {
        "restore_command": f"if test -e '{wal}/%f'; then cp '{wal}/%f' '%p'; else cp '{wal}/%f.partial' '%p'; fi",
        "recovery_end_command": "",
        "recovery_target_timeline": goal.timeline,
        "recovery_target_inclusive": "on",
        # Set to nothing before the goal is: the original may have been restored once, and its settings be in the copy.
        **dict.fromkeys((each for each in _TARGETS if each != f"recovery_target_{goal.kind}"), ""),
        f"recovery_target_{goal.kind}": goal.value,
        "recovery_target_action": action,
        **control.settings,
    }


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
    return after
