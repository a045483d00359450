"""Have the system run the backups that wait for a set when one of its drives is plugged in: a udev rule and a systemd unit.

`safehold backup --when-present` says which backups.  Run it as root; with --show the files are shown and not written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "NAME [options]"
EXAMPLES = ("safehold volumes enroll home", "safehold volumes enroll home --show")
STATUSES: tuple[int, ...] = ()
WAIT_SECONDS = 20
STATE = ".local/state/safehold"
"""Below the home folder of another user, who has not set XDG_STATE_HOME: systemd knows no session's variables."""


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("name", metavar="NAME", help="the set")
    add("--user", metavar="USER", default="", help="run the backups as this user, who then mounts the drive (default: root)")
    add("--show", action="store_true", help="show the files, and write nothing")
    add("--root", metavar="FOLDER", default="/", help="write them below this folder (default: /)")


def run(call: Call) -> int:
    """Write them."""
    from pathlib import Path

    from safehold.cli.volume_jobs import own_program
    from safehold.cli.volume_sets import require_drives
    from safehold.storage.volumes.catalogue import Catalogue, folder_of
    from safehold.storage.volumes.drives.enrolling import files, write

    values = call.values
    variables = _variables(call)
    catalogue = Catalogue(folder_of(Path(variables["SAFEHOLD_STATE_DIR"]), values.name))
    call.closing(catalogue)
    require_drives(catalogue)
    program = [*own_program(), "volumes", "run", values.name, "--wait", str(WAIT_SECONDS), *([] if values.user else ["--mount"])]
    wanted = files(values.name, catalogue.volumes(), program, variables, values.user)
    paths = [str(Path(values.root) / name) for name in wanted]
    value = {"event": "volumes-enroll", "name": values.name, "files": wanted if values.show else paths}
    if values.show:
        call.out.result("\n".join(f"# /{name}\n{text}" for name, text in wanted.items()), value)
        return 0
    write(Path(values.root), wanted)
    call.out.result("\n".join(f"Wrote {path}" for path in paths), value)
    if values.root == "/":
        _reload(call)
    return 0


def _variables(call: Call) -> dict[str, str]:
    """What the unit runs with: of a user that is named, that user's own folders, since sudo sets HOME to root's."""
    import sys
    from pathlib import Path

    from safehold.ops.volumes.jobs import KEPT

    given = {name: call.environ[name] for name in KEPT if call.environ.get(name) and name != "SAFEHOLD_REPO"}
    user, own = call.values.user, {**given, "SAFEHOLD_STATE_DIR": str(call.state)}
    if sys.platform == "win32" or not user:
        return own
    import os
    import pwd

    try:
        known = pwd.getpwnam(user)
    except KeyError:
        raise UsageError(f"This machine has no user {user}.", "Name one that has an account: --user.") from None
    if known.pw_uid == os.getuid():
        return own
    given = {name: value for name, value in given.items() if name.startswith("SAFEHOLD_")}
    return {"HOME": known.pw_dir, "SAFEHOLD_STATE_DIR": str(Path(known.pw_dir) / STATE), **given}


def _reload(call: Call) -> None:
    """Have udev and systemd read the files."""
    import subprocess

    for words in (["systemctl", "daemon-reload"], ["udevadm", "control", "--reload"]):
        try:
            failed = subprocess.run(words, capture_output=True, check=False, timeout=60).returncode
        except OSError:
            failed = 1
        if failed:
            call.out.note(f"`{' '.join(words)}` did not work here: run it, or restart the machine, before it counts.")
