"""A backup as mariadb-backup (for MySQL: XtraBackup) streams it, and whether it is whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec

from safehold.core.errors import DatabaseFailed
from safehold.sources.mariadb import programs, xbstream
from safehold.sources.mariadb.connecting import Address, option_file
from safehold.sources.mariadb.server import Server, number_of

PIPE = 1 << 20
HEADS = 16 * 1024
"""Bytes that are read ahead: what is longer goes straight to where it is needed."""
ENDING_SECONDS = 5
CHECKPOINTS, BINLOG, INFO = "xtrabackup_checkpoints", "xtrabackup_binlog_info", "xtrabackup_info"
RENAMED = {f"mariadb_backup_{name.removeprefix('xtrabackup_')}": name for name in (CHECKPOINTS, BINLOG, INFO)}
"""Names that newer versions use."""


class Taken(msgspec.Struct, frozen=True):
    """What a finished backup says of itself."""

    checkpoints: dict[str, str]
    info: dict[str, str]
    binlog: str
    """File and position up to which it holds; empty without a binary log."""
    position: int
    gtid: str

    @property
    def number(self) -> int:
        return number_of(self.binlog) if self.binlog else 0


class Taking:
    """A backup under way: iterate over its chunks to the end, then ask for ``taken``."""

    def __init__(self, chunks: Iterator[xbstream.Chunk]) -> None:
        self._chunks = chunks
        self._small: dict[str, bytes] = {}
        self._finished = False

    def __iter__(self) -> Iterator[xbstream.Chunk]:
        for chunk in self._chunks:
            name = os.fsdecode(chunk.path)
            name = RENAMED.get(name, name)
            if name in (CHECKPOINTS, BINLOG, INFO):
                self._small[name] = self._small.get(name, b"") + chunk.data
            yield chunk
        self._finished = True

    @property
    def taken(self) -> Taken:
        """Raises ``DatabaseFailed`` if the stream did not say that it is whole."""
        checkpoints = settings(self._small.get(CHECKPOINTS, b""))
        if not self._finished or "to_lsn" not in checkpoints:
            raise DatabaseFailed(f"The backup is not whole: {CHECKPOINTS} did not come.", "No snapshot was made.")
        info = settings(self._small.get(INFO, b""))
        file, position, gtid = _binlog(self._small.get(BINLOG, b""))
        return Taken(checkpoints, info, file, position, gtid)


class Program:
    """The backup program, which runs.  Its stream can be read once."""

    def __init__(self, process: subprocess.Popen[bytes], said: programs.Said, name: str, ends: Path, since: int) -> None:
        self.since = since
        self.is_read = False
        self._process = process
        self._said = said
        self._name = name
        self._ends = ends
        """Where it puts its last words, too."""

    @contextmanager
    def reading(self, keep: IO[bytes] | None = None) -> Iterator[Taking]:
        """Read its stream.  At the end, raises ``DatabaseFailed`` unless it succeeded.  ``keep``: takes the stream itself."""
        process, said = self._process, self._said
        assert process.stdout is not None
        try:
            with open(process.stdout.fileno(), "rb", HEADS, closefd=False) as stream:
                yield Taking(xbstream.chunks(_kept(stream.read, keep) if keep else stream.read))
        except DatabaseFailed:
            if not _failed(process):
                raise  # else its own words say more than that its stream broke off
        except BaseException:
            process.kill()  # at once: whoever started it may have more to do first
            raise
        if process.wait() != 0:
            said.close()
            raise DatabaseFailed(f"{self._name} {programs.how(process.returncode)}: {said.last}.", _hint(said.last))
        self.is_read = True
        if not any(self._ends.glob("*_checkpoints")):
            raise DatabaseFailed(f"{self._name} succeeded, but left no {CHECKPOINTS}.", "No snapshot was made.")


@contextmanager
def started(where: Address, server: Server, program: str, parallel: int, since: int = -1) -> Iterator[Program]:
    """Start the backup program.  When this is left it has ended: it is killed unless its stream was read.

    ``since``: only pages that were changed after that position of InnoDB's log; -1: all.
    """
    with option_file(where) as options, tempfile.TemporaryDirectory(prefix="safehold-") as scratch:
        command = [
            program,
            f"--defaults-file={options}",
            "--backup",
            "--stream=xbstream",
            f"--parallel={parallel}",
            f"--target-dir={scratch}",
            f"--extra-lsndir={scratch}/lsn",
            f"--datadir={server.variables['datadir']}",
        ]
        command += [f"--incremental-lsn={since}"] if since >= 0 else []
        with programs.running(command) as (process, said):
            assert process.stdout is not None
            _widen(process.stdout.fileno())
            running = Program(process, said, Path(program).name, Path(scratch) / "lsn", since)
            try:
                yield running
            finally:
                if not running.is_read:
                    process.kill()


@contextmanager
def take(where: Address, server: Server, parallel: int, *, since: int = -1, keep: IO[bytes] | None = None) -> Iterator[Taking]:
    """Run the backup program, and read its stream.  Raises as ``Program.reading``, and for a program that does not fit."""
    program = programs.find("backup", server.engine)
    if server.engine == "mariadb":  # XtraBackup's own versions are near to MySQL's, not the same
        programs.require_series(program, server.version, "The server")
    with started(where, server, program, parallel, since) as running, running.reading(keep) as taking:
        yield taking


def _kept(read: Callable[[int], bytes], file: IO[bytes]) -> Callable[[int], bytes]:
    def do(count: int) -> bytes:
        data = read(count)
        file.write(data)
        return data

    return do


def _failed(process: subprocess.Popen[bytes]) -> bool:
    """Whether a program whose stream broke off did so because it failed."""
    try:
        return process.wait(ENDING_SECONDS) != 0
    except subprocess.TimeoutExpired:
        return False


def _hint(words: str) -> str:
    if re.search(r"permission denied|Errcode: 13", words, re.IGNORECASE):
        return "No snapshot was made.  It reads the server's files: run Safehold as root or as the server's user, on its machine."
    if re.search(r"privilege|access denied", words, re.IGNORECASE):
        return "No snapshot was made.  docs/mariadb.md says which privileges the user needs."
    if re.search(r"corrupt", words, re.IGNORECASE):
        return "No snapshot was made.  Pages of the database are damaged: CHECK TABLE, or restore the last base, says more."
    return "No snapshot was made."


def _widen(pipe: int) -> None:
    """A pipe of 1 MiB instead of 64 KiB, where the system has that."""
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)


def settings(data: bytes) -> dict[str, str]:
    """Lines of ``name = value``."""
    lines = (line.partition("=") for line in data.decode(errors="replace").splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in lines}


def _binlog(data: bytes) -> tuple[str, int, str]:
    """``FILE<tab>POSITION[<tab>GTID]``; a long set of MySQL's GTIDs goes over several lines."""
    parts = data.decode(errors="replace").strip().split("\t")
    if len(parts) < 2:
        return "", 0, ""
    return parts[0], int(parts[1]), "".join(parts[2].split()) if len(parts) > 2 else ""
