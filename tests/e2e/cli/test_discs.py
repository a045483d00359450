"""Sets of discs as a user has them: image files that are written, taken away, brought back, damaged and lost."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
from cli_program import Program

from safehold.storage.volumes.media.image import ImageMedium


@pytest.fixture
def photos(program: Program, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program with a set of discs of 8 MB."""
    monkeypatch.setenv("SAFEHOLD_STATE_DIR", str(program.folder / "state"))
    images = program.folder / "images"
    options = ("--media", "cd", "--capacity", "8M", "--images", images, "--parity", "4+2", "--key-file", program.key)
    program.do("volumes", "create", "photos", *options)
    program.set(SAFEHOLD_REPO="volumes:photos", SAFEHOLD_KEY_FILE=str(program.key))
    return program


def source(program: Program, seed: int, count: int) -> Path:
    """Add files of a megabyte."""
    folder = program.folder / "photos"
    folder.mkdir(exist_ok=True)
    random = Random(seed)
    for number in range(count):
        (folder / f"{seed}-{number}.jpg").write_bytes(random.randbytes(1_000_000))
    return folder


def same(left: Path, right: Path) -> bool:
    names = sorted(os.listdir(left))
    return names == sorted(os.listdir(right)) and filecmp.cmpfiles(left, right, names, shallow=False)[0] == names


def burst(path: Path, begin: float, share: float) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(int(size * begin))
        file.write(b"\x55" * int(size * share))


def test_everything_burned_but_the_discs(photos: Program) -> None:
    """The story of docs/discs.md: two discs are gone, three more are scratched, and so is the machine."""
    folder = source(photos, 1, 16)
    photos.do("backup", folder)
    source(photos, 2, 4)
    photos.do("backup", folder)
    assert "all closed" in photos.do("volumes", "close", "photos").out
    shelf = photos.folder / "shelf"
    (photos.folder / "images").rename(shelf)
    discs = sorted(shelf.iterdir())
    assert len(discs) >= 6
    # Without a disc nothing but file content is missing.
    assert photos.do("snapshots", "--json").value["snapshots"]
    photos.do("ls", "latest", "--recursive")
    failed = photos("restore", "latest", "--target", photos.folder / "none")
    assert failed.status == 14
    assert "Insert one of these" in failed.err
    # In any order, named by a folder.
    target = photos.folder / "back"
    photos.do("restore", f"latest:{folder}", "--target", target, "--media-dir", shelf)
    assert same(target, folder)
    # The machine is gone, two discs are lost, others are scratched at their beginnings and elsewhere.
    shutil.rmtree(photos.folder / "state")
    discs[0].unlink()
    discs[2].unlink()
    for disc in discs[3:6]:
        burst(disc, 0, 0.13)
        burst(disc, 0.5, 0.05)
    # With a wrong key nothing is kept, so that the right one can follow.
    wrong = photos.folder / "wrong.key"
    wrong.write_bytes(b"another")
    refused = photos("volumes", "recover", shelf, "--lost", "1", "--lost", "3", "--key-file", wrong)
    assert refused.status == 12 and "key" in refused.err
    assert photos.do("volumes", "list", "--json").value["sets"] == []
    found = photos.do("volumes", "recover", shelf, "--lost", "1", "--lost", "3")
    assert "The set photos has" in found.out and "with 2 snapshots" in found.out
    twice = photos("volumes", "recover", shelf, "--lost", "1", "--lost", "3", "--name", "again")
    assert twice.status == 2 and "knows that set already, as photos" in twice.err
    assert "discs; any 2 of 6 discs may be lost" in photos.do("volumes", "status", "photos").out
    again = photos.folder / "again"
    photos.do("restore", f"latest:{folder}", "--target", again, "--lost", "1", "--lost", "3", "--verify")
    assert same(again, folder)
    # Three of a group are too many: the others' files come back all the same.
    few = photos.folder / "few"
    beyond = photos("restore", f"latest:{folder}", "--target", few, *(word for n in "134" for word in ("--lost", n)))
    assert beyond.status == 4 and "Volume 3 is lost, and too few of its group are left" in beyond.err
    assert (some := os.listdir(few)) and filecmp.cmpfiles(few, folder, some, shallow=False)[0] == some
    # What is lost is written anew, and all is as it was.
    photos.do("volumes", "label", "photos", "1", "--lost")
    photos.do("volumes", "label", "photos", "3", "--lost")
    assert photos("volumes", "verify", "photos").status == 4
    for number in ("1", "3", "4", "5", "6"):
        photos.do("volumes", "repair", "photos", number)
    assert "every frame is whole" in photos.do("volumes", "verify", "photos").out
    photos.do("check", "--read-data")
    # And the next backup goes on.
    source(photos, 3, 1)
    photos.do("backup", folder)
    third = photos.folder / "third"
    photos.do("restore", f"latest:{folder}", "--target", third)
    assert same(third, folder)


def test_a_second_run_writes_little_and_a_new_generation_begins_when_due(photos: Program) -> None:
    images = photos.folder / "images"
    folder = source(photos, 1, 4)
    photos.do("backup", folder)
    before = sum(path.stat().st_size for path in images.iterdir())
    source(photos, 2, 1)
    photos.do("backup", folder)
    assert sum(path.stat().st_size for path in images.iterdir()) - before < 1.5 * 1_000_000 + 300_000
    photos.do("forget", "--keep-last", "1", "--prune", "--trash-days", "0")
    photos.do("check", "--read-data")
    options = ("--media", "cd", "--capacity", "8M", "--images", photos.folder / "small", "--generation-volumes", "1")
    photos.do("volumes", "create", "small", *options, "--parity", "2+1", "--key-file", photos.folder / "small.key")
    small = ("-r", "volumes:small", "--key-file", photos.folder / "small.key")
    photos.do(*small, "backup", folder)
    photos.do(*small, "volumes", "close", "small")
    told = photos.do(*small, "backup", folder)
    assert "Generation 2 begins" in told.out + told.err
    for view in ("volumes:small", "volumes:small@1"):
        target = photos.folder / view.replace(":", "-")
        photos.do("-r", view, "--key-file", photos.folder / "small.key", "restore", f"latest:{folder}", "--target", target)
        assert same(target, folder)


def test_discs_are_burned_and_restored_by_the_program_that_is_on_them(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planned, burned into files that stand for discs, labelled, and read without Safehold."""
    monkeypatch.setenv("SAFEHOLD_STATE_DIR", str(tmp_path / "state"))
    options = ("--media", "cd", "--images", tmp_path / "images", "--parity", "0", "--key-file", program.key)
    program.do("volumes", "create", "yearly", *options)
    program.set(SAFEHOLD_REPO="volumes:yearly", SAFEHOLD_KEY_FILE=str(program.key))
    folder = source(program, 1, 2)
    program.do("backup", folder)
    assert "to be finished first" in program.do("volumes", "burn", "yearly", "--dry-run").err
    disc = tmp_path / "disc"
    assert program("volumes", "burn", "yearly", "--device", f"stdio:{disc}").status == 14
    (planned,) = program.do("volumes", "burn", "yearly", "--dry-run", "--json").value["discs"]  # type: ignore[misc,index]
    assert planned["first_sector"] == 0 and not planned["final"] and planned["seconds"] >= 1
    assert [each["name"] for each in planned["files"]] == ["README.TXT", "VOLUME.JSN", "RESTORE.PYZ", "DATA/D0000001.SHD"]
    assert "1 disc," in program.do("volumes", "burn", "yearly", "--dry-run").out
    disc.touch()
    program.do("volumes", "burn", "yearly", "--device", f"stdio:{disc}")
    mistyped = program("volumes", "burn", "yearly", "--again", "--device", tmp_path / "no-drive")
    assert mistyped.status == 14 and not (tmp_path / "no-drive").exists()
    source(program, 2, 1)
    program.do("backup", folder)
    burned = program.do("volumes", "burn", "yearly", "--device", f"stdio:{disc}", "--json").value
    assert burned["first_sector"] and burned["label"] == "YEARLY-001" and not burned["simulated"]
    assert "Nothing of yearly waits" in program.do("volumes", "burn", "yearly").out
    page = tmp_path / "labels.html"
    assert program.do("volumes", "print", "yearly", "--output", page, "--json").value["labels"] == 1
    assert "YEARLY-001" in page.read_text() and "2 snapshots" in page.read_text()
    subprocess.run(["7z", "e", f"-o{tmp_path}", disc, "RESTORE.PYZ", "README.TXT"], check=False, capture_output=True)
    assert b"python3 RESTORE.PYZ collect WORK" in (tmp_path / "README.TXT").read_bytes()
    restore = [sys.executable, str(tmp_path / "RESTORE.PYZ")]
    subprocess.run([*restore, "collect", tmp_path / "work", disc], check=True, capture_output=True)
    words = [*restore, "--key-file", program.key, "restore", tmp_path / "work", "latest", tmp_path / "back"]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert "Everything came back." in done.stdout
    assert same(folder, tmp_path / "back" / folder.relative_to("/"))


def test_images_of_further_discs_never_go_where_drives_are(photos: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set that was learned from a drive or a mounted disc goes on in a folder of its own, or where the user says."""
    folder = source(photos, 1, 2)
    photos.do("backup", folder)
    photos.do("volumes", "close", "photos")
    (photos.folder / "images").rename(photos.folder / "shelf")
    mounted = photos.folder / "media" / "disc" / "DATA"
    for number, image in enumerate(sorted((photos.folder / "shelf").iterdir()), 1):
        files = mounted.parent.with_name(f"disc{number}") / "DATA"
        files.mkdir(parents=True)
        (files / "D0000001.SHD").write_bytes(image.read_bytes()[1 << 20 :])  # behind the room for the directory
    discs = sorted(mounted.parent.parent.iterdir())
    for state, words in (("new", ()), ("newer", ("--images", photos.folder / "mine"))):
        monkeypatch.setenv("SAFEHOLD_STATE_DIR", str(photos.folder / state))
        photos.do("volumes", "recover", *discs, *words)
        photos.do("backup", source(photos, 2, 1))
        (made,) = (photos.folder / "mine" if words else photos.folder / state / "volumes" / "photos" / "images").iterdir()
        assert made.suffix == ".iso" and sorted(mounted.parent.parent.iterdir()) == discs
        shutil.rmtree(photos.folder / "back", ignore_errors=True)
        photos.do("restore", f"latest:{folder}", "--target", photos.folder / "back", "--media-dir", mounted.parent.parent)
        assert same(photos.folder / "back", folder)


def test_images_are_kept_until_their_group_has_its_parity(photos: Program) -> None:
    images = photos.folder / "images"
    photos.do("backup", source(photos, 1, 8))
    shown = photos.do("volumes", "status", "photos").out
    assert f"2 discs (CD-R (80 minutes)), 2 images in {images}" in shown
    assert "2 images are not on a disc yet: `safehold volumes burn photos`" in shown and "read back" not in shown
    burn = ("volumes", "burn", "photos", "--remove-images")
    (photos.folder / "first").touch()
    told = photos.do(*burn, "1", "--device", f"stdio:{photos.folder / 'first'}")
    assert "are kept" in told.err and len(list(images.iterdir())) == 2
    photos.do("volumes", "close", "photos")
    for number in "234":
        (photos.folder / number).touch()
        told = photos.do(*burn, number, "--device", f"stdio:{photos.folder / number}")
        assert "are kept" not in told.err
    assert not list(images.iterdir())
    burned = [words for each in ("first", *"234") for words in ("--media-dir", photos.folder / each)]
    photos.do("restore", "latest", "--target", photos.folder / "back", "--verify", *burned)
    assert same(photos.folder / "back" / str(photos.folder / "photos").lstrip("/"), photos.folder / "photos")


def test_one_file_is_read_from_one_volume_and_little_more_than_it(photos: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file of a megabyte among many on discs, less than 2 MB are read: 0.3 % of a CD.  The goal is 1 % of a volume."""
    options = (
        "--media",
        "cd",
        "--capacity",
        "30M",
        "--images",
        photos.folder / "large",
        "--key-file",
        photos.folder / "large.key",
    )
    photos.do("volumes", "create", "large", *options)
    photos.set(SAFEHOLD_REPO="volumes:large", SAFEHOLD_KEY_FILE=str(photos.folder / "large.key"))
    folder = source(photos, 1, 60)
    photos.do("backup", folder)
    photos.do("volumes", "close", "large")
    shelf = (photos.folder / "large").rename(photos.folder / "shelf")
    read: dict[Path, int] = {}
    medium_read = ImageMedium.read

    def counted(self: ImageMedium, offset: int, buffer: memoryview) -> None:
        read[self.path] = read.get(self.path, 0) + len(buffer)
        medium_read(self, offset, buffer)

    monkeypatch.setattr(ImageMedium, "read", counted)
    for number in (3, 31, 58):
        read.clear()
        target = photos.folder / f"back{number}"
        photos.do("restore", f"latest:{folder}/1-{number}.jpg", "--target", target, "--media-dir", shelf)
        assert (target / f"1-{number}.jpg").read_bytes() == (folder / f"1-{number}.jpg").read_bytes()
        from_disc = {path.name: size for path, size in read.items() if path.parent == shelf}
        content = [size for size in from_disc.values() if size > 600_000]
        assert len(content) <= 2 and sum(content) < 2_000_000, from_disc
        assert sum(from_disc.values()) - sum(content) <= 300_000 * len(list(shelf.iterdir())), "who the others are"


def test_what_cannot_be_burned_is_said(photos: Program) -> None:
    photos.do("volumes", "create", "sticks", "--key-file", photos.folder / "other.key")
    assert "not burned" in photos("volumes", "burn", "sticks").err
    assert photos("volumes", "burn", "photos", "9").status == 2
    photos.do("backup", source(photos, 1, 1))
    assert photos("volumes", "burn", "photos", "--burner", "raw").status == 2
    assert photos("volumes", "burn", "photos", "--device", "/dev/sr9").status == 14


def test_a_set_that_cannot_be_made_leaves_nothing(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFEHOLD_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "file").touch()
    key, images = ("--key-file", program.key), tmp_path / "images" / "of discs"
    cd = ("--media", "cd", "--images")
    failing = [
        ((*cd, tmp_path / "file" / "x"), 1, "for images, cannot be made"),
        ((*cd, images, "--capacity", "10K", *key), 1, "is too small"),
        ((*cd, images, "--password-file", tmp_path / "none"), 2, "cannot be read"),
        ((*cd, images, "--generation-months", "-1"), 2, "--generation-months is a number from 0 on"),
        ((*cd, images, "--capacity", "0"), 2, "is no size"),
        ((*cd, images, "--capacity", "900M"), 2, "Leave out --capacity, or give less"),
        (("--images", images), 2, "--images is for discs"),
        (("--capacity", "1G"), 2, "--capacity is for discs"),
        (("--password-file", tmp_path / "none"), 2, "cannot be read"),
    ]
    for words, status, said in failing:
        ran = program("volumes", "create", "photos", *(words if "--password-file" in words else (*words, *key)))
        assert ran.status == status and said in ran.err and ran.err.count("\n") == 1, ran.err
        assert program.do("volumes", "list", "--json").value["sets"] == []
        assert not program.key.exists() and not (tmp_path / "state" / "volumes" / "photos").exists()
        assert not images.exists() or not list(images.iterdir())
    assert program("volumes", "create", "a/b", *cd, images, *key).status == 2
    monkeypatch.setenv("SAFEHOLD_STATE_DIR", str(tmp_path / "file" / "state"))
    ran = program("volumes", "create", "photos", *cd, images, *key)
    assert ran.status == 1 and "SAFEHOLD_STATE_DIR" in ran.err and not program.key.exists()
    monkeypatch.setenv("SAFEHOLD_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100 << 20))
    assert "has room for 100 MiB" in program.do("volumes", "create", "photos", *cd, images, *key).err
    again = program("volumes", "create", "photos", *cd, tmp_path / "others", "--key-file", tmp_path / "other.key")
    assert again.status == 2 and "There already is a volume set photos." in again.err
    assert sorted(path.name for path in images.iterdir()) == ["photos-001.iso"], "what was there already is whole"
    program.do("-r", "volumes:photos", *key, "backup", source(program, 1, 1))


def test_volumes_that_are_not_there_are_said_to_be(photos: Program) -> None:
    photos.do("backup", source(photos, 1, 1))
    restore = ("restore", "latest", "--target", photos.folder / "back")
    for words, said in [
        ((*restore, "--media-dir", photos.folder / "nowhere"), "There is nothing at"),
        ((*restore, "--lost", "7"), "photos has no volume 7"),
        (("volumes", "verify", "photos", "--media-dir", photos.folder / "nowhere"), "There is nothing at"),
        (("volumes", "repair", "photos", "1"), "is still written to"),
        (("volumes", "burn", "photos", "--speed", "fast"), "'fast' is no speed"),
    ]:
        ran = photos(*words)
        assert ran.status == 2 and said in ran.err and ran.err.count("\n") == 1, ran.err
    assert not (photos.folder / "back").exists()


def test_what_was_on_a_disc_that_is_lost_for_good_is_stored_again(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFEHOLD_STATE_DIR", str(program.folder / "state"))
    images = program.folder / "images"
    options = ("--media", "cd", "--capacity", "8M", "--images", images, "--parity", "none", "--key-file", program.key)
    program.do("volumes", "create", "photos", *options)
    program.set(SAFEHOLD_REPO="volumes:photos", SAFEHOLD_KEY_FILE=str(program.key))
    folder = source(program, 1, 16)
    program.do("backup", folder)
    program.do("backup", folder)  # nothing is read: the machine remembers that all is stored
    program.do("volumes", "close", "photos")
    program.do("volumes", "label", "photos", "1", "--lost")
    lost = (images / "photos-001.iso").rename(program.folder / "lost")
    (folder / "1-0.jpg").unlink()
    again = program.do("backup", folder, "--json")
    assert again.value["bytes_added"] > 5_000_000 and "is stored again" in again.err  # type: ignore[operator]
    assert program.do("backup", folder, "--json").value["bytes_added"] < 10_000, "that is known to be there now"  # type: ignore[operator]
    program.do("restore", f"latest:{folder}", "--target", program.folder / "back")
    assert same(folder, program.folder / "back")
    first = program.do("snapshots", "--json").value["snapshots"][0]["id"]  # type: ignore[index]
    damaged = program("restore", f"{first}:{folder}", "--target", program.folder / "first")
    assert damaged.status == 4 and "1-0.jpg: Not restored" in damaged.err
    assert same(folder, program.folder / "first"), "of what was on the lost disc, the rest is on others now"
    program.do("volumes", "close", "photos")
    with monkeypatch.context() as elsewhere:  # config and keys were written as objects onto the disc that is lost
        elsewhere.setenv("SAFEHOLD_STATE_DIR", str(program.folder / "another machine"))
        elsewhere.setenv("SAFEHOLD_CACHE_DIR", str(program.folder / "another cache"))
        program.do("volumes", "recover", images)
        program.do("restore", f"latest:{folder}", "--target", program.folder / "elsewhere")
        assert same(folder, program.folder / "elsewhere")
    lost.rename(images / "photos-001.iso")
    program.do("volumes", "label", "photos", "1", "--found")
    program.do("restore", f"{first}:{folder}", "--target", program.folder / "found")
    assert len(list((program.folder / "found").iterdir())) == 16
    assert "lost" not in program.do("backup", folder).err


def test_an_open_disc_that_was_called_lost_is_found_again(photos: Program) -> None:
    photos.do("backup", source(photos, 1, 1))
    photos.do("volumes", "label", "photos", "1", "--lost")
    (photos.folder / "more").write_bytes(b"more")
    # It has no parity yet.
    assert "PHOTOS-001 is lost, and nothing can make what was on it" in photos.do("backup", photos.folder / "more").err
    assert "nothing can make what was on it; the next backups store" in photos.do("volumes", "status", "photos").out
    photos.do("volumes", "label", "photos", "1", "--found")
    photos.do("volumes", "close", "photos")
    states = {each["state"] for each in photos.do("volumes", "list", "photos", "--json").value["volumes"]}  # type: ignore[union-attr,index]
    assert states == {"closed"}
    assert "every frame is whole" in photos.do("volumes", "verify", "photos").out
    photos.do("check", "--read-data")
