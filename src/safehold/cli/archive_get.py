"""`safehold pg archive-get`, on the short way: a file that was fetched ahead is moved to where the server wants it.

Every end but "it is there" and "there is none" stops the server: if it took an unreachable store for the end of the log, it would
open the database at a moment that nobody asked for.  PostgreSQL stops for a status above 125 (``RestoreArchivedFile``).
"""

from __future__ import annotations

import errno
import os
import sys

from safehold.sources.postgresql.wal import parse_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MISSING = 1
STOP = 200
"""Not 126 or 127, which a shell gives for programs that it can't run, and none that means a signal."""
AHEAD = 16
"""Segments that are fetched before they are asked for."""
LOCK = "fetching.lock"
_WITH_VALUE = ("--cache", "--repo", "-r", "--config", "--password-file", "--key-file", "--ahead", "--system")


def main(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run it with these words; the exit status."""
    status = _quickly(words, environ)
    if status is not None:
        return status
    from safehold.cli.main import run

    status = run(["pg", "archive-get", *words])
    return status if status in {0, MISSING} and not _is_help(words) else 0 if _is_help(words) else STOP


def _is_help(words: Sequence[str]) -> bool:
    return "--help" in words or "-h" in words


def _quickly(words: Sequence[str], environ: Mapping[str, str]) -> int | None:
    """Give a file that is in the cache; None if that can't be done here."""
    options: dict[str, str] = {}
    plain: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in _WITH_VALUE:
            options[word] = next(rest, "")
        elif word.startswith("-"):
            return None
        else:
            plain.append(word)
    if len(plain) != 2:
        return None
    name, target = plain
    folder = cache_folder(options.get("--cache", ""), target)
    parsed = parse_name(name)
    if parsed is None or parsed.kind != "segment":
        return None
    try:
        move(os.path.join(folder, name), target)
    except OSError:
        return None
    left = sum(len(other) == 24 and other[:8] == name[:8] and other > name for other in os.listdir(folder))
    if left <= AHEAD // 2 and options.get("--ahead") != "0":
        start_fetching(words, folder, environ)
    return 0


def move(source: str, target: str) -> None:
    """Move a file, also to another file system."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        import shutil

        shutil.copyfile(source, target)
        os.unlink(source)


def cache_folder(option: str, target: str) -> str:
    """Where files wait that were fetched ahead: by the option, or ``safehold_wal`` in the data directory."""
    return (
        os.path.abspath(option) if option else os.path.abspath(os.path.join(os.path.dirname(target), os.pardir, "safehold_wal"))
    )


def start_fetching(words: Sequence[str], folder: str, environ: Mapping[str, str]) -> None:
    """Have the next segments fetched by a process of its own, unless one is at work."""
    from safehold.cli.archive_push import is_held

    if sys.platform == "win32" or is_held(os.path.join(folder, LOCK)):
        return
    null = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
    command = [sys.executable, "-m", "safehold", "pg", "archive-get", *words, "--only-ahead"]
    os.posix_spawn(sys.executable, command, dict(environ), file_actions=null, setsid=True)
