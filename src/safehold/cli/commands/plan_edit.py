"""Change a plan: single settings by their options, or all of it in an editor ($VISUAL, $EDITOR).

Only what is right is taken: what is wrong is said with its line, and the plan stays as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "NAME [options]"
EXAMPLES = ("safehold plan edit home", "safehold plan edit home --every 1h --unset copy-to", "safehold plan edit home --pause")
STATUSES: tuple[int, ...] = ()


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    from safehold.cli.plan_settings import setting_arguments

    add = parser.add_argument
    add("name", metavar="NAME", help="the plan")
    add(
        "--source",
        metavar="SOURCE",
        action="append",
        default=[],
        help="back up this from now on, and nothing else; may be repeated",
    )
    setting_arguments(parser)
    add("--unset", metavar="SETTING", action="append", default=[], help="take a setting out, by its name in the file")
    add("--pause", action="store_true", help="don't run it by itself any more")
    add("--resume", action="store_true", help="do so again")


def run(call: Call) -> int:
    """Change it."""
    from safehold.cli.plan_settings import absolute_source, given
    from safehold.cli.plans import files_of
    from safehold.jobs.plan_files import changed

    values = call.values
    if values.pause and values.resume:
        raise UsageError("--pause and --resume contradict each other.", "Leave one of them out.")
    files = files_of(call)
    found = files.find(values.name)
    settings = given(call) | ({"paused": True} if values.pause else {})
    if values.source:
        settings["sources"] = [absolute_source(each) for each in values.source]
    without = [*values.unset, *(["paused"] if values.resume else []), *_replaced(settings)]
    text = changed(_read(found.path), settings, without) if settings or without else _edited(call, found.path)
    files.write(values.name, text, new=False)
    when = files.find(values.name).use().schedule.words()
    call.out.result(f"Plan {values.name} is changed.", {"event": "plan-edit", "name": values.name, "when": when})
    return 0


def _replaced(settings: dict[str, object]) -> list[str]:
    """What a new way of saying when takes the place of."""
    if "every" in settings and "at" not in settings:
        return ["at", "on"]
    return ["every"] if "at" in settings and "every" not in settings else []


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The plan {path} cannot be read: {error}.", "Mend it by hand.") from error


def _edited(call: Call, path: Path) -> str:
    """What the user made of it; kept beside it until it is right, so that no work is lost."""
    import shlex
    import subprocess

    from safehold.jobs.plan_files import parse

    editor = call.environ.get("VISUAL") or call.environ.get("EDITOR") or "vi"
    draft = path.with_suffix(".draft")
    if not draft.exists():
        draft.write_text(_read(path), "utf-8")
    try:
        status = subprocess.run([*shlex.split(editor), str(draft)], check=False).returncode
    except OSError as error:
        raise UsageError(
            f"The editor {editor} cannot be run: {error.strerror}.", f"Set EDITOR, or change {path} itself."
        ) from error
    if status:
        draft.unlink(missing_ok=True)
        raise UsageError(f"The editor ended with status {status}; the plan stays as it was.", "Try again.")
    text = _read(draft)
    parse(draft, text)  # what is wrong is said with the draft's name, and the next edit goes on with it
    draft.unlink()
    return text
