"""A backup that dies at any change of the store: what was committed stays whole, and the next one goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from prune_fixtures import Farm

from safehold.repo.check import CheckOptions, check
from safehold.testing.stores import CrashPoint, Fault, FaultyStore, VolatileStore


@pytest.mark.parametrize("lose_power", [False, True])
@pytest.mark.parametrize("operation", ["change", "write"])
def test_a_crash_at_every_step_of_a_backup(tmp_path: Path, operation: str, lose_power: bool) -> None:
    farm = Farm(tmp_path)
    for n in range(3):
        farm.write(f"kept/{n}", 30_000)
    first = farm.back_up()
    farm.write("kept/0", 30_000)
    farm.write("new/large", 600_000)
    objects, times = dict(farm.store.objects), dict(farm.store.modified_ns)  # type: ignore[attr-defined]
    crashes = 0
    while True:
        farm.store.objects, farm.store.modified_ns = dict(objects), dict(times)  # type: ignore[attr-defined]
        shutil.rmtree(farm.base / "cache")  # it would notice, and say, that the store was put back
        volatile = VolatileStore(farm.store)
        faulty = FaultyStore(volatile, Fault(operation, crashes + 1, moment="after" if lose_power else "before"))
        try:
            farm.back_up(faulty)
        except CrashPoint:
            crashes += 1
            if lose_power:
                volatile.crash(faulty.unacknowledged)
        else:
            break
        assert first in farm.open().snapshot_names()
        farm.check_all()
        report = check(farm.open(), CheckOptions(read_data=100))
        assert not report.damage, report.findings
        second = farm.back_up()
        assert set(farm.open().snapshot_names()) >= {first, second}
        farm.check_all()
        assert check(farm.open(), CheckOptions(read_data=100)).status == 0
    assert crashes >= (4 if operation == "change" else 3)
