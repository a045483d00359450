"""Give a recovering PostgreSQL server a file of its log: what its restore_command calls.

The segments after it are fetched in the background, so that the recovery need not wait for each.  Status 1 says that there is no
such file, which for the server is the end of the log; anything else that goes wrong is 200, at which the server stops: it must
not take an unreachable store for the end of the log."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from safehold.core.errors import SafeholdError, UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "NAME TARGET [options]"
EXAMPLES = (
    "safehold pg archive-get 0000000100000000000000A1 pg_wal/RECOVERYXLOG",
    "restore_command = 'safehold pg archive-get %f %p'",
)
STATUSES = (200,)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("name", metavar="NAME", help="the file that the server wants: %%f")
    add("path", metavar="TARGET", help="where it wants it: %%p")
    add("--cache", metavar="DIR", default="", help="where files wait that were fetched ahead (DATADIR/safehold_wal)")
    add("--ahead", metavar="N", type=int, default=16, help="how many are fetched ahead (16); 0: none")
    add("--system", metavar="ID", default="", help="the system identifier (else that of the data directory)")
    add("--only-ahead", action="store_true", help="fetch those after NAME into the cache, and not NAME")


def run(call: Call) -> int:
    """Get it."""
    from safehold.cli.archive_get import STOP
    from safehold.cli.main import fail

    try:
        return _only_ahead(call) if call.values.only_ahead else _get(call)
    except SafeholdError as error:
        fail(error, call.out.as_json)
        return STOP
    except OSError as error:
        fail(SafeholdError(f"{call.values.name} could not be written to {call.values.path}: {error}."), call.out.as_json)
        return STOP


def _get(call: Call) -> int:
    from safehold.cli.archive_get import MISSING, cache_folder, move, start_fetching
    from safehold.ops.databases.postgresql.fetching import Fetcher, tidy

    values = call.values
    folder = Path(cache_folder(values.cache, values.path))
    waiting = folder / values.name
    _wait(call, folder, waiting)
    if waiting.exists():
        move(str(waiting), values.path)
    elif not Fetcher(call.repository(), _system(call)).fetch(values.name, Path(values.path)):
        return MISSING
    tidy(folder, values.name)
    if values.ahead > 0 and len(values.name) == 24:
        folder.mkdir(mode=0o700, exist_ok=True)
        start_fetching(_words(call), str(folder), call.environ)
    return 0


def _wait(call: Call, folder: Path, waiting: Path) -> None:
    """Wait for what another process is fetching."""
    from safehold.cli.archive_get import LOCK
    from safehold.cli.archive_push import is_held

    while not waiting.exists() and is_held(str(folder / LOCK)):
        call.clock.sleep(0.02)


def _only_ahead(call: Call) -> int:
    from safehold.cli.archive_get import LOCK, cache_folder
    from safehold.ops.databases.postgresql.fetching import Fetcher
    from safehold.storage.filesystem import hold

    values = call.values
    folder = Path(cache_folder(values.cache, values.path))
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if hold(descriptor):
            Fetcher(call.repository(), _system(call)).fetch_after(values.name, values.ahead, folder)
    finally:
        os.close(descriptor)
    return 0


def _system(call: Call) -> str:
    from safehold.sources.postgresql.spool import system_beside

    system = str(call.values.system) or system_beside(call.values.path)
    if not system:
        raise UsageError(
            f"{call.values.path} is in no data directory, so it is not clear of which database {call.values.name} is.",
            "Run it in the data directory, as the server does, or say --system.",
        )
    return system


def _words(call: Call) -> list[str]:
    """What this call was given, for the one that fetches ahead."""
    values = call.values
    words = [values.name, values.path, "--ahead", str(values.ahead)]
    for option, value in (
        ("--cache", values.cache),
        ("--system", values.system),
        ("--repo", values.repository),
        ("--config", values.config),
        ("--password-file", values.password_file),
        ("--key-file", values.key_file),
    ):
        words += [option, value] if value else []
    return words
