"""What the local driver adds to the promises that every store keeps: files, modes, links, missing drives, leftovers."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from safehold.core.errors import ObjectExists, ObjectMissing, StoreError, StoreFull, StoreUnreachable
from safehold.storage import filesystem
from safehold.storage.local import LocalStore
from safehold.storage.local_files import OpenFiles
from safehold.storage.oserrors import explained

NS = 1_000_000_000
HOUR_NS = 3_600_000_000_000


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store", create=True)


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_objects_are_private_files_at_their_key(store: LocalStore, tmp_path: Path) -> None:
    store.put("packs/ab/abc", b"x")
    assert _files(tmp_path / "store") == {"packs/ab/abc"}
    assert stat.S_IMODE((tmp_path / "store/packs/ab/abc").stat().st_mode) == 0o400
    for folder in ("store", "store/packs", "store/packs/ab", "store/tmp"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o700


def test_a_store_is_made_with_its_parents_only_when_asked_for(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable) as caught:
        LocalStore(tmp_path / "a/b")
    assert "plugged in" in caught.value.hint and not (tmp_path / "a").exists()
    LocalStore(tmp_path / "a/b", create=True).put("x", b"1")
    assert LocalStore(tmp_path / "a/b").get("x") == b"1"


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for create in (False, True):
        with pytest.raises(StoreError):
            LocalStore(tmp_path / "file", create)
    with pytest.raises(StoreError):
        LocalStore(tmp_path / "file/below", create=True)


def test_a_drive_that_goes_away_is_not_an_empty_store(store: LocalStore, tmp_path: Path) -> None:
    store.put("packs/a", b"x")
    (tmp_path / "store").rename(tmp_path / "unplugged")
    mount_point_left_behind = tmp_path / "store"
    for _ in range(2):
        for action in (
            lambda: store.get("packs/a"),
            lambda: store.size("packs/a"),
            lambda: store.put("packs/b", b""),
            lambda: store.put("index/b", b""),
            lambda: store.delete("packs/a"),
            lambda: list(store.list("")),
            lambda: list(store.list("packs/")),
            lambda: store.quarantine("packs/a"),
            lambda: store.sweep(0, HOUR_NS),
        ):
            with pytest.raises(StoreUnreachable):
                action()
        mount_point_left_behind.mkdir(exist_ok=True)
    assert list(mount_point_left_behind.iterdir()) == []


def test_links_inside_the_store_are_never_followed(store: LocalStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    root = tmp_path / "store"
    (root / "packs").symlink_to(outside)
    (root / "config").symlink_to(outside / "secret")
    for action in (
        lambda: store.get("packs/secret"),
        lambda: store.get_range("packs/secret", 0, 1),
        lambda: store.size("packs/secret"),
        lambda: store.put("packs/new", b"x"),
        lambda: store.delete("packs/secret"),
        lambda: store.quarantine("packs/secret"),
        lambda: list(store.list("")),
        lambda: list(store.list("packs/")),
        lambda: store.get("config"),
    ):
        with pytest.raises(StoreError):
            action()
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"


def test_foreign_things_in_the_folder_are_no_objects_and_block_nothing(store: LocalStore, tmp_path: Path) -> None:
    root = tmp_path / "store"
    store.put("index/a", b"1")
    (root / "Lost+Found").mkdir()
    (root / ".DS_Store").write_bytes(b"")
    (root / "index/Thumbs.db").write_bytes(b"")
    os.mkfifo(root / "index/pipe")
    assert [line.key for line in store.list("")] == ["index/a"]
    with pytest.raises(ObjectMissing):
        store.get("index/pipe")
    with pytest.raises(ObjectMissing):
        store.get_range("index/pipe", 0, 1)


def test_a_folder_that_was_tidied_away_is_made_again(store: LocalStore, tmp_path: Path) -> None:
    store.put("packs/ab/1", b"1")
    store.delete("packs/ab/1")
    store.tidy("none/")
    store.tidy("packs/")
    assert not (tmp_path / "store/packs").exists()
    (tmp_path / "store/tmp").rmdir()
    store.put("packs/ab/2", b"2")
    upload = store.upload()
    upload.write(b"3")
    (tmp_path / "store/packs/ab/2").unlink()
    (tmp_path / "store/packs/ab").rmdir()
    upload.commit("packs/ab/3")
    assert [line.key for line in store.list("")] == ["packs/ab/3"]


def test_tidying_takes_empty_folders_only(store: LocalStore, tmp_path: Path) -> None:
    for key in ("packs/a/1", "packs/b/2", "index/3"):
        store.put(key, b"x")
    store.delete("packs/a/1")
    store.delete("index/3")
    store.tidy("packs/")
    assert {path.name for path in (tmp_path / "store").iterdir()} == {"packs", "index", "tmp"}
    assert [path.name for path in (tmp_path / "store/packs").iterdir()] == ["b"]
    (tmp_path / "outside/empty").mkdir(parents=True)
    (tmp_path / "store/linked").symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError):
        store.tidy("linked/")
    assert (tmp_path / "outside/empty").is_dir()


def test_reading_sees_what_another_client_replaced(store: LocalStore, tmp_path: Path) -> None:
    store.put("a", b"first")
    assert store.get_range("a", 0, 5) == b"first"
    other = LocalStore(tmp_path / "store")
    other.delete("a")
    with pytest.raises(ObjectMissing):
        store.get_range("a", 0, 5)
    other.put("a", b"again")
    assert store.get_range("a", 0, 5) == b"again"


def test_open_files_are_few_and_closed(tmp_path: Path) -> None:
    files = OpenFiles(limit=3)
    for number in range(10):
        (tmp_path / str(number)).write_bytes(b"%d" % number)
    before = _open_descriptors()
    for _ in range(2):
        for number in range(10):
            assert files.read(str(tmp_path / str(number)), 0, 1) == (b"%d" % number, 1)
    assert _open_descriptors() == before + 3
    files.forget(str(tmp_path / "9"))
    files.close()
    assert _open_descriptors() == before


def test_open_files_serve_many_threads_while_they_are_evicted(tmp_path: Path) -> None:
    files = OpenFiles(limit=2)
    before = _open_descriptors()
    for number in range(8):
        (tmp_path / str(number)).write_bytes(bytes([number]) * 1000)
    wrong: list[int] = []

    def read(seed: int) -> None:
        for step in range(200):
            number = (seed + step * 3) % 8
            if files.read(str(tmp_path / str(number)), 500, 100)[0] != bytes([number]) * 100:
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files.close()
    assert not wrong and _open_descriptors() == before


def test_uploads_leave_nothing_open_and_nothing_behind(store: LocalStore, tmp_path: Path) -> None:
    store.put("taken", b"")
    before = _open_descriptors()
    for key in ("taken", "../bad"):
        upload = store.upload()
        upload.write(b"x" * 3_000_000)
        with pytest.raises(StoreError):
            upload.commit(key)
    store.upload().abort()
    assert _open_descriptors() == before
    assert _files(tmp_path / "store") == {"taken"}


def test_a_sweep_takes_what_the_dead_left_and_nothing_else(store: LocalStore, tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom safehold.storage.local import LocalStore\n"
        "upload = LocalStore(sys.argv[1]).upload()\nupload.write(bytes(2 << 20))\nos._exit(1)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "store")], check=False)
    live = store.upload()
    live.write(b"x" * (2 << 20))
    folder = tmp_path / "store/tmp"
    (folder / "publish.lock").touch()
    assert len(list(folder.iterdir())) == 3
    now_ns = max(path.stat().st_mtime_ns for path in folder.iterdir())
    assert store.sweep(3600, now_ns) == 0
    assert store.sweep(3600, now_ns + 2 * HOUR_NS) == 2 << 20
    live.commit("alive")
    assert store.size("alive") == 2 << 20
    assert [path.name for path in folder.iterdir()] == ["publish.lock"]


def test_a_sweep_after_a_crash_between_name_and_tidying_keeps_the_object(store: LocalStore, tmp_path: Path) -> None:
    store.put("a", b"whole")
    os.link(tmp_path / "store/a", tmp_path / "store/tmp/left.part")
    assert store.sweep(0, HOUR_NS * 24 * 365 * 1000) == 0
    assert not list((tmp_path / "store/tmp").iterdir()) and store.get("a") == b"whole"


@pytest.mark.parametrize(("after", "left"), [(None, 3), (0.0, 1), (3600.0, 2), (float(86400 * 3), 3)])
def test_the_first_upload_sweeps(store: LocalStore, tmp_path: Path, after: float | None, left: int) -> None:
    live = store.upload()
    live.write(b"x" * (2 << 20))
    folder = tmp_path / "store/tmp"
    now_ns = max(path.stat().st_mtime_ns for path in folder.iterdir())
    for name, age_ns in {"new": NS * 60, "old": HOUR_NS * 48}.items():
        (folder / f"{name}.part").write_bytes(b"dead")
        os.utime(folder / f"{name}.part", ns=(now_ns - age_ns, now_ns - age_ns))
    other = LocalStore(tmp_path / "store", sweeps_after=after)
    other.put("b", b"b")
    assert len(list(folder.iterdir())) == left
    live.commit("a")
    assert store.size("a") == 2 << 20


def test_a_new_file_that_a_sweep_took_before_it_was_locked_is_made_again(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, taken = filesystem.hold, list[Path]()

    def hold_late(descriptor: int) -> bool:
        for path in (tmp_path / "store/tmp").iterdir():
            if not taken:
                taken.append(path)
                path.unlink()
        return hold(descriptor)

    monkeypatch.setattr(filesystem, "hold", hold_late)
    store.put("a", b"whole")
    assert taken and store.get("a") == b"whole"


def test_a_sweep_of_a_store_without_leftovers(store: LocalStore) -> None:
    assert store.sweep(0, HOUR_NS) == 0


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_without_hard_links_nothing_is_overwritten_either(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_link(source: str, target: str) -> None:
        raise OSError(number, "no hard links")

    monkeypatch.setattr(filesystem.os, "link", no_link)
    won: list[int] = []
    barrier = threading.Barrier(8)

    def contend(body: int) -> None:
        upload = store.upload()
        upload.write(bytes([body]))
        barrier.wait()
        try:
            upload.commit("packs/a")
        except ObjectExists:
            return
        won.append(body)

    threads = [threading.Thread(target=contend, args=(body,)) for body in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and store.get("packs/a") == bytes(won)
    store.quarantine("packs/a")
    assert _files(tmp_path / "store") == {"quarantine/packs/a", "tmp/publish.lock"}


def test_a_filesystem_without_locks_is_swept_by_age(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(filesystem.fcntl, "flock", no_locks)
    upload = store.upload()
    upload.write(b"x" * (2 << 20))
    LocalStore(store.location, sweeps_after=0).put("b", b"b")
    assert len(list(Path(store.location, "tmp").iterdir())) == 1  # younger than a day
    store.delete("b")
    assert store.sweep(0, HOUR_NS * 24 * 365 * 1000) == 2 << 20
    with pytest.raises(StoreError):
        upload.commit("a")
    assert list(store.list("")) == []


@pytest.mark.parametrize(
    ("number", "kind", "hint"),
    [
        (errno.ENOSPC, StoreFull, "space"),
        (errno.EDQUOT, StoreFull, "space"),
        (errno.ENODEV, StoreUnreachable, "plugged in"),
        (errno.ESTALE, StoreUnreachable, "plugged in"),
        (errno.EIO, StoreError, "fault"),
        (errno.EROFS, StoreError, "read-only"),
        (errno.EACCES, StoreError, "permissions"),
        (errno.EFBIG, StoreError, "large"),
    ],
)
def test_what_the_system_says_becomes_what_the_user_should_know(number: int, kind: type[StoreError], hint: str) -> None:
    error = explained(OSError(number, os.strerror(number)), "packs/ab", "/mnt/usb")
    assert type(error) is kind and hint in error.hint
    assert "/mnt/usb" in str(error)


def test_an_unreadable_listing_raises(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("packs/aa/1", b"")
    store.put("packs/bb/2", b"")
    real = os.scandir

    def failing(path: str):  # type: ignore[no-untyped-def]
        if path.endswith("bb"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path)

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(StoreError, match="packs/bb"):
        list(store.list("packs/"))


def test_a_failed_flush_publishes_nothing(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("packs/a", b"")
    real = os.fsync

    def failing(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StoreError, match="packs/b"):
        store.put("packs/b", b"x")
    monkeypatch.setattr(os, "fsync", real)
    assert [line.key for line in store.list("")] == ["packs/a"]


def test_a_filesystem_that_cannot_flush_folders_is_used_all_the_same(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    store.put("packs/a", b"x")
    assert store.get("packs/a") == b"x"
