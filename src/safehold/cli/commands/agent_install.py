"""Have the system run the agent: a systemd service, for the machine if you are root, else for you.

With --show the file is shown and not written."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from safehold.core.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[options]"
EXAMPLES = ("safehold agent install", "safehold agent install --show")
STATUSES: tuple[int, ...] = ()
_NAME = "safehold-agent.service"


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("--show", action="store_true", help="show the file, and write nothing")
    parser.add_argument(
        "--root", metavar="FOLDER", default="/", help="write it below this folder, and start nothing (default: /)"
    )


def run(call: Call) -> int:
    """Write and start it."""
    from pathlib import Path

    from safehold.cli.volume_jobs import own_program
    from safehold.core.systemd import execution
    from safehold.ops.volumes.jobs import KEPT
    from safehold.storage.volumes.drives.enrolling import write

    if sys.platform != "linux":
        raise UsageError("Only Linux has systemd.", "Have the system's scheduler run `safehold agent run --once` now and then.")
    values = call.values
    for_machine = os.geteuid() == 0
    variables = {name: call.environ[name] for name in KEPT if call.environ.get(name) and name.startswith(("SAFEHOLD_", "XDG_"))}
    if for_machine:
        variables["HOME"] = str(Path.home())
    config = ["--config", str(Path(values.config).absolute())] if values.config else []
    lines = [
        "[Unit]",
        "Description=Safehold: backups by plan",
        "After=network-online.target",
        *(["Wants=network-online.target"] if for_machine else []),
        "",
        "[Service]",
        *execution([*own_program(), *config, "agent", "run"], variables),
        f"SuccessExitStatus={Interrupted.status}",
        "Restart=on-failure",
        "RestartSec=60",
        "TimeoutStopSec=300",
        "KillMode=mixed",
        "",
        "[Install]",
        f"WantedBy={'multi-user.target' if for_machine else 'default.target'}",
    ]
    text = "\n".join(lines) + "\n"
    folder = Path("etc/systemd/system" if for_machine else str(Path.home().relative_to("/") / ".config/systemd/user"))
    path = Path(values.root) / folder / _NAME
    value = {"event": "agent-install", "file": str(path), "text": text if values.show else ""}
    if values.show:
        call.out.result(f"# {path}\n{text}", value)
        return 0
    write(Path(values.root), {str(folder / _NAME): text})
    call.out.result(f"Wrote {path}", value)
    if values.root == "/":
        _start(call, path, for_machine)
    return 0


def _start(call: Call, path: Path, for_machine: bool) -> None:
    """Have systemd read it, and run it from now on."""
    import subprocess

    control = ["systemctl"] if for_machine else ["systemctl", "--user"]
    for words in ([*control, "daemon-reload"], [*control, "enable", "--now", path.name]):
        try:
            failed = subprocess.run(words, capture_output=True, check=False, timeout=60).returncode
        except (OSError, subprocess.TimeoutExpired):
            failed = 1
        if failed:
            call.out.note(
                f"`{' '.join(words)}` did not work here: run it yourself, or have cron run `@reboot safehold agent run`."
            )
            return
    call.out.note("The agent runs, now and after each start of the machine.")
    if not for_machine:
        call.out.note("To have it run while you are not logged in, too: `loginctl enable-linger`.")
