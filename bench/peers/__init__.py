"""The programs Safehold is measured beside, and Safehold itself."""

from __future__ import annotations

from pathlib import Path

from peers.base import Program, restored
from peers.drivers import Borg, Bupstash, Kopia, Restic, Rustic, Safehold

__all__ = ["NAMES", "PEERS", "Program", "make_program", "restored"]

PEERS: dict[str, tuple[type[Program], str]] = {
    "restic": (Restic, "bin/restic"),
    "rustic": (Rustic, "bin/rustic"),
    "borg": (Borg, "borg/bin/borg"),
    "kopia": (Kopia, "bin/kopia"),
    "bupstash": (Bupstash, "bin/bupstash"),
}
"""Each peer's driver and where ``install.py`` puts it."""

NAMES = (*PEERS, "safehold")


def make_program(name: str, installed: Path, states: Path, safehold: Path) -> Program:
    """The program called ``name``, with its state below ``states``."""
    if name == "safehold":
        return Safehold(safehold, states / name)
    driver, executable = PEERS[name]
    return driver(installed / executable, states / name)
