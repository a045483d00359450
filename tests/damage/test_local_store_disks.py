"""The local store on real small filesystems: full disks, losses of power, killed processes."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from safehold.core.errors import StoreFull
from safehold.storage.local import LocalStore

pytestmark = pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting a filesystem needs Linux and root")

DAY_NS = 86_400_000_000_000


def _run(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


@contextmanager
def mounted(image: Path, at: Path, options: str = "loop") -> Iterator[Path]:
    at.mkdir(exist_ok=True)
    _run("mount", "-o", options, image, at)
    try:
        yield at
    finally:
        _run("umount", at)


def ext4(image: Path, megabytes: int) -> Path:
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    _run("mkfs.ext4", "-q", "-m", "0", image)
    return image


def _body(number: int, size: int) -> tuple[str, bytes]:
    data = hashlib.shake_128(b"%d" % number).digest(size)
    return f"packs/{hashlib.sha256(data).hexdigest()}", data


def _require_whole(store: LocalStore) -> list[str]:
    """Every visible object has the content that its name says."""
    keys = [line.key for line in store.list("packs/")]
    for key in keys:
        assert key == f"packs/{hashlib.sha256(store.get(key)).hexdigest()}"
    return keys


@pytest.mark.parametrize("way", ["put", "upload"])
def test_a_full_disk_loses_nothing_and_works_again_after_it_has_room(tmp_path: Path, way: str) -> None:
    with mounted(ext4(tmp_path / "image", 12), tmp_path / "disk") as disk:
        store = LocalStore(disk / "store", create=True)
        stored = []
        with pytest.raises(StoreFull) as caught:
            for number in range(1000):
                key, data = _body(number, 700_000 if way == "put" else 3_000_000)
                if way == "put":
                    store.put(key, data)
                else:
                    upload = store.upload()
                    for start in range(0, len(data), 400_000):
                        upload.write(data[start : start + 400_000])
                    upload.commit(key)
                stored.append(key)
        assert str(disk) in str(caught.value) and caught.value.hint
        assert stored and sorted(_require_whole(store)) == sorted(stored)
        assert not list((disk / "store/tmp").iterdir())
        store.delete(stored[0])
        store.close()
        store.put(key, data)
        assert sorted(_require_whole(store)) == sorted([*stored[1:], key])
        store.close()


def test_a_disk_without_inodes_is_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    _run("mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=40", "none", disk)
    try:
        store = LocalStore(disk / "store", create=True)
        with pytest.raises(StoreFull):
            for number in range(100):
                store.put(f"folder-{number}/x", b"")
        count = len(list(store.list("")))
        assert count > 5
        store.close()
    finally:
        _run("umount", disk)


def test_what_was_acknowledged_survives_a_loss_of_power(tmp_path: Path) -> None:
    """The image is copied while it is mounted: the copy has what reached the drive until then, and no more.

    The journal's own commits (5 s by default) are put off, so that only what was flushed is there; a file that
    nobody flushed is the proof.
    """
    image = ext4(tmp_path / "image", 64)
    stored = {}
    with mounted(image, tmp_path / "disk", "loop,commit=300") as disk:
        store = LocalStore(disk / "new/parents/store", create=True)
        for number in range(10):
            key, data = _body(number, 100_000 + number)
            store.put(key, data)
            stored[key] = data
        upload = store.upload()
        upload.write(b"never committed" * 1000)
        key, data = _body(99, 5_000_000)
        other = store.upload()
        other.write(data)
        other.commit(key)
        stored[key] = data
        store.put("other/folder/x", b"last")
        (disk / "unflushed").write_bytes(b"lost")
        shutil.copyfile(image, tmp_path / "after")
        upload.abort()
        store.close()
    with mounted(tmp_path / "after", tmp_path / "later") as disk:
        assert not (disk / "unflushed").exists()
        store = LocalStore(disk / "new/parents/store")
        assert {key: store.get(key) for key in _require_whole(store)} == stored
        assert store.get("other/folder/x") == b"last"
        assert [line.key for line in store.list("")].count("other/folder/x") == 1
        store.sweep(0, time.time_ns() + DAY_NS)
        assert not list((disk / "new/parents/store/tmp").iterdir())
        store.close()


def test_deletions_are_on_disk_before_what_comes_after_them(tmp_path: Path) -> None:
    image = ext4(tmp_path / "image", 16)
    with mounted(image, tmp_path / "disk", "loop,commit=300") as disk:
        store = LocalStore(disk / "store", create=True)
        store.put("index/old", b"old")
        store.put("packs/a", b"a")
        store.put("packs/b", b"b")
        store.delete("index/old")
        store.delete("packs/a")
        store.delete("packs/b")
        shutil.copyfile(image, tmp_path / "between")
        store.close()
        shutil.copyfile(image, tmp_path / "closed")
    with mounted(tmp_path / "between", tmp_path / "later") as disk:
        assert "index/old" not in {line.key for line in LocalStore(disk / "store").list("")}
    with mounted(tmp_path / "closed", tmp_path / "later") as disk:
        assert list(LocalStore(disk / "store").list("")) == []


WRITER = """
import hashlib, itertools, sys
from safehold.storage.local import LocalStore
store = LocalStore(sys.argv[1])
print("ready", flush=True)
for number in itertools.count(int(sys.argv[2])):
    data = hashlib.shake_128(b"%d" % number).digest(1 + number * 7919 % 3_000_000)
    key = "packs/" + hashlib.sha256(data).hexdigest()
    if number % 2:
        store.put(key, data)
    else:
        upload = store.upload()
        for start in range(0, len(data), 100_000):
            upload.write(data[start:start + 100_000])
        upload.commit(key)
    print(key, flush=True)
"""


def test_a_killed_writer_leaves_only_whole_objects(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store = LocalStore(folder, create=True)
    acknowledged: set[str] = set()
    for round_ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), str(round_ * 1000)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        with child.stdout as lines:
            for _ in range(4 + round_):
                acknowledged.add(lines.readline().strip())
            time.sleep(0.003 * round_)
            child.send_signal(signal.SIGKILL)
            acknowledged.update(line.strip() for line in lines if line.endswith("\n"))
        child.wait()
    acknowledged.discard("ready")
    assert acknowledged <= set(_require_whole(store))
    store.sweep(0, time.time_ns() + DAY_NS)
    assert not list((folder / "tmp").iterdir())
    assert acknowledged <= set(_require_whole(store))
    store.close()
