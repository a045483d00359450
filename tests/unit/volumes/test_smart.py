"""What smartctl says of drives, as it was said by real and emulated ones."""

from __future__ import annotations

import json

import pytest

from safehold.storage.volumes.drives.smart import Health, health, parse

ATA = {
    "smart_status": {"passed": True},
    "ata_smart_attributes": {
        "revision": 16,
        "table": [
            {"id": 5, "name": "Reallocated_Sector_Ct", "value": 100, "raw": {"value": 8, "string": "8"}},
            {"id": 9, "name": "Power_On_Hours", "value": 95, "raw": {"value": 21504, "string": "21504"}},
            {"id": 197, "name": "Current_Pending_Sector", "value": 100, "raw": {"value": 2, "string": "2"}},
        ],
    },
    "power_on_time": {"hours": 21504},
    "temperature": {"current": 34},
}
NVME = {
    "smart_status": {"passed": False, "nvme": {"value": 4}},
    "nvme_smart_health_information_log": {"percentage_used": 103, "media_errors": 0, "critical_warning": 4},
    "temperature": {"current": 51},
}


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (ATA, Health(True, 21504, 34, None, 10)),
        (NVME, Health(False, None, 51, 103, 0)),
        ({"smart_status": {"passed": True}}, Health(True)),
        ({"smartctl": {"exit_status": 1, "messages": [{"string": "Unknown USB bridge"}]}}, None),
    ],
)
def test_what_a_drive_says_is_understood(said: object, found: Health | None) -> None:
    assert parse(json.dumps(said).encode()) == found


def test_a_drive_that_fails_is_said_plainly() -> None:
    failing = parse(json.dumps(NVME).encode())
    assert failing is not None
    assert failing.sentence() == "SMART: the drive says that it is about to fail: replace it, 51 °C, 103 % worn, 0 bad sectors."


@pytest.mark.parametrize("said", [b"", b"smartctl: command failed", b"[]", b'{"smart_status": 7}'])
def test_what_is_no_answer_says_nothing(said: bytes) -> None:
    assert parse(said) is None


@pytest.mark.parametrize("device", ["", "tmpfs", "/dev/nothing", "//server/share"])
def test_what_is_no_drive_says_nothing(device: str) -> None:
    assert health(device) is None
