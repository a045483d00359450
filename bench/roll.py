"""The roll of an image copy beside PostgreSQL's own recovery of a copy of the same image, over the same log.

The case ``roll`` of databases.py.  The peer gets its log by ``cp`` from a folder that the server archives into, with the same
settings, and does nothing but recover.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from measure import Command, Cost, run_checked, run_measured

if TYPE_CHECKING:
    from databases import Server

NAME = "shop"
SEGMENT = 16 << 20


class Rolls:
    """An image copy, and how long it takes to roll it."""

    def __init__(self, folder: Path, server: Server, archive: Path, program: Path, user: tuple[str, ...]) -> None:
        self._folder = folder
        self._server = server
        self._archive = archive
        self._program = str(program)
        self._user = user
        self.image = folder / "image"
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        self._env = {"SAFEHOLD_STATE_DIR": str(folder / "state"), "SAFEHOLD_CACHE_DIR": str(folder / "cache")}
        run_checked(self._safehold("create", NAME, server.url, "--target", str(self.image)))

    def _safehold(self, *words: str) -> Command:
        return Command((self._program, "image-copy", *words), self._env)

    def round(self, segments: int, *, peer_first: bool) -> dict[str, float]:
        """Have the server write so many segments, then roll the image and the copy of it over them."""
        before = self._position()
        while self._position() - before < segments * SEGMENT:
            self._server.work(20_000)
        copy = self._folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        run_checked(Command(("cp", "-a", str(self.image), str(copy))))
        (copy / "data/global/pg_control.image").rename(copy / "data/global/pg_control")
        count = (self._position() - before) // SEGMENT + 1
        if peer_first:
            self._sql("CHECKPOINT")
            self._sql("SELECT pg_create_restore_point('bench')")
            self._archived()
            peer = self._recover(copy, "bench")
            own = self._roll()
        else:
            own = self._roll()
            self._archived()
            point = json.loads((self.image / "image.json").read_text())["facts"]["point"]
            peer = self._recover(copy, point)
        for path in sorted(self._archive.iterdir())[:-4]:  # the next recovery begins in one of these
            path.unlink()
        beyond = own.wall - peer.wall
        return {
            "segments": count,
            "roll": own.wall,
            "recovery": peer.wall,
            "beyond": beyond / count,
            "roll cpu": own.cpu,
            "recovery cpu": peer.cpu,
            "beyond cpu": (own.cpu - peer.cpu) / count,
        }

    def _roll(self) -> Cost:
        return _whole(run_measured(self._safehold("update", NAME), self._folder / "log"))

    def _recover(self, copy: Path, point: str) -> Cost:
        settings = {
            "unix_socket_directories": str(self._server.folder),
            "port": "5433",
            "archive_mode": "off",
            "shared_buffers": "256MB",
            "max_wal_size": "256MB",
            "restore_command": f'cp "{self._archive}/%f" "%p"',
            "recovery_target_name": point,
            "recovery_target_action": "shutdown",
            "log_min_messages": "log",
        }
        words = [word for pair in settings.items() for word in ("-c", "=".join(pair))]
        command = (*self._user, str(self._server.bin / "postgres"), "-D", str(copy / "data"), *words)
        return _whole(run_measured(Command(command), self._folder / "log"))

    def _sql(self, query: str) -> str:
        return self._server.run("psql", "-h", self._server.folder, "-X", "-At", "-c", query, "postgres").strip()

    def _position(self) -> int:
        high, low = self._sql("SELECT pg_current_wal_insert_lsn()").split("/")
        return int(high, 16) << 32 | int(low, 16)

    def _archived(self) -> None:
        name = self._sql("SELECT pg_walfile_name(pg_switch_wal())")
        self._server.wait_for(self._archive / name)


def _whole(cost: Cost) -> Cost:
    if cost.status:
        sys.exit(f"it ended with {cost.status}: {cost.stderr}")
    return cost


def measured(
    folder: Path, server: Server, archive: Path, program: Path, user: tuple[str, ...], runs: int, segments: int
) -> list[dict[str, float]]:
    """So many rounds, in turn with the image first and with the peer first."""
    rolls = Rolls(folder, server, archive, program, user)
    return [rolls.round(segments, peer_first=bool(number % 2)) for number in range(runs)]


def show(results: list[dict[str, float]]) -> None:
    """Print medians."""
    middle = {name: median(result[name] for result in results) for name in results[0]}
    print(f"{'roll':18}{middle['segments']:4.0f} segments: {middle['roll']:.2f} s ({middle['roll cpu']:.2f} cpu), ", end="")
    print(f"recovery alone {middle['recovery']:.2f} s ({middle['recovery cpu']:.2f} cpu); ", end="")
    print(f"beyond it {middle['beyond']:.3f} s ({middle['beyond cpu']:.3f} cpu) a segment, on {os.cpu_count()} cores")
