"""What ``--help`` shows."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from safehold.cli.catalog import COMMANDS, family, grouped
from safehold.cli.statuses import COMMON, MEANINGS

SNAP = "an id (4 digits or more), `latest`, `latest:TAG`, or a time"
"""What can be written for a snapshot."""

_WIDTH = 100

WIDTH = max(len(command.words) for command in COMMANDS) + 2
"""Of the column of commands."""


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Texts as they are written, options in a wide column."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=_WIDTH)

    def start_section(self, heading: str | None) -> None:
        super().start_section({"positional arguments": "Arguments", "options": "Options"}.get(heading or "", heading))

    def add_usage(self, usage: str | None, actions: Iterable[argparse.Action], groups: object, prefix: str | None = None) -> None:
        super().add_usage(usage, actions, groups, "Usage: ")  # type: ignore[arg-type]


def overview() -> str:
    """The help of the program: every command under its group."""
    lines = ["Usage: safehold COMMAND ...", "", "Backups of files and databases, deduplicated, compressed and encrypted.", ""]
    for group, commands in grouped().items():
        lines.append(f"{group}:")
        lines += [f"  {command.words:<{WIDTH}}{command.summary}" for command in commands]
        lines.append("")
    lines += [
        "Options, before or after the command:",
        "  -r, --repo REPO     a folder or other place, or a name from the configuration ($SAFEHOLD_REPO)",
        "  --password-file F, --key-file F, --recovery     with which key",
        "  --config F          use this configuration file",
        "  -q, --quiet  --json  -h, --help  -V, --version",
        "",
        "Example: safehold -r /mnt/backup init, then safehold -r /mnt/backup backup ~/Documents",
        "",
        "`safehold COMMAND --help` shows a command's options, an example and the exit statuses.",
    ]
    return "\n".join(lines) + "\n"


def family_overview(first: str) -> str:
    """The help of a first word that needs a second one."""
    commands = family(first)
    lines = [f"Usage: safehold {first} {'|'.join(command.words.split()[1] for command in commands)} ...", ""]
    lines += [f"  {command.words:<{WIDTH}}{command.summary}" for command in commands]
    lines += [
        "",
        f"Example: safehold {commands[0].words}",
        "",
        f"`safehold {commands[0].words} --help` shows the first one's options.",
    ]
    return "\n".join([*lines, *_statuses(())]) + "\n"


def epilog(examples: Sequence[str], statuses: Sequence[int]) -> str:
    """The end of a command's help."""
    return "\n".join(["Examples:", *(f"  {example}" for example in examples), *_statuses(statuses)])


def _statuses(more: Sequence[int]) -> list[str]:
    return ["", "Exit statuses:", *(f"  {status:>3}  {MEANINGS[status]}" for status in sorted({*COMMON, *more}))]
