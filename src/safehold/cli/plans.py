"""What the commands of plans share: where plans and histories lie, and what a run of one works with."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from safehold.cli.plan_results import in_words
from safehold.core.local_time import LocalZone
from safehold.jobs.children import Children
from safehold.jobs.due import next_run_ns, state
from safehold.jobs.history import Histories, History
from safehold.jobs.plan_files import PlanFiles
from safehold.jobs.running import Means, common_words

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.core.events import Reporter
    from safehold.jobs.history import Run
    from safehold.jobs.plan import Plan
    from safehold.jobs.plan_files import Found


def files_of(call: Call) -> PlanFiles:
    """The plans of this configuration."""
    return PlanFiles(call.config_file.parent)


def histories_of(call: Call) -> Histories:
    """What became of their runs."""
    return Histories(call.state)


def means_of(call: Call, plan: Plan, report: Reporter, variables: dict[str, str] | None = None) -> Means:
    """What a run works with; ``variables`` for its programs besides those of this one."""
    left_out = {"SAFEHOLD_REPO"} if plan.repository else set()
    config = str(Path(call.values.config).expanduser().absolute()) if call.values.config else ""
    children = children_of(call, report, left_out, variables or {})
    return Means(children, call.clock, report, in_words, common_words(plan, config))


def children_of(
    call: Call, report: Reporter, left_out: Collection[str] = (), variables: Mapping[str, str] | None = None
) -> Children:
    """What runs programs for this call: with its variables, some left out, some more."""
    from safehold.cli.volume_jobs import own_program

    environ = {name: value for name, value in call.environ.items() if name not in left_out} | dict(variables or {})
    return Children(own_program(), environ, report)


class Standing(msgspec.Struct, frozen=True):
    """How a plan stands just now."""

    state: str
    next_ns: int | None
    history: History


def standing(call: Call, found: Found, plan: Plan) -> Standing:
    """From its history and its file."""
    import socket

    histories, now, zone = histories_of(call), call.clock.now_ns(), LocalZone()
    history = histories.read(found.name)
    due = next_run_ns(plan, history, found.changed_ns, now, zone, plan.later_ns(socket.gethostname(), found.name))
    told = "running" if histories.is_running(found.name) else state(plan, history, found.changed_ns, now, zone)
    return Standing(told, due, history)


def run_value(run: Run) -> dict[str, object]:
    """A run as JSON."""
    from safehold.cli.render.words import iso

    times = {"began": iso(run.began_ns), "ended": iso(run.ended_ns) if run.ended_ns else None}
    steps = [msgspec.to_builtins(step) for step in run.steps]
    return {
        **times,
        "by_hand": run.by_hand,
        "snapshot": run.snapshot,
        "bytes_stored": run.added,
        "status": run.status,
        "steps": steps,
    }
