"""From images to discs: a real xorriso burns into files that stand for discs, and a file stands for a floppy in its drive."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from disc_sets import images, make_set, open_set

from safehold.cli.volume_listing import attention_of
from safehold.core.clock import SystemClock
from safehold.core.errors import DamageError, ProgramMissing, StoreError, StoreFull, StoreUnreachable, UsageError
from safehold.core.events import Event, Note, Progress, silent
from safehold.storage.volumes.burning.burn import Burning
from safehold.storage.volumes.burning.burner import Burner, Job
from safehold.storage.volumes.burning.choosing import choose
from safehold.storage.volumes.burning.labels import code_of, labels
from safehold.storage.volumes.burning.plain_files import PlainFiles
from safehold.storage.volumes.burning.plan import Waiting, burned_of, contents, plan, seconds
from safehold.storage.volumes.burning.programs import Xorriso, parse_xorriso
from safehold.storage.volumes.burning.raw_drive import RawDrive
from safehold.storage.volumes.burning.restore_program import LIMIT, restore_program
from safehold.storage.volumes.catalogue import Catalogue, Volume
from safehold.storage.volumes.discs.ledger import Ledger
from safehold.storage.volumes.discs.opening import Reach
from safehold.storage.volumes.media.raw import RawMedium

SECTOR = 2048


def back_up(root: Path, catalogue: Catalogue, *keys: str, size: int = 400_000, close: bool = False) -> dict[str, bytes]:
    """Put objects onto the set, and end the session; ``close``: the volume, too."""
    content = {key: os.urandom(size) for key in keys}
    store = open_set(root, finisher=PlainFiles(catalogue))
    for key, data in content.items():
        store.put(key, data)
    store.recorder.close_volume() if close else store.recorder.close_session()
    store.close()
    return content


def drive(path: Path) -> Burner:
    path.touch()
    return Xorriso(f"stdio:{path}")


def burn(catalogue: Catalogue, burner: Burner, waiting: Waiting | None = None, **options: Any) -> Volume:
    """Burn the first thing that waits."""
    return Burning(catalogue, burner, silent, SystemClock()).burn(waiting or plan(catalogue, [])[0], **options)


def listed(disc: Path, sector: int = 0) -> str:
    done = subprocess.run(["isoinfo", "-l", "-T", str(sector), "-i", disc], check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture
def home(tmp_path: Path) -> Catalogue:
    return make_set(tmp_path, capacity=8 << 20, inner="20+4", parity="")


def test_a_volume_is_burned_and_counts_when_it_was_read_back(tmp_path: Path, home: Catalogue) -> None:
    kept = back_up(tmp_path, home, "packs/aa/1", "packs/aa/2", "snapshots/1", close=True)
    (waiting,) = plan(home, [])
    assert (waiting.first, waiting.final, waiting.packs, waiting.snapshots) == (0, True, 2, 1)
    assert [each.name for each in waiting.files] == ["README.TXT", "VOLUME.JSN", "DATA/D0000001.SHD"]
    disc = tmp_path / "disc"
    phases: list[Event] = []
    volume = Burning(home, drive(disc), phases.append, SystemClock()).burn(waiting)
    assert volume.state == "verified" and volume.verified_ns and burned_of(volume).copies == 1 and not plan(home, [])
    assert {each.phase for each in phases if isinstance(each, Progress)} == {"checking the image", "burning", "reading back"}
    image = images(tmp_path)[0].read_bytes()
    assert disc.read_bytes()[: len(image)] == image and "README.TXT" in listed(disc)
    images(tmp_path)[0].unlink()
    store = open_set(tmp_path, reach=Reach(places=(disc,)))
    assert {key: store.read(key) for key in kept} == kept


def test_a_second_session_goes_onto_the_same_disc_and_changes_nothing_on_it(tmp_path: Path, home: Catalogue) -> None:
    kept = back_up(tmp_path, home, "packs/aa/1")
    disc = tmp_path / "disc"
    volume = burn(home, drive(disc))
    before = disc.read_bytes()
    assert volume.state == "open" and burned_of(volume).sessions == 1 and not plan(home, [])
    kept |= back_up(tmp_path, home, "packs/bb/2")
    (waiting,) = plan(home, [])
    assert waiting.first * SECTOR == len(before) and not waiting.final
    burn(home, drive(disc))
    assert disc.read_bytes()[: len(before)] == before
    assert "D0000002.SHD" not in listed(disc) and "D0000002.SHD" in listed(disc, waiting.first)
    images(tmp_path)[0].unlink()
    store = open_set(tmp_path, reach=Reach(places=(disc,)))
    assert {key: store.read(key) for key in kept} == kept


def test_a_session_begins_where_the_disc_can_take_it(tmp_path: Path, home: Catalogue) -> None:
    """CDs have a gap of thousands of sectors between sessions, of which only the drive knows how long it is."""
    kept = back_up(tmp_path, home, "packs/aa/1")
    disc, gap = tmp_path / "disc", 333

    class Gapped(Xorriso):
        def look(self) -> Any:
            here = super().look()
            return replace(here, overwritable=False, appendable=True, next_sector=here.next_sector and first_end + gap)

        def burn(self, job: Job, progress: Any) -> None:
            with disc.open("r+b") as file, job.image.open("rb") as image:
                file.seek(job.first * SECTOR)
                image.seek(job.first * SECTOR)
                file.write(image.read(job.bytes))
            progress(job.bytes)

    first_end = plan(home, [])[0].end
    disc.touch()
    gapped = Gapped(f"stdio:{disc}")
    burn(home, gapped)
    kept |= back_up(tmp_path, home, "packs/bb/2")
    (waiting,) = plan(home, [])
    assert waiting.first == first_end + gap
    assert Ledger(home).sessions(1)[1].start * 65536 >= (first_end + gap) * SECTOR
    burn(home, gapped)
    assert "D0000002.SHD" in listed(disc, first_end + gap)
    images(tmp_path)[0].unlink()
    store = open_set(tmp_path, reach=Reach(places=(disc,)))
    assert {key: store.read(key) for key in kept} == kept


def test_sessions_that_were_never_burned_show_in_one_directory(tmp_path: Path, home: Catalogue) -> None:
    for key in ("packs/aa/1", "packs/bb/2", "packs/cc/3"):
        back_up(tmp_path, home, key)
    disc = tmp_path / "disc"
    burn(home, drive(disc))
    assert all(f"D000000{number}.SHD" in listed(disc) for number in (1, 2, 3))


def test_the_wrong_disc_is_named(tmp_path: Path, home: Catalogue) -> None:
    back_up(tmp_path, home, "packs/aa/1", close=True)
    back_up(tmp_path, home, "packs/bb/2")
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    first, second = plan(home, [])
    burn(home, drive(one), first)
    with pytest.raises(StoreError, match="not blank: it is volume 1, HOME-001") as caught:
        burn(home, drive(one), second)
    assert "--overwrite" not in caught.value.hint
    with pytest.raises(StoreError, match="not blank"):
        burn(home, drive(one), second, overwrite=True)
    burn(home, drive(two), second)
    back_up(tmp_path, home, "packs/cc/3")
    with pytest.raises(StoreError, match="is volume 1, HOME-001") as caught:
        burn(home, drive(one))
    assert "Insert HOME-002" in caught.value.hint
    with pytest.raises(StoreError, match="is a blank disc"):
        burn(home, drive(other))
    assert [each.code for each in attention_of(home, {}, 0)] == ["unburned"]
    elsewhere = make_set(tmp_path / "elsewhere", capacity=8 << 20, parity="")
    elsewhere.put_set(replace_set(elsewhere, "ff" * 16))
    back_up(tmp_path / "elsewhere", elsewhere, "packs/aa/1", close=True)
    burn(elsewhere, drive(other))
    with pytest.raises(StoreError, match="no volume of this set"):
        burn(home, drive(other))


def replace_set(catalogue: Catalogue, set_id: str) -> Any:
    import msgspec

    return msgspec.structs.replace(catalogue.set, id=set_id)


def test_what_is_not_blank_is_written_over_only_if_told_so(tmp_path: Path, home: Catalogue) -> None:
    back_up(tmp_path, home, "packs/aa/1", close=True)
    disc = tmp_path / "disc"
    disc.write_bytes(b"something" * 10_000)
    with pytest.raises(StoreError, match="not blank: it is no volume of this set") as caught:
        burn(home, drive(disc))
    assert "--overwrite" in caught.value.hint
    assert burn(home, drive(disc), overwrite=True).state == "verified"


@pytest.mark.parametrize("how", ["truncated", "changed"])
def test_a_damaged_image_is_not_burned(tmp_path: Path, home: Catalogue, how: str) -> None:
    back_up(tmp_path, home, "packs/aa/1", close=True)
    image = images(tmp_path)[0]
    if how == "truncated":
        os.truncate(image, (1 << 20) + 200_000)
    else:
        with image.open("r+b") as file:
            file.seek((1 << 20) + 70_000)
            file.write(b"x")
    with pytest.raises(DamageError, match="nothing was burned"):
        burn(home, drive(tmp_path / "disc"))
    assert (tmp_path / "disc").stat().st_size == 0 and plan(home, [])[0].first == 0


def test_a_burn_that_fails_in_the_middle_spoils_the_disc_and_is_done_again_on_another(tmp_path: Path, home: Catalogue) -> None:
    back_up(tmp_path, home, "packs/aa/1", "packs/aa/2", close=True)
    full = tmp_path / "full"
    subprocess.run(["mkdir", full], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", full], check=True)
    try:
        with pytest.raises(StoreError, match=r"room for|failed"):
            burn(home, TooHopeful(f"stdio:{touched(full / 'disc')}"))
    finally:
        subprocess.run(["umount", full], check=True)
    (volume,) = home.volumes()
    assert burned_of(volume).problem and volume.state == "closed" and not volume.verified_ns
    assert burn(home, drive(tmp_path / "another")).state == "verified"


class TooHopeful(Xorriso):
    """A drive that doesn't tell how much room there is."""

    def look(self) -> Any:
        return replace(super().look(), room=0)


def touched(path: Path) -> Path:
    path.touch()
    return path


def test_what_reads_back_otherwise_is_spoiled(tmp_path: Path, home: Catalogue) -> None:
    back_up(tmp_path, home, "packs/aa/1")
    disc = tmp_path / "disc"

    class Forgetful(Xorriso):
        def reload(self) -> None:
            with disc.open("r+b") as file:
                file.seek(700 * SECTOR)
                file.write(bytes(SECTOR))

    disc.touch()
    with pytest.raises(StoreError, match="differs from its image at sector 700"):
        burn(home, Forgetful(f"stdio:{disc}"))
    (waiting,) = plan(home, [])
    assert waiting.first == 0 and burned_of(waiting.volume).problem.startswith("Read back")
    assert [each.code for each in attention_of(home, {}, 0)] == ["spoiled"]


def test_a_tray_that_a_hand_closes_is_waited_for(tmp_path: Path, home: Catalogue) -> None:
    back_up(tmp_path, home, "packs/aa/1", close=True)
    disc, away = tmp_path / "disc", tmp_path / "away"

    class Slim(Xorriso):
        def reload(self) -> None:
            disc.rename(away)

    class Hand(SystemClock):
        def sleep(self, seconds: float) -> None:
            away.rename(disc)

    said: list[Event] = []
    disc.touch()
    burning = Burning(home, Slim(f"stdio:{disc}"), said.append, Hand())
    assert burning.burn(plan(home, [])[0]).state == "verified"
    assert any("Close the tray" in each.message for each in said if isinstance(each, Note))


def test_a_kill_in_the_middle_counts_as_spoiled(tmp_path: Path, home: Catalogue) -> None:
    back_up(tmp_path, home, "packs/aa/1")

    class Killed(Xorriso):
        def burn(self, job: Job, progress: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        burn(home, Killed(f"stdio:{touched(tmp_path / 'disc')}"))
    assert burned_of(home.volumes()[0]).problem == "the burning was cut short" and plan(home, [])[0].first == 0


def test_a_simulation_changes_nothing(tmp_path: Path, home: Catalogue) -> None:
    back_up(tmp_path, home, "packs/aa/1", close=True)
    before = images(tmp_path)[0].read_bytes(), home.volumes()
    Burning(home, Dummy(f"stdio:{touched(tmp_path / 'disc')}"), silent, SystemClock()).burn(plan(home, [])[0], simulate=True)
    assert (images(tmp_path)[0].read_bytes(), home.volumes()) == before


class Dummy(Xorriso):
    def burn(self, job: Job, progress: Any) -> None:
        assert job.simulate


def test_a_disc_that_is_too_small_is_said_before(tmp_path: Path, home: Catalogue) -> None:
    back_up(tmp_path, home, "packs/aa/1", close=True)

    class Small(Xorriso):
        def look(self) -> Any:
            return replace(super().look(), room=1 << 20)

    with pytest.raises(StoreError, match="room for 1,048,576"):
        burn(home, Small(f"stdio:{touched(tmp_path / 'disc')}"))


def test_a_backup_that_goes_on_is_let_end(tmp_path: Path, home: Catalogue) -> None:
    back_up(tmp_path, home, "packs/aa/1")
    (waiting,) = plan(home, [])
    store = open_set(tmp_path, finisher=PlainFiles(home))
    store.put("packs/bb/2", b"more")
    with pytest.raises(StoreError, match="goes on, or was cut short"):
        burn(home, drive(tmp_path / "disc"), waiting)
    store.close()


def test_copies_are_burned_one_after_the_other(tmp_path: Path) -> None:
    catalogue = make_set(tmp_path, capacity=8 << 20, inner="20+4", parity="")
    import msgspec

    catalogue.put_set(msgspec.structs.replace(catalogue.set, copies=2))
    back_up(tmp_path, catalogue, "packs/aa/1", close=True)
    assert burn(catalogue, drive(tmp_path / "one")).state == "closed"
    assert burn(catalogue, drive(tmp_path / "two")).state == "verified"
    assert not plan(catalogue, []) and len(plan(catalogue, [], again=True)) == 1
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_floppies_are_written_and_read_back(tmp_path: Path) -> None:
    catalogue = make_set(tmp_path, capacity=0, media="floppy", inner="20+4", parity="")
    kept = back_up(tmp_path, catalogue, "packs/aa/1", "packs/aa/2", size=900_000)
    waiting = plan(catalogue, [])
    assert len(waiting) == 2 and all(each.first == 0 for each in waiting)
    floppies = [tmp_path / f"floppy{each.volume.number}" for each in waiting]
    for floppy, each in zip(floppies, waiting, strict=True):
        floppy.write_bytes(bytes(1_474_560))
        burn(catalogue, RawDrive(str(floppy)), each)
    assert not plan(catalogue, [])
    kept |= back_up(tmp_path, catalogue, "packs/cc/3", size=100_000)
    (more,) = plan(catalogue, [])
    assert more.volume.number == 2 and more.first
    with pytest.raises(StoreError, match="is volume 1"):
        burn(catalogue, RawDrive(str(floppies[0])), more)
    burn(catalogue, RawDrive(str(floppies[1])), more)
    for image in images(tmp_path):
        image.unlink()
    store = open_set(tmp_path, reach=Reach(places=tuple(floppies)))
    assert {key: store.read(key) for key in kept} == kept
    assert b"SAFEHOLD BACKUP VOLUME" in floppies[0].read_bytes()


def test_a_formatted_floppy_is_overwritten_only_if_told_so(tmp_path: Path) -> None:
    catalogue = make_set(tmp_path, capacity=0, media="floppy", inner="", parity="")
    back_up(tmp_path, catalogue, "packs/aa/1")
    floppy = tmp_path / "floppy"
    subprocess.run(["mkfs.vfat", "-C", floppy, "1440"], check=True, capture_output=True)
    with pytest.raises(StoreError, match="not blank"):
        burn(catalogue, RawDrive(str(floppy)))
    assert burn(catalogue, RawDrive(str(floppy)), overwrite=True).verified_ns


def test_a_raw_medium_tells_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable, match="no medium"):
        RawMedium(tmp_path / "none")
    floppy = tmp_path / "floppy"
    floppy.write_bytes(bytes(100_000))
    with pytest.raises(StoreFull, match="holds 100,000 bytes, not the 200,000"):
        RawMedium(floppy, capacity=200_000)
    medium = RawMedium(floppy, write=True)
    with pytest.raises(StoreFull):
        medium.write(99_999, b"xx")
    medium.write(512, b"abc")
    medium.forget()
    buffer = bytearray(10)
    medium.read(99_995, memoryview(buffer))
    assert bytes(buffer) == bytes(10)
    medium.close()


def test_drives_and_programs_are_chosen(tmp_path: Path, home: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(home.set).device == "/dev/sr0"
    floppies = make_set(tmp_path / "f", capacity=0, media="floppy", inner="", parity="").set
    assert isinstance(choose(floppies), RawDrive) and choose(floppies).device == "/dev/fd0"
    for wrong in ((home.set, "raw"), (floppies, "xorriso")):
        with pytest.raises(UsageError):
            choose(wrong[0], "/dev/x", wrong[1])
    with pytest.raises(StoreUnreachable, match="There is no"):
        Xorriso(f"stdio:{tmp_path / 'nothing'}").look()
    with pytest.raises(StoreUnreachable, match="no drive /dev/sr7"):
        Xorriso("/dev/sr7").look()
    with pytest.raises(StoreUnreachable, match="no disc in"):
        Xorriso("/dev/null").look()
    for mistyped in (tmp_path, f"stdio:{tmp_path}", home.folder / "catalogue.sqlite"):
        with pytest.raises(UsageError, match="is no "):
            Xorriso(str(mistyped)).look()
    with pytest.raises(UsageError, match="burns with"):
        choose(home.set, "", "cdrecord")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProgramMissing, match="xorriso is needed"):
        choose(home.set)


CD = """
Drive type   : vendor 'HL-DT-ST' product 'DVDRAM GH24NSC0' revision 'LY00'
Media current: CD-R
Media status : is written , is appendable
Media blocks : 10240 readable , 337522 writable , 359847 overall
TOC layout   : Idx ,  sbsector ,       Size , Volume Id
ISO session  :   1 ,         0 ,     10240s , HOME_001
Media nwa    : 21902s
"""


def test_what_xorriso_says_of_a_disc_is_understood() -> None:
    here = parse_xorriso(CD, "/dev/sr0")
    assert (here.kind, here.blank, here.appendable, here.overwritable) == ("CD-R", False, True, False)
    assert (here.next_sector, here.room) == (21902, 337522 * SECTOR)
    with pytest.raises(StoreUnreachable):
        parse_xorriso("Media current: is not recognizable\nMedia status : is not present\n", "/dev/sr0")


def test_how_long_it_takes_is_reckoned() -> None:
    assert seconds("cd", 736_100_352, "16") == pytest.approx(599, abs=1)
    assert seconds("bd", 25 * 10**9) == pytest.approx(2780, abs=10)


def test_labels_name_the_volume_and_carry_its_code(tmp_path: Path, home: Catalogue) -> None:
    back_up(tmp_path, home, "packs/aa/1", "snapshots/1", close=True)
    (volume,) = home.volumes()
    volume = home.change(volume.uuid, label="<Photos> & more", place="mother's house")
    page = labels(home.set, [volume], {volume.uuid: contents(Ledger(home), 1)}, 8)
    assert "&lt;Photos&gt; &amp; more" in page and "1 of 8" in page and "mother&#x27;s house" in page
    assert (
        "1 snapshot, 1 pack" in page
        and "<svg" in page
        and "<script" not in page
        and "http:" not in page.replace("http://www.w3.org", "")
    )
    assert code_of(home.set, volume) == f"safehold:volume?set={home.set.id}&volume={volume.uuid}&number=1"


def test_the_restore_program_collects_what_discs_hold_and_mends_it(tmp_path: Path) -> None:
    catalogue = make_set(tmp_path, capacity=72 << 20, inner="20+4", parity="")
    kept = back_up(tmp_path, catalogue, "packs/aa/1", "packs/aa/2", "snapshots/1", size=3_000_000)
    kept |= back_up(tmp_path, catalogue, "packs/bb/2", size=70_000)
    image = images(tmp_path)[0]
    subprocess.run(["7z", "e", f"-o{tmp_path}", image, "RESTORE.PYZ"], check=False, capture_output=True)
    program = tmp_path / "RESTORE.PYZ"
    assert program.read_bytes() == restore_program() and program.stat().st_size <= LIMIT
    with image.open("r+b") as file:
        file.write(bytes(1 << 20))  # the directory
        file.seek((1 << 20) + 20 * 65536)
        file.write(bytes(5 * 65536))  # a scratch
    done = subprocess.run(
        [sys.executable, program, "collect", tmp_path / "work", image], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "volume 1 of set 0011223344556677" in done.stdout and "0 are not yet complete" in done.stdout
    root = tmp_path / "work" / "repository"
    assert {str(each.relative_to(root)): each.read_bytes() for each in root.rglob("*") if each.is_file()} == kept


def test_the_restore_program_takes_pieces_from_floppies_in_any_order(tmp_path: Path) -> None:
    catalogue = make_set(tmp_path, capacity=0, media="floppy", inner="20+4", parity="")
    first = back_up(tmp_path, catalogue, "config", "keys/00.slot", size=500)
    kept = back_up(tmp_path, catalogue, "packs/aa/1", "packs/aa/2", size=1_900_000)
    program = tmp_path / "RESTORE.PYZ"
    program.write_bytes(restore_program())
    for image in reversed(images(tmp_path)):
        done = subprocess.run(
            [sys.executable, program, "collect", tmp_path / "work", image], capture_output=True, text=True, check=True
        )
    assert "0 are not yet complete" in done.stdout
    assert all((tmp_path / "work" / "repository" / key).read_bytes() == data for key, data in kept.items())
    # A folder of images is as good as their names; folders in it are passed over.
    (images(tmp_path)[0].parent / "others").mkdir()
    words = [sys.executable, program, "collect", tmp_path / "again", images(tmp_path)[0].parent]
    assert "0 are not yet complete" in subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    assert all((tmp_path / "again" / "repository" / key).read_bytes() == data for key, data in kept.items())
    listed = subprocess.run([*words[:2], "list", tmp_path / "again"], capture_output=True, text=True, check=False)
    assert listed.returncode == 1 and "has no snapshot yet" in listed.stderr
    # Config and keys were written to the first, and go with the catalogue of each.
    subprocess.run([*words[:3], tmp_path / "last", images(tmp_path)[2]], capture_output=True, check=True)
    assert {key: (tmp_path / "last" / "repository" / key).read_bytes() for key in first} == first
