"""What a drive says of its own health (SMART), by smartmontools where they are installed; most flash drives say nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

_SECONDS = 20
_BAD_SECTORS = frozenset((5, 187, 197, 198))
"""Attributes of ATA disks: sectors that were replaced, that could not be read, or that wait for being replaced."""


@dataclass(frozen=True, slots=True)
class Health:
    """What a drive says."""

    passed: bool
    """Its own verdict; False: it expects to fail."""
    hours: int | None = None
    """It was switched on for so long."""
    celsius: int | None = None
    worn: int | None = None
    """Per cent of its life that are used up, of flash memory that says so."""
    bad_sectors: int | None = None
    """Sectors that were replaced, wait for it, or could not be read."""

    def sentence(self) -> str:
        """For people."""
        facts = [
            "the drive says that it is healthy" if self.passed else "the drive says that it is about to fail: replace it",
            "" if self.hours is None else f"{self.hours:,} hours in use",
            "" if self.celsius is None else f"{self.celsius} °C",
            "" if self.worn is None else f"{self.worn} % worn",
            "" if self.bad_sectors is None else f"{self.bad_sectors:,} bad sectors",
        ]
        return f"SMART: {', '.join(filter(None, facts))}."


def silence() -> str:
    """What is said where ``health`` is None."""
    if _program() is None:
        return "SMART: smartmontools are not installed, so what the drive says of its health is not known."
    return "SMART: the drive says nothing of its health."


def _program() -> str | None:
    return shutil.which("smartctl") or shutil.which("smartctl", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin")


def health(device: str) -> Health | None:
    """What the drive of a device node (``/dev/sdb1``) says; None: nothing, or smartmontools are not there or may not ask."""
    program = _program()
    if program is None or sys.platform == "win32" or not device.startswith("/dev/"):
        return None
    try:
        done = subprocess.run(
            [program, "--json", "-H", "-A", device], capture_output=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
        return parse(done.stdout)
    except (OSError, subprocess.TimeoutExpired):
        return None


class _Status(msgspec.Struct, frozen=True):
    passed: bool


class _Raw(msgspec.Struct, frozen=True):
    value: int = 0


class _Attribute(msgspec.Struct, frozen=True):
    id: int
    raw: _Raw = _Raw()


class _Table(msgspec.Struct, frozen=True):
    table: tuple[_Attribute, ...] = ()


class _Nvme(msgspec.Struct, frozen=True):
    percentage_used: int | None = None
    media_errors: int | None = None


class _Said(msgspec.Struct, frozen=True):
    """What is used of smartctl's JSON (its manual, ``--json``)."""

    smart_status: _Status | None = None
    temperature: Mapping[str, int] = {}
    power_on_time: Mapping[str, int] = {}
    ata_smart_attributes: _Table = _Table()
    nvme_smart_health_information_log: _Nvme = _Nvme()


def parse(said: bytes) -> Health | None:
    """What smartctl said, as JSON; None if the drive gave no verdict."""
    try:
        found = msgspec.json.decode(said, type=_Said)
    except msgspec.DecodeError:
        return None
    if found.smart_status is None:
        return None
    counts = [each.raw.value & 0xFFFFFFFF for each in found.ata_smart_attributes.table if each.id in _BAD_SECTORS]
    nvme = found.nvme_smart_health_information_log
    return Health(
        passed=found.smart_status.passed,
        hours=found.power_on_time.get("hours"),
        celsius=found.temperature.get("current"),
        worn=nvme.percentage_used,
        bad_sectors=sum(counts) if counts else nvme.media_errors,
    )
