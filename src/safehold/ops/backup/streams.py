"""Backing up what a command prints, or what comes in on standard input, as one file."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import BinaryIO

import msgspec

from safehold import __version__
from safehold.codec.chunker import Chunker
from safehold.core.entries import FILE, Entry, More, Node, Totals
from safehold.core.errors import CommandFailed, SessionExpired, UsageError
from safehold.core.events import Progress
from safehold.core.programs import begun
from safehold.ops.backup.content import ContentWriter
from safehold.ops.backup.record import Result, record_once, user_name
from safehold.repo import trees
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Snapshot, Source, Statistics
from safehold.repo.writer import ChunkWriter, WriterOptions
from safehold.sources.files import metadata

MODE = 0o600
READ = 1024 * 1024


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a stream is kept."""

    name: str
    """The name of the file that it becomes."""
    tags: list[str] = []
    host: str = ""
    writer: WriterOptions = WriterOptions()
    dry_run: bool = False
    """The store is one that changes nothing."""


def back_up_stream(repository: Repository, stream: BinaryIO, options: StreamOptions) -> Result:
    """Back up everything that can be read from ``stream``.  Raises ``UsageError`` for a name that no file can have.

    Raises ``SessionExpired`` if a prune took it for dead: a stream cannot be read twice, so it is not tried again.
    """
    read = stream.read1 if hasattr(stream, "read1") else stream.read
    return _back_up(repository, Source(kind="stdin", paths=[_name(options)]), read, lambda: None, options)


def back_up_command(repository: Repository, command: str, options: StreamOptions) -> Result:
    """Back up what a shell command prints.  Raises ``CommandFailed``, and keeps no snapshot, unless it exits with 0."""
    source = Source(kind="command", paths=[_name(options)], command=command)
    alone = os.name == "posix" and not _has_terminal()
    end = partial(_kill, alone=alone)
    with begun(_shell(command), end=end, stdout=subprocess.PIPE, start_new_session=alone) as process:
        assert process.stdout is not None

        def succeed() -> None:
            status = process.wait()
            if status != 0:
                how = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
                raise CommandFailed(
                    f"The command {command!r} {how}; no snapshot was made.", "Run it by itself to see what is wrong."
                )

        return _back_up(repository, source, process.stdout.read1, succeed, options)  # type: ignore[attr-defined]


def _has_terminal() -> bool:
    """Whether a command can ask its user something; then it stays in the terminal's group, and Ctrl-C reaches all of it."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True


def _kill(process: subprocess.Popen[bytes], alone: bool) -> None:
    """End a command, and, where it has a group of its own, all that it has started."""
    if sys.platform != "win32" and alone:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _back_up(
    repository: Repository, source: Source, read: Callable[[int], bytes], succeed: Callable[[], None], options: StreamOptions
) -> Result:
    """Store the stream; ``succeed`` is asked, at its end, whether it may count."""
    now_ns = repository.clock.now_ns()
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        repository.report(Progress(phase="backup", files=1, bytes=done, path=options.name))

    def build(writer: ChunkWriter) -> Snapshot:
        content = ContentWriter(writer, Chunker(repository.seals.chunker_seed, repository.config.chunks), advance)
        stored = content.store_stream(lambda most: read(min(most, READ)), text=True)
        succeed()
        uid, gid = _ids()
        more = More(map=stored.map) if stored.map else None
        entry = Entry(source.paths[0], FILE, MODE, uid, gid, now_ns, now_ns, stored.size, 0, stored.ids, more)
        owners = {uid: name} if (name := metadata.owner_name(uid)) else {}
        groups = {gid: name} if (name := metadata.group_name(gid)) else {}
        return Snapshot(
            time_ns=now_ns,
            host=options.host or socket.gethostname(),
            user=user_name(),
            source=source,
            tree=trees.write_node(writer, Node([entry], owners, groups)),
            totals=Totals(files=1, bytes=stored.size),
            tags=sorted(set(options.tags)),
            statistics=Statistics(new=1, read=stored.size),
            program=f"safehold {__version__}",
        )

    try:
        result = record_once(repository, options.writer, build, remember=not options.dry_run)
    except SessionExpired as error:
        raise SessionExpired(str(error), "What came in is used up; run it again.") from error
    return msgspec.structs.replace(result, id="") if options.dry_run else result


def _name(options: StreamOptions) -> bytes:
    name = os.fsencode(options.name)
    if not name or b"/" in name or b"\0" in name or name in (b".", b".."):
        raise UsageError(f"{options.name!r} cannot be the name of a file.", "Give a plain name with --name.")
    return name


def _shell(command: str) -> list[str]:
    """As the user's shell would run it; with bash or a shell like it, every command of a pipe must succeed."""
    if os.name == "nt":
        return ["cmd", "/d", "/c", command]
    for shell in ("/bin/bash", "/usr/bin/bash"):
        if os.access(shell, os.X_OK):
            return [shell, "-o", "pipefail", "-c", command]
    return ["/bin/sh", "-c", command]


def _ids() -> tuple[int, int]:
    """Who runs this: user and group number; Windows has none."""
    if sys.platform == "win32":
        return 0, 0
    return os.getuid(), os.getgid()
