"""Measure PostgreSQL bases beside pgBackRest, and image copies beside recovery alone.  See README.md, "Databases"."""

from __future__ import annotations

import argparse
import json
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import roll
from data import WORK
from measure import Command, run_checked, run_measured

_ROOT = Path(__file__).resolve().parent.parent
_USER = "postgres"
_SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "wal_level": "replica",
    "archive_mode": "on",
    "autovacuum": "off",
}
MB = 1_000_000
_OF_SCALE = 15 * MB
"""Bytes of pgbench's tables for each step of its scale."""
_LOG = 5_000 * MB
"""What the server may keep of its log."""


class Server:
    """Debian's PostgreSQL 15 with pgbench's tables, run by an unprivileged user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.bin = Path("/usr/lib/postgresql/15/bin")
        self.url = f"postgresql://{_USER}@/postgres?host={folder}"
        self._process: subprocess.Popen[bytes] | None = None

    def make(self, scale: int, archive_command: str) -> None:
        """A new cluster of that scale: 15 MB each."""
        self.folder.mkdir(parents=True)
        _give(self.folder)
        self.run("initdb", "-D", self.data, "-U", _USER, "-A", "trust", "--data-checksums", "--locale=C", "-E", "UTF8")
        settings = {**_SETTINGS, "unix_socket_directories": str(self.folder), "archive_command": archive_command}
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        self.start()
        self.run("pgbench", "-h", self.folder, "-U", _USER, "-i", "-s", scale, "-q", "postgres")

    def start(self) -> None:
        """Start it and wait for it."""
        command = [*as_user(), str(self.bin / "postgres"), "-D", str(self.data)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        while subprocess.run([self.bin / "pg_isready", "-q", "-h", self.folder], check=False).returncode:
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it."""
        if self._process is not None:
            self._process.send_signal(2)
            self._process.wait()

    def run(self, program: str, *words: object) -> str:
        """Run one of its programs."""
        return run_checked(Command((*as_user(), str(self.bin / program), *map(str, words))))

    def wait_for(self, path: Path) -> None:
        """Wait until it has archived a file."""
        for _ in range(600):
            if path.exists():
                return
            time.sleep(0.1)
        sys.exit(f"{path} is not archived")

    def work(self, transactions: int) -> None:
        """That many of pgbench's transactions, spread over all rows."""
        self.run("pgbench", "-h", self.folder, "-U", _USER, "-n", "-c", 4, "-t", transactions // 4, "postgres")


class Safehold:
    """This program."""

    name = "safehold"

    def __init__(self, folder: Path, server: Server, program: Path, options: Sequence[str] = ()) -> None:
        self.repository = folder / "repository"
        self._env = {"SAFEHOLD_REPO": str(self.repository), "SAFEHOLD_CACHE_DIR": str(folder / "cache")}
        self._env["SAFEHOLD_KEY_FILE"] = str(folder / "key")
        self._program = str(program)
        self._server = server
        self._options = tuple(options)
        folder.mkdir(parents=True)
        run_checked(Command((self._program, "init", str(self.repository), "--key-file", str(folder / "key")), self._env))

    def backup(self, *, full: bool) -> Command:
        del full  # the first one is
        return Command((self._program, "backup", self._server.url, *self._options), self._env)

    def restore(self, target: Path, *, delta: bool) -> Command:
        del delta
        return Command((self._program, "restore", "latest", "--target", str(target)), self._env)


class PgBackRest:
    """pgBackRest with zstd at level 3, AES, bundles, two processes; whole files or (``repo`` 2) blocks of them."""

    def __init__(self, folder: Path, server: Server, repo: int) -> None:
        self.name = "pgbackrest" if repo == 1 else "pgbackrest, blocks"
        self.repository = folder / f"repo{repo}" / "backup"
        self._words = pgbackrest_words(folder)
        self._repo = repo
        self._server = server

    def backup(self, *, full: bool) -> Command:
        kind = "full" if full else "incr"
        return Command((*self._words, f"--repo={self._repo}", f"--type={kind}", "backup"))

    def restore(self, target: Path, *, delta: bool) -> Command:
        target.mkdir(mode=0o700, exist_ok=True)
        _give(target)
        words = ("--delta",) if delta else ()
        return Command((*self._words, f"--repo={self._repo}", f"--pg1-path={target}", "--archive-mode=off", *words, "restore"))


def pgbackrest_words(folder: Path) -> tuple[str, ...]:
    """Its command, up to options."""
    return (*as_user(), "pgbackrest", f"--config={folder}/conf", "--stanza=bench")


def make_pgbackrest(folder: Path, server: Server) -> None:
    """Its configuration: two repositories, as it would be used."""
    folder.mkdir(parents=True)
    lines = ["[global]", "start-fast=y", "process-max=2", "compress-type=zst", "compress-level=3", "log-level-file=off"]
    lines += [f"log-path={folder}", f"lock-path={folder}/lock", f"spool-path={folder}/spool", "log-level-console=warn"]
    for repo in (1, 2):
        lines += [f"repo{repo}-path={folder}/repo{repo}", f"repo{repo}-cipher-type=aes-256-cbc", f"repo{repo}-cipher-pass=secret"]
        lines += [f"repo{repo}-bundle=y", f"repo{repo}-retention-full=2"]
    lines += [
        "repo2-block=y",
        "beta=y",
        "[bench]",
        f"pg1-path={server.data}",
        f"pg1-socket-path={server.folder}",
        f"pg1-user={_USER}",
    ]
    (folder / "conf").write_text("\n".join(lines) + "\n")
    _give(folder)
    (folder / "conf").chmod(0o644)


def as_user() -> tuple[str, ...]:
    """What to put before a command of the server's user."""
    return ("setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups") if os.geteuid() == 0 else ()


def main() -> int:
    """Make the database, run all cases in turn, print what came of them."""
    options = _parse()
    folder = options.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    _require_room(folder, options)
    try:
        if "bases" in options.cases:
            _bases(folder, options)
        if "roll" in options.cases:
            _rolls(folder, options)
    finally:
        if not options.keep:
            for each in folder.iterdir():
                if each.name != "results.json":
                    shutil.rmtree(each) if each.is_dir() else each.unlink()
    return 0


def _require_room(folder: Path, options: argparse.Namespace) -> None:
    """End at once where the disk would be full later."""
    database = options.scale * _OF_SCALE
    need = 0
    if "bases" in options.cases:  # it, its log, a target, and what the repositories keep
        need = database * 3 + options.runs * database // 2 + _LOG
    if "roll" in options.cases:  # it, the image, the peer's copy, and the log four times
        need = max(need, database * 3 + options.segments * roll.SEGMENT * 4 + _LOG)
    free = shutil.disk_usage(folder).free
    if free < need:
        sys.exit(
            f"{folder} has {free / 1e9:.0f} GB free, and {need / 1e9:.0f} GB are needed: a smaller --scale, or another --folder."
        )


def _bases(folder: Path, options: argparse.Namespace) -> None:
    server = Server(folder / "server")
    peer = folder / "pgbackrest"
    make_pgbackrest(peer, server)
    archive = " ".join(pgbackrest_words(peer)[len(as_user()) :]) + " archive-push %p"
    try:
        server.make(options.scale, archive)
        run_checked(Command((*pgbackrest_words(peer), "stanza-create")))
        results = [_round(folder, number, server, peer, options) for number in range(options.runs)]
    finally:
        server.stop()
    _print(results)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")


def _rolls(folder: Path, options: argparse.Namespace) -> None:
    server, archive = Server(folder / "rolled"), folder / "archive"
    archive.mkdir()
    _give(archive)
    try:
        server.make(options.scale, f"cp %p {archive}/.%f && mv {archive}/.%f {archive}/%f")
        results = roll.measured(folder / "roll", server, archive, options.safehold, as_user(), options.runs, options.segments)
    finally:
        server.stop()
    roll.show(results)


Row = dict[str, tuple[float, float, float]]
"""For each program: seconds, bytes that the backup added, seconds of processor time (not counted: the server's)."""


def _round(folder: Path, number: int, server: Server, peer: Path, options: argparse.Namespace) -> dict[str, Row]:
    own = folder / f"safehold{number}"
    safehold = Safehold(own, server, options.safehold, options.method)
    programs = [safehold, PgBackRest(peer, server, 1), PgBackRest(peer, server, 2)]
    programs = programs[number % 3 :] + programs[: number % 3]
    cases: dict[str, Row] = {}

    def back_up(case: str, *, full: bool = False) -> None:
        cases[case] = {each.name: _timed(folder, each.backup(full=full), each.repository) for each in programs}

    back_up("full", full=True)
    for count in (1_000, 100_000):
        server.work(count)
        back_up(f"after {count:,}")
    back_up("unchanged")
    back_up("unchanged again")
    cases |= {"restore": {}, "delta restore": {}}
    for each in programs:  # one target at a time: three of a large database would fill the disk
        target = folder / f"target-{each.name.replace(', ', '-')}"
        cases["restore"][each.name] = _timed(folder, each.restore(target, delta=False), None)
        _spoil(target)
        cases["delta restore"][each.name] = _timed(folder, each.restore(target, delta=True), None)
        shutil.rmtree(target)
    shutil.rmtree(own)
    return cases


def _spoil(target: Path) -> None:
    """Change a page in every hundred of the largest file, as a server that ran on would."""
    file = max((path for path in (target / "base").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    with file.open("r+b") as data:
        for page in range(0, file.stat().st_size // 8192, 100):
            data.seek(page * 8192 + 4000)
            data.write(b"spoiled")
    (target / "postmaster.pid").unlink(missing_ok=True)


def _timed(folder: Path, command: Command, repository: Path | None) -> tuple[float, float, float]:
    before = _size(repository) if repository else 0
    cost = run_measured(command, folder / "log")
    if cost.status:
        sys.exit(f"{' '.join(command.argv)} ended with {cost.status}: {cost.stderr}")
    return cost.wall, (_size(repository) - before) if repository else 0, cost.cpu


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0


def _print(results: Sequence[dict[str, Row]]) -> None:
    names = list(results[0]["full"])

    def middle(case: str, name: str, of: int) -> float:
        return median(result[case][name][of] for result in results)

    print(f"{'case':18}" + "".join(f"{name:>34}" for name in sorted(names)))
    for case in results[0]:
        cells = [
            f"{middle(case, name, 0):8.2f} s {middle(case, name, 2):6.2f} cpu {middle(case, name, 1) / MB:7.2f} MB"
            for name in sorted(names)
        ]
        print(f"{case:18}" + "".join(f"{cell:>34}" for cell in cells))


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        record = pwd.getpwnam(_USER)
        os.chown(path, record.pw_uid, record.pw_gid)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="rounds (3)")
    parser.add_argument("--cases", nargs="+", choices=("bases", "roll"), default=["bases", "roll"], help="all, or some")
    parser.add_argument("--segments", type=int, default=32, help="of log that an image is rolled over (32)")
    parser.add_argument("--keep", action="store_true", help="remove nothing at the end")
    parser.add_argument("--scale", type=int, default=73, help="of pgbench (73: 1.1 GB)")
    parser.add_argument("--folder", type=Path, default=WORK / "databases", help="where all of it lies; the path must be short")
    parser.add_argument("--method", nargs="*", default=[], help="options of `safehold backup`")
    parser.add_argument(
        "--safehold", type=lambda p: Path(p).absolute(), default=_ROOT / ".venv" / "bin" / "safehold", help="the safehold program"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
