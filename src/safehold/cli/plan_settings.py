"""From the options of ``plan add`` and ``plan edit`` to the settings of a plan."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from safehold.core.errors import UsageError
from safehold.jobs.plan_files import SETTINGS

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

_UNITS = {"hourly": "hours", "daily": "days", "weekly": "weeks", "monthly": "months", "yearly": "years"}
_OPTIONS = (
    ("every", "SPAN", "so long after the last run began: 30m, 6h, 1d, 1w"),
    ("at", "TIME", "at this time of day: 02:30; may be repeated"),
    ("on", "DAYS", "with --at: on these days of the week or month: mon,fri or 1,15"),
    ("spread", "SPAN", "later by up to so much, always the same on this machine"),
    ("exclude", "GLOB", "leave this out; may be repeated"),
    ("exclude-file", "F", "read such patterns from a file"),
    ("exclude-caches", "", "of folders tagged as caches keep only the tag"),
    ("one-file-system", "", "stay on the file systems of the sources"),
    ("tag", "T", "give the snapshots this tag, besides the plan's name"),
    ("host", "NAME", "back up as this host, instead of this machine's name"),
    ("options", "OPTION", "another of `safehold backup`: --option=--paged"),
    ("copy-to", "REPO", "then copy the snapshot there, too; may be repeated"),
    ("keep-last", "N", "keep the newest ones of its snapshots, and forget the rest"),
    *((f"keep-{word}", "N", f"keep the newest of each of N {units}") for word, units in _UNITS.items()),
    ("keep-within", "TIME", "keep what is no older than this before the newest: 30d, 2w, 6m, 1y"),
    ("prune", "SPAN", "free the space of what was forgotten, so often"),
    ("check", "SPAN", "check the repository, so often"),
    ("check-data", "N%", "and read so much of the data then"),
    ("drill", "SPAN", "restore the last snapshot for a while and compare it, so often"),
    ("before", "CMD", "run this first; if it fails, there is no backup"),
    ("after", "CMD", "run this at the end"),
    ("failed", "CMD", "run this when something went wrong"),
)


def setting_arguments(parser: Parser) -> None:
    """Declare an option for each setting; what is not given is None."""
    for name, what, text in _OPTIONS:
        kind, option = SETTINGS[name], f"--{name}" if name != "options" else "--option"
        said = text.replace("%", "%%")
        if kind is bool:
            parser.add_argument(option, action="store_true", default=None, help=said)
        elif kind is list:
            parser.add_argument(option, metavar=what, action="append", default=None, dest=name.replace("-", "_"), help=said)
        else:
            parser.add_argument(option, metavar=what, type=kind, default=None, help=said)


def given(call: Call) -> dict[str, object]:
    """The settings that were given, as they stand in a file."""
    values = vars(call.values)
    found = {name: values.get(name.replace("-", "_")) for name in SETTINGS if name not in ("sources", "repository", "paused")}
    settings = {name: value for name, value in found.items() if value not in (None, "")}
    for name in ("password-file", "key-file"):
        if name in settings:
            settings[name] = _absolute_path(str(settings[name]))
    if "exclude-file" in settings:
        settings["exclude-file"] = [_absolute_path(path) for path in call.values.exclude_file]
    if call.values.repository:
        settings["repository"] = absolute_place(call, call.values.repository)
    return settings


def from_environment(call: Call) -> dict[str, object]:
    """What variables say, which will not be there when the plan runs by itself."""
    names = {"password-file": "SAFEHOLD_PASSWORD_FILE", "key-file": "SAFEHOLD_KEY_FILE"}
    found: dict[str, object] = {name: _absolute_path(call.environ[key]) for name, key in names.items() if call.environ.get(key)}
    if call.environ.get("SAFEHOLD_REPO"):
        found["repository"] = absolute_place(call, call.environ["SAFEHOLD_REPO"])
    return found


def absolute_place(call: Call, place: str) -> str:
    """A repository, as it can be named from anywhere."""
    is_name = place in call.settings.repositories or "://" in place or place.startswith("volumes:")
    return place if is_name else _absolute_path(place)


def absolute_source(source: str) -> str:
    """A source, as it can be named from anywhere.  Raises ``UsageError`` for standard input."""
    from safehold.cli.sources import kind_of

    kind = kind_of(source)
    if kind == "-":
        raise UsageError("A plan cannot read standard input.", "Use `command:...`, which runs a program.")
    if kind == "files":
        return _absolute_path(source)
    if kind in ("sqlite", "device"):
        return f"{kind}:{_absolute_path(source.partition(':')[2])}"
    return source


def _absolute_path(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))
