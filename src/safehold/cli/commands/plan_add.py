"""Make a plan: what is backed up, when, where to, what is kept, and how it is proved.

`safehold agent run` runs plans when they are due, `safehold plan run` at once.  Without --every or --at only the latter does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.jobs.plan_files import Found

USAGE = "NAME SOURCE... [options]"
EXAMPLES = (
    "safehold plan add home ~/Documents ~/Pictures --every 6h --keep-daily 7 --keep-monthly 12 --prune 1w",
    "safehold -r nas plan add shop postgresql:///shop --at 02:30 --copy-to cloud --drill 30d",
)
STATUSES: tuple[int, ...] = ()


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    from safehold.cli.plan_settings import setting_arguments

    parser.add_argument("name", metavar="NAME", help="what to call it; its snapshots have this as a tag")
    parser.add_argument("sources", metavar="SOURCE", nargs="+", help="as of `safehold backup`")
    setting_arguments(parser)


def run(call: Call) -> int:
    """Make it."""
    from safehold.cli.plan_settings import absolute_source, from_environment, given
    from safehold.cli.plans import files_of
    from safehold.jobs.plan_files import made

    name = call.values.name
    sources = {"sources": [absolute_source(each) for each in call.values.sources]}
    files = files_of(call)
    path = files.write(name, made({**sources, **from_environment(call), **given(call)}), new=True)
    found = files.find(name)
    _warn(call, found)
    plan = found.use()
    when = plan.schedule.words()
    text = f"Plan {name} is made: {path}\nTry it: safehold plan run {name}"
    if when:
        text += f"; then {when} by itself, while an agent runs: safehold agent install"
    call.out.result(text, {"event": "plan-add", "name": name, "file": str(path), "when": when})
    return 0


def _warn(call: Call, found: Found) -> None:
    import os

    from safehold.cli.credentials import is_kept
    from safehold.cli.sources import kind_of
    from safehold.core.events import Warn

    plan = found.use()
    for source in plan.sources:
        if kind_of(source) == "files" and not os.path.lexists(source):
            message = f"There is no {source} just now."
            call.out.report(Warn(code="source-missing", message=message, hint="The plan is made all the same; check the name."))
    wanted = plan.repository or call.settings.default
    if not wanted:
        hint = 'Add `repository = "..."` to the plan or to the configuration.'
        call.out.report(Warn(code="no-repository", message="The plan does not say where to back up to.", hint=hint))
    elif not (plan.password_file or plan.key_file or is_kept(call.named(wanted))):
        hint = "Give --password-file or --key-file, set it in the configuration, or keep it in the system's keyring."
        message = "The passphrase is not kept anywhere, so the plan cannot run by itself."
        call.out.report(Warn(code="passphrase-not-kept", message=message, hint=hint))
