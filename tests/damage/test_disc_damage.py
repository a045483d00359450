"""Discs that are damaged, lost, out of order: what was stored comes back bit for bit, as far as the parity goes."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from random import Random

import pytest
from disc_sets import images, make_set, open_set

from safehold.core.errors import DamageError, SafeholdError, StoreUnreachable
from safehold.storage.volumes.discs.opening import Reach
from safehold.storage.volumes.discs.store import DiscStore

FRAME = 8192


def pack(random: Random, size: int) -> bytes:
    """Bytes that a store takes for a pack of data."""
    return b"SHPACK1\n\x01" + random.randbytes(size)


def key_of(number: int) -> str:
    return f"packs/ab/{number:064x}"


def fill(store: DiscStore, count: int, size: int, seed: int = 1) -> dict[str, bytes]:
    random = Random(seed)
    stored = {}
    for _ in range(count):
        key = key_of(random.getrandbits(200))
        stored[key] = pack(random, random.randrange(size // 2, size))
        upload = store.upload()
        upload.write(stored[key])
        upload.commit(key)
    return stored


def made(root: Path, total: int = 14 << 20, **values: object) -> dict[str, bytes]:
    """A finished set of some volumes."""
    make_set(root, **values).close()  # type: ignore[arg-type]
    store = open_set(root)
    stored = fill(store, total >> 20, 1300_000)
    store.put("config", b"a small one")
    store.finish()
    store.close()
    return stored | {"config": b"a small one"}


def read_all(root: Path, stored: dict[str, bytes], reach: Reach | None = None) -> int:
    """Read everything twice, in another order, and compare; how many frames were made anew."""
    store = open_set(root, reach)
    for key in sorted(stored, reverse=True):
        assert store.get(key) == stored[key], key
    repaired = store.reader.repaired
    for key, data in stored.items():
        assert store.get_range(key, len(data) // 3, len(data) // 2) == data[len(data) // 3 :][: len(data) // 2]
    store.close()
    return repaired


def wipe(path: Path, begin: int, length: int, with_: bytes = b"\xaa") -> None:
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(with_ * length)


def burst(path: Path, share: float, where: float) -> None:
    """Overwrite a run of a volume's bytes."""
    size = path.stat().st_size
    wipe(path, int(size * where), int(size * share))


PAIRS = [(pair, 0 if pair == (5, 6) else 3) for pair in combinations(range(1, 7), 2)]


@pytest.mark.parametrize(("lost", "bursts"), [((), 0), ((), 3), ((3,), 3), *PAIRS])
def test_two_lost_volumes_and_bursts_on_all_others_lose_nothing(tmp_path: Path, lost: tuple[int, ...], bursts: int) -> None:
    stored = made(tmp_path, 14 << 20)
    every = images(tmp_path)
    assert len(every) == 6
    left = [path for number, path in enumerate(every, 1) if number not in lost]
    for number in lost:
        every[number - 1].unlink()
    for number, path in enumerate(left[:bursts]):
        burst(path, 0.06, 0.2 + number * 0.25)
        wipe(path, 0, (1 << 20) + FRAME)
    repaired = read_all(tmp_path, stored, Reach(lost=lost))
    assert bool(repaired) == bool(set(lost) & {1, 2, 3, 4} or bursts)


def test_three_lost_volumes_are_said_to_be_too_many(tmp_path: Path) -> None:
    stored = made(tmp_path, 14 << 20)
    for _ in range(3):
        images(tmp_path)[0].unlink()
    store = open_set(tmp_path, Reach(lost=(1, 2, 3)))
    with pytest.raises(DamageError, match="volume 1 cannot be read") as failure:
        for key in stored:
            store.get(key)
    assert "1, 2, 3" in failure.value.hint or "2, 3" in failure.value.hint
    store.close()


def test_a_volume_that_is_not_there_is_asked_for_and_the_wrong_one_is_named(tmp_path: Path) -> None:
    stored = made(tmp_path, 14 << 20)
    every = images(tmp_path)
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for path in every:
        path.rename(shelf / path.name)
    asked: list[str] = []

    def ask(wanted: list[object], sentence: str) -> Path:
        asked.append(sentence)
        number = wanted[0].number  # type: ignore[attr-defined]
        return shelf / every[1 if len(asked) == 1 and number == 1 else number - 1].name

    store = open_set(tmp_path, Reach(ask=ask))
    for key, data in stored.items():
        assert store.get(key) == data
    store.close()
    assert asked[0] == "Insert volume 1 of 6, HOME-001."
    assert asked[1] == "That is volume 2 of 6, HOME-002. Insert volume 1 of 6, HOME-001."
    assert len(asked) == 5, "each is asked for once, and no parity volume"
    store = open_set(tmp_path)
    with pytest.raises(StoreUnreachable, match="Insert volume 1 of 6, HOME-001"):
        store.get(next(iter(stored)))
    store.close()
    assert read_all(tmp_path, stored, Reach(places=(shelf,))) == 0


def test_nothing_that_was_closed_is_ever_changed(tmp_path: Path) -> None:
    make_set(tmp_path, 12 << 20).close()
    before: dict[Path, bytes] = {}
    stored: dict[str, bytes] = {}
    for round_ in range(12):
        store = open_set(tmp_path)
        stored |= fill(store, 2, 1 << 20, round_)
        store.put(f"index/{round_:064x}", bytes(100))
        store.close()
        for path in images(tmp_path):
            data = path.read_bytes()
            assert data.startswith(before.get(path, b"")), f"{path.name} was changed in round {round_}"
            before[path] = data
    read_all(tmp_path, stored)


class Killed(BaseException):
    """Stands for kill -9."""


def test_killed_at_every_step_nothing_acknowledged_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safehold.storage.volumes.catalogue import Catalogue
    from safehold.storage.volumes.media.image import ImageMedium

    make_set(tmp_path, 4 << 20, parity="2+1").close()
    stored: dict[str, bytes] = {}
    steps, step = [0], 0
    write, flush, put = ImageMedium.write, ImageMedium.flush, Catalogue.transaction

    def counted(original):  # type: ignore[no-untyped-def]
        def call(*arguments, **options):  # type: ignore[no-untyped-def]
            steps[0] -= 1
            if steps[0] == 0:
                raise Killed
            return original(*arguments, **options)

        return call

    for step in range(1, 90, 2):
        with monkeypatch.context() as patch:
            store = open_set(tmp_path)
            steps[0] = step
            patch.setattr(ImageMedium, "write", counted(write))
            patch.setattr(ImageMedium, "flush", counted(flush))
            patch.setattr(Catalogue, "transaction", counted(put))
            random = Random(step)
            try:
                for _ in range(3):
                    key, data = key_of(random.getrandbits(200)), pack(random, 400_000)
                    upload = store.upload()
                    upload.write(data)
                    upload.commit(key)
                    stored[key] = data
                store.close()
            except Killed:
                pass  # the process is gone: nothing of it is closed
    read_all(tmp_path, stored)
    store = open_set(tmp_path)
    assert {each.key for each in store.list("packs/")} >= set(stored)
    store.finish()
    store.close()
    for path in images(tmp_path)[:1]:
        path.unlink()
    read_all(tmp_path, stored, Reach(lost=(1,)))


@pytest.mark.parametrize("inner", ["100+15", ""])
def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path: Path, inner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from safehold.storage.volumes.media.image import ImageMedium

    make_set(tmp_path, 6 << 20, inner=inner).close()
    store = open_set(tmp_path)
    stored = fill(store, 3, 1 << 20)
    original = ImageMedium._write

    def full(self: ImageMedium, offset: int, data: memoryview) -> int:
        if offset > 5 << 20:
            raise OSError(28, "No space left on device")
        return original(self, offset, data)

    with monkeypatch.context() as patch:
        patch.setattr(ImageMedium, "_write", full)
        with pytest.raises(SafeholdError) as failure:
            fill(store, 9, 1 << 20, seed=2)
        assert failure.value.code == "store-full"
    stored |= fill(store, 6, 1 << 20, seed=3)
    store.close()
    read_all(tmp_path, stored)
