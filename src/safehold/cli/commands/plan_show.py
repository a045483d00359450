"""Show a plan: what it says, how it stands, and what became of its last runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.jobs.history import Run

USAGE = "NAME [options]"
EXAMPLES = ("safehold plan show home", "safehold plan show home --runs 50")
STATUSES: tuple[int, ...] = ()


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("name", metavar="NAME", help="the plan")
    parser.add_argument("--runs", metavar="N", type=int, default=10, help="show so many runs (10)")


def run(call: Call) -> int:
    """Show it."""
    import msgspec

    from safehold.cli.plans import files_of, run_value, standing
    from safehold.cli.render.words import iso, moment

    found = files_of(call).find(call.values.name)
    plan = found.use()
    stands = standing(call, found, plan)
    runs = stands.history.runs[-call.values.runs :] if call.values.runs > 0 else []
    value = {
        "name": found.name,
        "file": str(found.path),
        "settings": msgspec.to_builtins(plan),
        "state": stands.state,
        "next": None if stands.next_ns is None else iso(max(stands.next_ns, call.clock.now_ns())),
        "runs": [run_value(each) for each in runs],
    }
    coming = "" if stands.next_ns is None else f"; next {moment(max(stands.next_ns, call.clock.now_ns()))}"
    lines = [f"{found.path}:", "", found.path.read_text("utf-8").rstrip(), "", f"{stands.state}{coming}"]
    lines += [line for each in runs for line in _lines(each, stands.state == "running" and each is runs[-1])]
    call.out.result("\n".join(lines), value)
    return 0


def _lines(run: Run, is_running: bool) -> list[str]:
    from safehold.cli.render.words import duration, moment
    from safehold.core.clock import NS

    if run.ended_ns:
        ended = f"took {duration((run.ended_ns - run.began_ns) / NS)}"
    else:
        ended = "runs" if is_running else "was cut off"
    by = ", by hand" if run.by_hand else ""
    lines = [f"{moment(run.began_ns)}{by}: {ended}" + (f", snapshot {run.snapshot[:8]}" if run.snapshot else "")]
    for step in run.steps:
        told = step.result or step.message or "done"
        lines.append(f"    {step.name:<7} {told}" if not step.status else f"    {step.name:<7} {told} (status {step.status})")
    return lines
