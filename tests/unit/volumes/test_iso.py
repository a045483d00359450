"""The directory of a disc, as other people's readers see it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from safehold.storage.volumes import iso
from safehold.storage.volumes.iso import Title
from safehold.storage.volumes.media.medium import SECTOR, Extent

WHEN = 1_763_865_605 * 10**9
DATA_AT = 512
SECOND = 1024


def read(*command: object) -> bytes:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def disc(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """Two sessions: 90 files and a README, then one more file and another README.  Content by name, as the second session has it."""
    path = tmp_path_factory.mktemp("iso") / "disc.iso"
    content = {f"DATA/D{number:07}.SHD": os.urandom(1000 + number) for number in range(1, 91)}
    first = [Extent(name, DATA_AT + 1 + at, len(data)) for at, (name, data) in enumerate(content.items())]
    old, new = b"the first\r\n" * 20, b"the second\r\n" * 30
    first.append(Extent("README.TXT", DATA_AT, len(old)))
    content |= {"DATA/D0000091.SHD": os.urandom(70_000), "README.TXT": new}
    second = [*first[:-1], Extent("DATA/D0000091.SHD", SECOND + 128, 70_000), Extent("README.TXT", SECOND + 200, len(new))]
    with path.open("wb") as file:
        for start, extents, text in ((0, first, old), (SECOND, second, new)):
            file.seek(start * SECTOR)
            file.write(iso.directory(Title("home-001", "a set", WHEN), start, extents))
            for each in extents:
                file.seek(each.sector * SECTOR)
                file.write(text if each.name == "README.TXT" else content[each.name])
        file.truncate((SECOND + 256) * SECTOR)
    return path, content


def test_seven_zip_and_isoinfo_read_the_first_session(disc: tuple[Path, dict[str, bytes]], tmp_path: Path) -> None:
    path, content = disc
    read("7z", "x", f"-o{tmp_path}", path)
    assert (tmp_path / "README.TXT").read_bytes() == b"the first\r\n" * 20
    assert sorted(each.name for each in (tmp_path / "DATA").iterdir()) == [f"D{number:07}.SHD" for number in range(1, 91)]
    assert all((tmp_path / name).read_bytes() == data for name, data in content.items() if name < "DATA/D0000091.SHD")
    assert read("isoinfo", "-i", path, "-x", "/DATA/D0000090.SHD;1") == content["DATA/D0000090.SHD"]
    about = read("isoinfo", "-d", "-i", path).decode()
    assert "Volume id: HOME_001" in about and "Volume set id: A_SET" in about and "Logical block size is: 2048" in about


def test_the_second_session_shows_the_files_of_both(disc: tuple[Path, dict[str, bytes]], tmp_path: Path) -> None:
    path, content = disc
    out = tmp_path / "out"
    read("xorriso", "-osirrox", "on", "-load", "sbsector", SECOND, "-indev", path, "-extract", "/", out)
    assert {str(each.relative_to(out)): each.read_bytes() for each in out.rglob("*") if each.is_file()} == content
    assert read("isoinfo", "-T", SECOND, "-i", path, "-x", "/DATA/D0000001.SHD;1") == content["DATA/D0000001.SHD"]


def test_xorriso_shows_the_time_and_the_first_session(disc: tuple[Path, dict[str, bytes]]) -> None:
    listing = read("xorriso", "-indev", disc[0], "-lsl", "/").decode()
    assert "README.TXT" in listing and "Nov 23  2025" in listing and "DATA" in listing


@pytest.mark.parametrize("name", ["readme.txt", "LONGNAMES.TXT", "A/B/C.TXT", "A.LONG", ""])
def test_names_that_not_every_system_reads_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no file"):
        iso.directory(Title("x"), 0, [Extent(name, 100, 1)])


def test_files_of_4_gib_and_double_names_are_refused() -> None:
    with pytest.raises(ValueError, match="no file"):
        iso.directory(Title("x"), 0, [Extent("A.BIN", 100, 1 << 32)])
    with pytest.raises(ValueError, match="one name"):
        iso.directory(Title("x"), 0, [Extent("A.BIN", 100, 1), Extent("A.BIN", 101, 1)])


def test_a_directory_is_recognized() -> None:
    assert iso.is_directory(iso.directory(Title("x"), 0, []))
    assert not iso.is_directory(bytes(40_000))
