"""What ``pg_waldump`` finds in a stretch of the log: tablespaces that are made in it.

A server that replays such a record makes the tablespace in the folder that the original has for it, and writes there from then
on: on the original's machine, into the original's own files.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

assert sys.platform != "win32"

from safehold.core.errors import DatabaseFailed
from safehold.sources.postgresql.positions import format_lsn, segment_name
from safehold.sources.postgresql.programs import Account, tied

_MADE = re.compile(r'desc: CREATE (\d+) "(.*)"$', re.MULTILINE)


def tablespaces_made(
    programs: Path, files: Mapping[int, Path], segment: int, start: int, end: int, account: Account
) -> list[tuple[str, str]]:
    """Number and folder of each tablespace that is made between two positions.

    ``files``: those with the segments, by where these begin, of whichever timelines and names.  Raises ``DatabaseFailed`` where
    the log can't be followed so far.
    """
    with tempfile.TemporaryDirectory(prefix="safehold-wal-") as name:
        folder = Path(name)
        account.give(folder)
        for at, path in files.items():
            (folder / segment_name(1, at, segment)).symlink_to(path)
        command = [programs / "pg_waldump", "--rmgr=Tablespace", f"--path={folder}", "--timeline=1"]
        command += [f"--start={format_lsn(start)}", f"--end={format_lsn(end)}"]
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=False, cwd="/", env={"LC_ALL": "C"}, **tied(account)
        )  # type: ignore[call-overload]
    if done.returncode != 0:
        said = done.stderr.strip().removeprefix("pg_waldump: ").removeprefix("error: ").splitlines() or ["it did not say why"]
        raise DatabaseFailed(
            f"The log from {format_lsn(start)} to {format_lsn(end)} cannot be followed: {said[0]}.", "A file of it is damaged."
        )
    return _MADE.findall(done.stdout)
