"""Files that change in place: only their changed pages are stored, and every snapshot has all of them."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from homes import Home

from safehold.core.errors import DamageError
from safehold.repo.paged import PageMap
from safehold.repo.reader import ChunkReader

_MIB = 1 << 20


def _image(tmp_path: Path, size: int, seed: int = 1, name: str = "disk.img") -> Path:
    source = tmp_path / "source"
    source.mkdir(exist_ok=True)
    (source / name).write_bytes(random.Random(seed).randbytes(size))
    return source / name


def _write(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def _mutate(path: Path, dice: random.Random) -> None:
    size = path.stat().st_size
    for _ in range(dice.randrange(1, 12)):
        at = dice.randrange(size)
        what = dice.randrange(8)
        if what < 4:
            _write(path, at, dice.randbytes(dice.choice((1, 100, 8192, 20_000, 300_000))))
        elif what == 4:
            _write(path, at & -4096, bytes(dice.choice((4096, 2 * _MIB))))
        elif what == 5 and size > 5 * _MIB:
            os.truncate(path, dice.randrange(size - _MIB, size))
        elif what == 6:
            os.truncate(path, size + dice.choice((1, 4096, _MIB, 3 * _MIB + 5)))
        else:
            with open(path, "ab") as file:
                file.write(dice.randbytes(dice.choice((7, 50_000, _MIB))))
        size = path.stat().st_size


@pytest.mark.parametrize("seed", range(4))
def test_every_snapshot_of_a_random_history(home: Home, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    image = _image(tmp_path, 6 * _MIB + 1234, seed)
    options = {"page_size": dice.choice((512, 4096, 16384, 65536))}
    kept = []
    for step in range(8):
        if step == 5:
            for memory in home.household.cache.rglob("files-*"):
                memory.unlink()
        kept.append((home.back_up(image.parent, **options), image.read_bytes()))
        _mutate(image, dice)
    for made, content in kept:
        assert home.entry(made, image).more.paged == options["page_size"]
        assert home.content(made, image) == content
    assert (home.restored(kept[3][0], image.parent) / "disk.img").read_bytes() == kept[3][1]


def test_growth_is_bounded_by_what_changed(home: Home, tmp_path: Path) -> None:
    image = _image(tmp_path, 40 * _MIB)
    home.back_up(image.parent)
    dice = random.Random(5)
    for _ in range(60):
        _write(image, dice.randrange(40 * _MIB // 4096) * 4096, dice.randbytes(4096))
    made = home.back_up(image.parent, page_size=16384)
    assert made.snapshot.statistics.added_raw < 60 * 16384 + 300_000
    assert home.content(made, image) == image.read_bytes()


def test_what_is_written_back_as_it_was_is_not_stored(home: Home, tmp_path: Path) -> None:
    image = _image(tmp_path, 8 * _MIB)
    home.back_up(image.parent)
    image.write_bytes(image.read_bytes())
    made = home.back_up(image.parent)
    assert made.snapshot.statistics.read == 8 * _MIB
    assert made.snapshot.statistics.added_raw < 10_000


def test_a_block_that_was_changed_often_is_stored_whole_again(home: Home, tmp_path: Path) -> None:
    image = _image(tmp_path, 5 * _MIB)
    for step in range(30):
        for page in range(3):
            _write(image, _MIB + 32768 * (step % 16) + 8192 * 20 * page, os.urandom(100))
        made = home.back_up(image.parent, page_size=4096)
        assert home.content(made, image) == image.read_bytes()


def test_old_snapshots_go_and_the_others_stay_whole(home: Home, tmp_path: Path) -> None:
    from safehold.ops import forget

    image = _image(tmp_path, 5 * _MIB)
    kept = []
    for step in range(5):
        kept.append((home.back_up(image.parent), image.read_bytes()))
        _write(image, step * 700_000, os.urandom(20_000))
    forget.forget(home.open(), [made.id for made, _ in kept[:4]])
    home.prune()
    made, content = kept[4]
    assert home.content(made, image) == content
    _write(image, 17, b"and on")
    assert home.content(home.back_up(image.parent), image) == image.read_bytes()


def test_zeros_come_back_over_what_was_there(home: Home, tmp_path: Path) -> None:
    """Stretches of zeros are not stored: a restore into an older state of the file must make them, not skip them."""
    from safehold.ops.restore import restore
    from safehold.sources.files.placing.terms import Options

    image = _image(tmp_path, 6 * _MIB)
    old = home.back_up(image.parent)
    target = home.restored(old, image.parent)
    _write(image, _MIB, bytes(2 * _MIB))  # zeros that are written, so not holes
    made = home.back_up(image.parent)
    restore(home.open(), made.snapshot, target, Options(), path=os.fsencode(image.parent))
    assert (target / "disk.img").read_bytes() == image.read_bytes()
    again = restore(home.open(), made.snapshot, target, Options(), path=os.fsencode(image.parent), verify=True)
    assert again.differing == 0


def test_holes_stay_holes(home: Home, tmp_path: Path) -> None:
    image = _image(tmp_path, 0, name="thin.qcow2")
    os.truncate(image, 4000 * _MIB)
    _write(image, 1234 * _MIB + 5, b"something")
    made = home.back_up(image.parent)
    assert made.snapshot.statistics.read < 2 * _MIB
    target = home.restored(made, image.parent) / "thin.qcow2"
    assert target.stat().st_size == 4000 * _MIB
    assert target.stat().st_blocks < 100
    with open(target, "rb") as file:
        file.seek(1234 * _MIB)
        assert file.read(20) == bytes(5) + b"something" + bytes(6)


def test_which_files_are_paged(home: Home, tmp_path: Path) -> None:
    image = _image(tmp_path, 5 * _MIB, name="Disk.IMG")
    _image(tmp_path, 5 * _MIB, name="plain")
    _image(tmp_path, 1000, name="small.img")
    made = home.back_up(image.parent)
    entries = {name: home.entry(made, image.parent / name) for name in ("Disk.IMG", "plain", "small.img")}
    assert [bool(entry.more and entry.more.paged) for entry in entries.values()] == [True, False, False]
    (image.parent / "plain").touch()
    made = home.back_up(image.parent, paged=True)
    assert home.entry(made, image.parent / "plain").more.paged
    assert home.content(made, image.parent / "plain") == (image.parent / "plain").read_bytes()


def _lose_memory(home: Home) -> None:
    for memory in home.household.cache.rglob("files-*"):
        memory.unlink()


def test_growth_is_bounded_without_memory_too(home: Home, tmp_path: Path) -> None:
    image = _image(tmp_path, 70 * _MIB)
    dice = random.Random(5)
    for role in ("owner", "reader"):
        key = None if role == "owner" else home.household.add_key("reader", "laptop")
        for step in range(3):
            made = home.back_up(image.parent, repository=home.open(key=key), page_size=8192)
            if step == 1:
                assert made.snapshot.statistics.added_raw < 40 * (8192 + 2048) + 100_000
            assert step == 0 or made.snapshot.statistics.added_raw < 900_000  # once from the repository, then from memory again
            assert home.content(made, image) == image.read_bytes()
            if step == 0:
                _lose_memory(home)
            for _ in range(40):
                _write(image, dice.randrange(70 * _MIB // 8192) * 8192, dice.randbytes(8192))
            os.truncate(image, image.stat().st_size + 1000)


def test_without_memory_another_page_size_begins_anew(home: Home, tmp_path: Path) -> None:
    image = _image(tmp_path, 5 * _MIB)
    home.back_up(image.parent, page_size=4096)
    _lose_memory(home)
    _write(image, 99, b"changed")
    made = home.back_up(image.parent, page_size=8192)
    assert made.snapshot.statistics.added_raw > _MIB
    assert home.content(made, image) == image.read_bytes()


@pytest.mark.parametrize("part", ["top", "group", "data"])
def test_without_memory_a_damaged_map_costs_space_and_nothing_else(home: Home, tmp_path: Path, part: str) -> None:
    image = _image(tmp_path, 5 * _MIB)
    first = home.back_up(image.parent)
    _lose_memory(home)
    _write(image, 99, b"changed")
    repository = home.open()
    pages = PageMap(repository.reader, home.entry(first, image))
    name = {"top": home.entry(first, image).more.map, "group": pages.groups[0][0], "data": pages.group(0)[0].extents[0].chunk}[
        part
    ]
    real = ChunkReader.read

    def damaged(reader: ChunkReader, kind: int, wanted: bytes) -> bytes:
        if wanted == name:
            raise DamageError("It is damaged.")
        return real(reader, kind, wanted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChunkReader, "read", damaged)
        made = home.back_up(image.parent, repository=repository)
    assert made.snapshot.statistics.added_raw > _MIB
    assert home.content(made, image) == image.read_bytes()


def test_a_memory_that_makes_no_sense_costs_space_and_nothing_else(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of an earlier program, whose groups had more blocks."""
    image = _image(tmp_path, 70 * _MIB)
    home.back_up(image.parent)
    _write(image, 99, b"changed")
    monkeypatch.setattr("safehold.repo.paged.GROUP", 8)
    made = home.back_up(image.parent)
    monkeypatch.undo()
    assert home.content(made, image) == image.read_bytes()


def test_without_memory_what_a_forgotten_snapshot_has_is_looked_up(home: Home, tmp_path: Path) -> None:
    from safehold.ops import forget

    image = _image(tmp_path, 5 * _MIB)
    home.back_up(image.parent)
    first = home.back_up(image.parent, force=True)
    _lose_memory(home)
    forget.forget(home.open(), [first.id])
    _write(image, 99, b"changed")
    made = home.back_up(image.parent, parent=home.open().snapshot_names()[0])
    home.prune()
    assert made.snapshot.statistics.added_raw < 100_000
    assert home.content(made, image) == image.read_bytes()


def test_what_newer_pages_hide_stays_bounded(home: Home, tmp_path: Path) -> None:
    """Runs that shrink by a page each time would leave one page of each in use, and all of their chunks stored."""
    image = _image(tmp_path, 5 * _MIB)
    for pages in range(64, 40, -1):
        _write(image, 0, os.urandom(pages * 8192))
        made = home.back_up(image.parent, page_size=8192)
    assert home.content(made, image) == image.read_bytes()
    reader = home.open().reader
    chunks = {extent.chunk for extent in PageMap(reader, home.entry(made, image)).group(0)[0].extents}
    assert sum(reader.length(chunk) for chunk in chunks) <= 2 * _MIB


def test_prune_gives_back_pages_that_no_snapshot_has(home: Home, tmp_path: Path) -> None:
    """Of a segment of changed pages each counts on its own; what is left of sparse ones is packed again."""
    from safehold.ops import forget

    image = _image(tmp_path, 16 * _MIB)
    dice = random.Random(9)
    kept = [home.back_up(image.parent, page_size=4096).id]
    for _ in range(8):
        for page in range(0, 4096, 8):
            if dice.random() < 0.7:
                _write(image, page * 4096, dice.randbytes(4096))
        made = home.back_up(image.parent, page_size=4096)
        kept.append(made.id)
    before = sum(len(data) for key, data in home.store.objects.items() if key.startswith("packs/"))
    forget.forget(home.open(), kept[:-1])
    home.prune()
    after = sum(len(data) for key, data in home.store.objects.items() if key.startswith("packs/"))
    assert before > 27 * _MIB
    assert after < 16 * _MIB + 512 * 4096 + 200_000
    assert home.content(made, image) == image.read_bytes()


def test_a_writer_without_memory_reads_all_and_the_content_is_right(home: Home, tmp_path: Path) -> None:
    image = _image(tmp_path, 5 * _MIB)
    key = home.household.add_key("writer", "laptop")
    home.back_up(image.parent, repository=home.open(key=key))
    _write(image, 99, b"changed")
    made = home.back_up(image.parent, repository=home.open(key=key, cache=tmp_path / "new cache"))
    assert _MIB < made.snapshot.statistics.added_raw < 2 * _MIB
    assert home.content(made, image) == image.read_bytes()


def test_a_file_that_grows_or_shrinks_within_a_block_costs_only_its_pages(home: Home, tmp_path: Path) -> None:
    image = _image(tmp_path, 5 * _MIB + 300_000)
    home.back_up(image.parent, page_size=8192)
    for size in (5 * _MIB + 320_000, 5 * _MIB + 100_000, 5 * _MIB + 100_001):
        before = image.stat().st_size
        with image.open("r+b") as file:
            file.truncate(size)
            if size > before:
                file.seek(before)
                file.write(os.urandom(size - before))
        made = home.back_up(image.parent, page_size=8192)
        assert made.snapshot.statistics.added_raw < 50_000
        assert home.content(made, image) == image.read_bytes()
