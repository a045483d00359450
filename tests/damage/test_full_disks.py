"""A repository on a disk that runs full, on a real file system: every operation says so, and nothing committed is lost."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prune_fixtures import EVERYTHING, Farm, content_of, content_on_disk

from safehold.core.errors import StoreFull
from safehold.ops import forget
from safehold.ops.copy import copy_snapshots
from safehold.repo import prune, repair, snapshots
from safehold.repo.check import CheckOptions, check
from safehold.storage.local import LocalStore
from safehold.testing.builders import Household

ROOM = 24 * 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small ext4 file system."""
    image, mount = tmp_path / "image", tmp_path / "disk"
    mount.mkdir()
    subprocess.run(["truncate", "-s", str(ROOM), image], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, mount], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


@pytest.fixture
def farm(disk: Path, tmp_path: Path) -> Farm:
    """A repository on the small disk, with two snapshots."""
    made = Farm(tmp_path / "farm", LocalStore(disk / "repository", create=True))
    for n in range(2):
        made.write(f"kept{n}", 1_500_000)
        made.back_up()
    return made


def _fill(disk: Path) -> Path:
    """Leave no room at all."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(random.randbytes(65536)):
                pass
        except OSError:
            return ballast
    return ballast


def _is_whole(farm: Farm) -> None:
    farm.check_all()
    report = check(farm.open(), CheckOptions(read_data=100))
    assert not report.damage, report.findings


def test_backup(farm: Farm, disk: Path) -> None:
    farm.write("too-large", ROOM)
    for _ in range(2):
        with pytest.raises(StoreFull):
            farm.back_up()
        _is_whole(farm)
    (farm.source / "too-large").unlink()
    ballast = _fill(disk)
    farm.write("small", 200_000)
    with pytest.raises(StoreFull):
        farm.back_up()
    _is_whole(farm)
    ballast.unlink()
    farm.prune()  # what the backups that failed have left
    made = farm.back_up()
    assert content_of(farm.open(), made, farm.source) == content_on_disk(farm.source)
    _is_whole(farm)


@pytest.mark.parametrize("act", ["forget", "prune", "repair"])
def test_forget_prune_and_repair(farm: Farm, disk: Path, act: str) -> None:
    first, second = farm.expected
    if act == "prune":
        farm.forget(first)
    if act == "repair":
        shard = next(farm.store.list("index/"))
        farm.store.quarantine(shard.key)

    def run() -> None:
        repository = farm.open()
        if act == "forget":
            forget.forget(repository, [first])
        elif act == "prune":
            prune.execute(repository, prune.plan(repository, EVERYTHING))
        else:
            repair.execute(repository, repair.plan(repository))

    ballast = _fill(disk)
    try:
        run()
    except StoreFull:
        assert {first, second} >= set(snapshots.names(farm.store))
    assert second in snapshots.names(farm.store)
    ballast.unlink()
    run()
    farm.check_all()
    if act != "forget":
        _is_whole(farm)


def test_copy(farm: Farm, disk: Path, tmp_path: Path) -> None:
    source = Farm(tmp_path / "other", LocalStore(tmp_path / "other-repository", create=True))
    source.write("large", ROOM // 2)
    small = source.back_up()
    source.write("larger", ROOM)
    large = source.back_up()
    target = Household(LocalStore(disk / "copy", create=True), tmp_path / "copy-cache", clock=farm.clock)
    copy_snapshots(source.open(), target.open(), [small])
    with pytest.raises(StoreFull):
        copy_snapshots(source.open(), target.open(), [large])
    _is_whole(farm)
    report = check(target.open(), CheckOptions(read_data=100))
    assert not report.damage, report.findings
    (copied,) = target.open().snapshot_names()
    assert content_of(target.open(), copied, source.source) == source.expected[small]
