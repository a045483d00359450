"""Base copies and log from a server into plain folders, by the engine's own client programs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

assert sys.platform != "win32"

from safehold.core.errors import DatabaseFailed, LogGap
from safehold.sources.postgresql.connecting import parameters
from safehold.sources.postgresql.positions import format_lsn
from safehold.sources.postgresql.programs import Account, tied

GONE = ("has already been removed", "was invalidated", "cannot be advanced", "no longer available", "does not exist")
"""What a server says when log is asked for that it does not have any more, or whose slot it gave up."""


def take_base(
    programs: Path, url: str, target: Path, tablespaces: Mapping[str, Path], account: Account, *, with_log: bool
) -> None:
    """Copy a cluster into a folder; ``tablespaces``: where each goes, by its folder; ``with_log``: what the copy needs of it.

    Raises ``DatabaseFailed``.
    """
    log = "stream" if with_log else "none"
    command = [programs / "pg_basebackup", "-D", target, "-X", log, "-c", "fast", "--no-password"]
    command += [f"--tablespace-mapping={_escaped(old)}={_escaped(str(new))}" for old, new in tablespaces.items()]
    _run(command, url, account, "No copy of the database could be made")


def receive(programs: Path, url: str, slot: str, folder: Path, end: int, segment: int, account: Account) -> None:
    """Bring the log into a folder, from what it has already (or where the slot stands) to ``end``, which ends a segment.

    Raises ``LogGap`` where the server does not have it any more, ``DatabaseFailed``.
    """
    for partial in folder.glob("*.partial"):
        if partial.stat().st_size not in (0, segment):
            partial.unlink()  # the disk was full when it was made; the program would stop at it for ever
    # Without --synchronous: each segment is synced when it ends, and the slot goes on no further than that.
    command = [programs / "pg_receivewal", "-D", folder, f"--slot={slot}", "--no-loop", "--no-password"]
    _run([*command, f"--endpos={format_lsn(end - 1)}"], url, account, "The original's log could not be received")


def _run(command: list[object], url: str, account: Account, what: str) -> None:
    from psycopg import conninfo

    known = conninfo.conninfo_to_dict(parameters(url))
    password = known.pop("password", None)
    environment = {**os.environ, "LC_ALL": "C"} | ({"PGPASSWORD": str(password)} if password else {})
    words = [*map(str, command), f"--dbname={conninfo.make_conninfo('', **known)}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd="/", **tied(account))  # type: ignore[call-overload]
    if done.returncode == 0:
        return
    lines = [line for line in done.stderr.splitlines() if "error" in line or "FATAL" in line] or ["it did not say why"]
    said = (lines[0].partition("error: ")[2] or lines[0]).rstrip(".")
    if any(word in done.stderr for word in GONE):
        raise LogGap(f"{what}: {said}.", "What was not received is lost for this copy. Make it anew.")
    raise DatabaseFailed(f"{what}: {said}.", "Put that right, then run it again.")


def _escaped(path: str) -> str:
    return path.replace("=", "\\=")
