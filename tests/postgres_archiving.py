"""A server that archives with Safehold, and restores of it that are started and looked at."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cli_program import Program, Ran
from postgres_servers import Server

SETTINGS = {"archive_mode": "on", "wal_keep_size": "0"}


ERRAND = """#!/bin/sh
d=$(mktemp -d {folder}/errand.XXXXXX) && pwd > $d/cwd && printf '%s\\n' "$@" > $d/words.new && mv $d/words.new $d/words || exit 250
until test -e $d/status; do sleep 0.02; done
cat $d/err >&2; status=$(cat $d/status); rm -r $d; exit $status
"""


class Errands:
    """Runs Safehold for servers: their user may not be allowed to run this Python, nor to read what it reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "errands"
        self.folder.mkdir()
        self.folder.chmod(0o777)
        self.script = folder / "errand"
        self.script.write_text(ERRAND.format(folder=self.folder))
        self.script.chmod(0o755)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        done: set[str] = set()  # the script removes its folder file by file: one must not be taken for new meanwhile
        while not self._stopped.wait(0.01):
            for place in sorted(self.folder.iterdir()):
                if place.name not in done and (place / "words").exists():
                    done.add(place.name)
                    with suppress(FileNotFoundError):  # the server may have been killed, and its folder is gone
                        self._do(place)

    def _do(self, place: Path) -> None:
        words = (place / "words").read_text().splitlines()
        cwd = (place / "cwd").read_text().strip()
        done = subprocess.run([sys.executable, "-m", "safehold", *words], cwd=cwd, capture_output=True, check=False)
        if words[1] == "archive-get" and done.returncode == 0 and os.geteuid() == 0:
            shutil.chown(Path(cwd) / words[3], "postgres", "postgres")
        (place / "err").write_bytes(done.stderr)
        (place / "status.new").write_text(str(done.returncode))
        (place / "status.new").rename(place / "status")


class Archiving:
    """A server whose log goes into a spool, and from there into a program's repository when a test says so."""

    def __init__(self, folder: Path, program: Program, errands: Errands, major: int, name: str) -> None:
        self.errands = errands
        self.program = program
        self.folder = folder
        self.spool = folder / f"{name}.spool"
        self.server = Server(folder, major, name)

    def push_command(self, *words: str) -> str:
        """An archive_command that pushes into the spool and starts no uploader."""
        return " ".join([f"{self.errands.script} pg archive-push %p --spool {self.spool} --no-upload", *words])

    def begin(self, segment: int = 1) -> Archiving:
        """Start it; ``segment``: MiB of a segment of its log."""
        sizes = {"max_wal_size": f"{64 * segment}MB", "min_wal_size": f"{32 * segment}MB"}
        settings = {**SETTINGS, **sizes, "archive_command": self.push_command()}
        self.server.init(f"--wal-segsize={segment}", **settings)
        self.server.start()
        self.server.sql("CREATE TABLE t (n int, at timestamptz DEFAULT clock_timestamp())")
        return self

    @property
    def system(self) -> str:
        return self.one("SELECT system_identifier FROM pg_control_system()")

    def base(self) -> str:
        """Make a base; its snapshot."""
        return str(self.program.do("backup", self.server.url, "--json").value["snapshot"])

    def add(self, *numbers: int) -> None:
        for number in numbers:
            self.server.sql(f"INSERT INTO t (n) VALUES ({number})")

    def one(self, query: str) -> str:
        return str(self.server.sql(query)[0][0])

    def now(self) -> str:
        """The server's time, a moment after what was done and before what will be."""
        time.sleep(0.01)
        moment = self.one("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00:00'")
        time.sleep(0.01)
        return moment

    def archived(self) -> str:
        """Have all of the log so far archived and uploaded; the name of the last segment."""
        self.server.sql("SELECT pg_create_restore_point('so far')")  # at a segment's very beginning, 17 names the next one
        name = self.one("SELECT pg_walfile_name(pg_switch_wal())")
        self.wait_for(name)
        self.upload()
        return name

    def wait_for(self, name: str) -> None:
        for _ in range(400):
            last = self.one("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver")
            if last[:24] >= name or (self.spool / "segments" / name).exists():
                return
            time.sleep(0.05)
        raise AssertionError(f"{name} is not archived: {self.server.log.read_text()[-2000:]}")

    def upload(self) -> Ran:
        return self.program.do("pg", "archive-upload", "--spool", self.spool)

    @contextmanager
    def restored(self, *words: object, snap: str = "latest", start: bool = True, name: str = "r") -> Iterator[Server]:
        """A server on a restored folder, when its recovery is over."""
        target = self.folder / name
        ran = self.program("restore", snap, "--target", target, *words)
        assert ran.status == 0, ran.err
        server = Server(self.folder, self.server.major, name)
        try:
            if start:
                self.start(server)
            yield server
        finally:
            server.stop()
            shutil.rmtree(target, ignore_errors=True)

    def start(self, server: Server, *options: str) -> None:
        """Start it, and wait until its recovery is over."""
        server.start("-c", f"unix_socket_directories={server.sockets}", *options)
        self.wait_promoted(server)

    def wait_promoted(self, server: Server) -> None:
        """Wait until a server's recovery is over."""
        for _ in range(400):
            if not server.sql("SELECT pg_is_in_recovery()")[0][0]:
                return
            time.sleep(0.05)
        raise AssertionError(server.log.read_text()[-3000:])


def numbers(server: Server) -> list[int]:
    return [int(str(row[0])) for row in server.sql("SELECT n FROM t ORDER BY n")]
