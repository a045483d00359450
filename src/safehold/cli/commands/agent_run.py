"""Run plans when they are due, until it is told to stop (Ctrl-C, SIGTERM).

What was missed while the machine was off is made up for at once.  `safehold agent install` makes a service of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.core.errors import SafeholdError
    from safehold.core.events import Event
    from safehold.jobs.agent import Visits
    from safehold.jobs.history import Run

USAGE = "[options]"
EXAMPLES = ("safehold agent run", "safehold agent run --once")
STATUSES: tuple[int, ...] = ()
_NICE = 10
_OPTIONS = {"repository": "repo", "password-file": "password-file", "key-file": "key-file"}


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("--once", action="store_true", help="run what is due, and end: for cron")


def run(call: Call) -> int:
    """Run them."""
    from safehold.cli.plans import files_of, histories_of, means_of
    from safehold.core.events import Warn
    from safehold.core.local_time import LocalZone
    from safehold.jobs.agent import Agent
    from safehold.jobs.plan import Plan
    from safehold.jobs.running import Means

    statuses = [0]

    def equip(name: str, plan: Plan) -> Means:
        def report(event: Event) -> None:
            if isinstance(event, Warn):
                call.out.report(Warn(code=event.code, message=f"{name}: {event.message}", path=event.path, hint=event.hint))

        return means_of(call, plan, report)

    def tell(name: str, ended: Run | None, error: SafeholdError | None) -> None:
        if ended is not None:
            statuses.append(_tell(call, name, ended))
        elif error is not None:
            statuses.append(error.status)
            call.out.report(Warn(code=error.code, message=f"{name}: {error}", hint=error.hint))

    if hasattr(os, "nice"):
        os.nice(_NICE)
    agent = Agent(files_of(call), histories_of(call), equip, lambda: _visits(call), tell, call.clock, LocalZone())
    if not call.values.once:
        call.out.note("The agent runs; Ctrl-C ends it.")
    agent.run(once=call.values.once)
    return next((status for status in statuses if status), 0)


def _visits(call: Call) -> Visits:
    """The calls that bring plans from elsewhere."""
    from safehold.cli.plans import children_of
    from safehold.core.events import silent
    from safehold.jobs.agent import Visits
    from safehold.jobs.handed import all_allowed

    config = ["--config", call.values.config] if call.values.config else []
    calls = [
        [
            *config,
            *(word for key, value in each.settings.items() for word in (f"--{_OPTIONS[key]}", value)),
            "device",
            "take-plans",
        ]
        for each in all_allowed(call.state)
    ]
    return Visits(children_of(call, silent), calls)


def _tell(call: Call, name: str, run: Run) -> int:
    """A line for the log."""
    import sys

    from safehold.cli.plans import run_value
    from safehold.cli.render.words import duration
    from safehold.core.clock import NS

    steps = [f"{step.name}: {step.result or step.message or 'done'}" for step in run.steps]
    took = duration((run.ended_ns - run.began_ns) / NS)
    text = f"{name}: {'; '.join(steps)} ({took}, status {run.status})"
    call.out.result(text, {"event": "plan-run", "name": name, **run_value(run)})
    sys.stdout.flush()
    return run.status
