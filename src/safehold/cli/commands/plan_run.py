"""Run a plan now: back up, and whatever else it says is due.

The status is that of the first step that failed; 3 if the backup could not read everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.jobs.history import Run
    from safehold.jobs.plan import Plan

USAGE = "NAME"
EXAMPLES = ("safehold plan run home",)
STATUSES = (3, 4, 13, 15)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("name", metavar="NAME", help="the plan")


def run(call: Call) -> int:
    """Run it."""
    from safehold.cli.plans import files_of, histories_of, means_of, run_value
    from safehold.jobs.running import Runner

    name = call.values.name
    plan = files_of(call).find(name).use()
    means = means_of(call, plan, call.out.report, _asked(call, plan))
    done = Runner(name, plan, means).run(histories_of(call), by_hand=True)
    call.out.result(_text(name, done), {"event": "plan-run", "name": name, **run_value(done)})
    return done.status


def _asked(call: Call, plan: Plan) -> dict[str, str]:
    """The passphrase, asked for if it is kept nowhere: a run's programs have no terminal."""
    from safehold.cli.credentials import ask, is_kept

    place = call.named(plan.repository) if plan.repository else call.place
    names = ("SAFEHOLD_PASSWORD", "SAFEHOLD_PASSWORD_FILE", "SAFEHOLD_PASSWORD_COMMAND", "SAFEHOLD_KEY_FILE")
    if plan.password_file or plan.key_file or any(call.environ.get(name) for name in names) or is_kept(place):
        return {}
    return {"SAFEHOLD_PASSWORD": ask(place.location, twice=False)}


def _text(name: str, run: Run) -> str:
    from safehold.cli.render.words import duration
    from safehold.core.clock import NS

    took = duration((run.ended_ns - run.began_ns) / NS)
    worst = run.worst
    if worst is None:
        return f"Plan {name}: done in {took}, snapshot {run.snapshot[:8]}."
    if not run.snapshot:
        return f"Plan {name}: nothing was backed up ({worst.name}: status {worst.status})."
    if not worst.message and worst.name == "backup":
        return f"Plan {name}: done in {took}, snapshot {run.snapshot[:8]}, but not everything could be read."
    return f"Plan {name}: snapshot {run.snapshot[:8]} is made, but {worst.name} failed (status {worst.status})."
