"""`safehold pg archive-push`, on the short way: the server waits for it, once for every 16 MiB of its log.

The usual way to a command (argparse, msgspec, the configuration) takes 60 ms before it begins; this one takes 5.  Words that it
does not know go the usual way, which ends here, too (``cli/commands/pg_archive_push.py``).
"""

from __future__ import annotations

import os
import sys

from safehold.core.errors import SafeholdError
from safehold.sources.postgresql.spool import LIMIT, LOCK, Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WITH_VALUE = ("--spool", "--spool-limit", "--repo", "-r", "--config", "--password-file", "--key-file")
_FOR_UPLOAD = ("--repo", "-r", "--config", "--password-file", "--key-file")
IDLE_SECONDS = 600
"""An uploader that was started from here ends when nothing has come for so long."""
RESTART_SECONDS = 10
"""At most so often one is started: one that ends at once must not cost the server time with every segment."""
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def quickly(words: Sequence[str], environ: Mapping[str, str]) -> int | None:
    """Push what the words say; the exit status, or None if they say something that is for the usual way."""
    options: dict[str, str] = {}
    path = ""
    rest = iter(words)
    for word in rest:
        if word in _WITH_VALUE:
            options[word] = next(rest, "")
        elif word == "--no-upload":
            options[word] = word
        elif word.startswith("-") or path:
            return None
        else:
            path = word
    if not path or "" in options.values():
        return None
    try:
        return push(path, options, environ)
    except SafeholdError as error:
        sys.stderr.write(f"safehold: {error} {error.hint}\n")
        return error.status


def push(path: str, options: Mapping[str, str], environ: Mapping[str, str]) -> int:
    """Take a WAL file into the spool, and see that an uploader runs.  ``options``: by their names, with both dashes."""
    settings = _settings(options, environ)
    limit = options.get("--spool-limit") or settings.get("spool-limit") or environ.get("SAFEHOLD_SPOOL_LIMIT") or ""
    spool = Spool(spool_folder(options.get("--spool", ""), environ, settings), parse_size(limit) if limit else LIMIT)
    try:
        spool.add(path)
    except OSError as error:
        raise SafeholdError(
            f"{os.path.basename(path)} was not archived: {error.filename or spool.folder}: {error.strerror}.",
            "The server keeps it and tries again.",
        ) from error
    if "--no-upload" not in options:
        ensure_uploader(spool, options, environ)
    return 0


def spool_folder(option: str, environ: Mapping[str, str], settings: Mapping[str, str]) -> str:
    """Where the spool is: by the option, by SAFEHOLD_SPOOL, by the configuration, or in this user's folder for such things."""
    chosen = option or environ.get("SAFEHOLD_SPOOL") or settings.get("spool") or ""
    if chosen:
        return os.path.abspath(os.path.expanduser(chosen))
    if sys.platform.startswith("linux"):  # what platformdirs says, without importing it
        state = environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        return os.path.join(state, "safehold", "wal")
    import platformdirs

    return os.path.join(platformdirs.user_state_dir("safehold", False), "wal")


def parse_size(text: str) -> int:
    """``16G``, ``500M`` or bytes.  Raises ``SafeholdError``."""
    word = text.strip().upper().removesuffix("B").removesuffix("I")
    unit = _UNITS.get(word[-1:], 1)
    number = word[:-1] if unit > 1 else word
    if not number.isdecimal() or not int(number):
        from safehold.core.errors import UsageError

        raise UsageError(f"{text!r} is no size.", "Write it as 500M or 16G.")
    return int(number) * unit


def config_file(options: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """The path of the configuration file, which may not be there."""
    named = options.get("--config") or environ.get("SAFEHOLD_CONFIG") or ""
    if named:
        return os.path.expanduser(named)
    if sys.platform.startswith("linux"):
        return os.path.join(environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "safehold", "config.toml")
    import platformdirs

    return os.path.join(platformdirs.user_config_dir("safehold", False), "config.toml")


def _settings(options: Mapping[str, str], environ: Mapping[str, str]) -> Mapping[str, str]:
    """What the configuration says of spools; not even opened where options say it all."""
    path = config_file(options, environ)
    if options.get("--spool") or environ.get("SAFEHOLD_SPOOL") or not os.path.exists(path):
        return {}
    from pathlib import Path

    from safehold.cli.settings import load

    loaded = load(Path(path), required=True)
    return {"spool": loaded.spool, "spool-limit": loaded.spool_limit}


def ensure_uploader(spool: Spool, options: Mapping[str, str], environ: Mapping[str, str]) -> None:
    """Start an uploader for this spool, detached, if none runs and it is known where to upload to."""
    if sys.platform == "win32" or not _knows_repository(options, environ) or is_held(spool.path(LOCK)):
        return
    marker = spool.path("uploader.started")
    import time

    try:
        if time.time() - os.stat(marker).st_mtime < RESTART_SECONDS:
            return
    except FileNotFoundError:
        pass
    spool.note("uploader.started", b"")
    words = [word for name in _FOR_UPLOAD if name in options for word in (name, options[name])]
    command = [sys.executable, "-m", "safehold", "pg", "archive-upload", "--watch", "--until-idle", str(IDLE_SECONDS)]
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, spool.path("uploader.log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    ]
    os.posix_spawn(sys.executable, [*command, "--spool", spool.folder, *words], dict(environ), file_actions=actions, setsid=True)


def _knows_repository(options: Mapping[str, str], environ: Mapping[str, str]) -> bool:
    if options.get("--repo") or options.get("-r") or environ.get("SAFEHOLD_REPO"):
        return True
    try:
        with open(config_file(options, environ), encoding="utf-8") as file:
            return any(line.lstrip().startswith("repository") for line in file)
    except OSError:
        return False


def is_held(path: str) -> bool:
    """Whether a process holds the lock of that file."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
