"""The data the measurements run on: made once, the same on every machine.

``python bench/data.py [NAME ...]`` makes what is missing.  It lies in
``bench/work/data`` or where ``SAFEHOLD_BENCH_DIR`` says.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

WORK = Path(__file__).resolve().parent / "work"
IMAGE_SIZE = 8 * GIB
IMAGE_BLOCK = 64 * KIB
MEDIA_SIZE = 2 * GIB
SMALL_DIRS = 1000
SMALL_FILES = 1000

_SOURCES = Path("/usr/src")
_TEXT_SUFFIXES = (".c", ".h", ".S", ".rst", ".dts", ".dtsi", ".txt", ".yaml")
# One letter per MiB of the image: Text, Random, Zeros written, Hole.
_IMAGE_PATTERN = "TTTTRRRRRRZZHHHH"


def folder() -> Path:
    """Where the data lies."""
    return Path(os.environ.get("SAFEHOLD_BENCH_DIR") or WORK / "data").absolute()


def kernel(version: str) -> Path:
    """The source tree of Linux ``version``, from Debian's package of it."""
    return _made(f"linux-source-{version}", 3 * GIB, lambda to: _unpack(version, to))


def million() -> Path:
    """A million files of 20 to 600 bytes in a thousand folders."""
    return _made("million", 6 * GIB, _write_million)


def image() -> Path:
    """A file like a disk image: text, compressed data, zeros and holes."""
    return _made("image", 7 * GIB, _write_image)


def media() -> Path:
    """Files that neither compress nor repeat, as pictures and films do."""
    return _made("media", 3 * GIB, _write_media)


def change_image(where: Path, generation: int) -> int:
    """Overwrite 1 % of the image's blocks in place; how many that were."""
    rng = random.Random(f"change {generation}")
    blocks = IMAGE_SIZE // IMAGE_BLOCK
    chosen = sorted(rng.sample(range(blocks), blocks // 100))
    with (where / "disk.img").open("r+b") as file:
        for block in chosen:
            file.seek(block * IMAGE_BLOCK)
            file.write(rng.randbytes(IMAGE_BLOCK))
    return len(chosen)


@contextmanager
def bound_at(mount_point: Path) -> Iterator[Callable[[Path], None]]:
    """Give a function that puts a tree at ``mount_point``, one at a time.

    Every program then sees two versions of a tree at one path, as if the tree
    had been updated in place, and yet neither needs to be copied.
    """
    mount_point.mkdir(parents=True, exist_ok=True)

    def bind(tree: Path) -> None:
        _unbind(mount_point)
        subprocess.run(["mount", "--bind", tree, mount_point], check=True)

    try:
        yield bind
    finally:
        _unbind(mount_point)


def warm(tree: Path) -> None:
    """Read everything once, so that every program starts with it cached."""
    for name in files(tree):
        with open(name, "rb", buffering=0) as file:
            while file.read(MIB):
                pass


def _unbind(mount_point: Path) -> None:
    while _is_mounted(mount_point):
        subprocess.run(["umount", mount_point], check=True)


def _is_mounted(mount_point: Path) -> bool:
    """Ask the kernel: ``os.path.ismount`` doesn't see a bind in one file system."""
    name = str(mount_point).replace("\\", r"\134").replace(" ", r"\040")
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == name for line in mounts)


def _made(name: str, room: int, make: Callable[[Path], None]) -> Path:
    """The folder ``name``, filled by ``make`` if it isn't there yet.

    It is made under another name first: what has its final name is whole.
    """
    final = folder() / name
    if final.is_dir():
        return final
    partial = final.with_name(name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    free = shutil.disk_usage(partial).free
    if free < room:
        sys.exit(f"{name} needs {room // GIB} GiB, only {free // GIB} are free")
    print(f"making {final}", file=sys.stderr)
    make(partial)
    partial.rename(final)
    return final


def _unpack(version: str, to: Path) -> None:
    archive = _SOURCES / f"linux-source-{version}.tar.xz"
    if not archive.exists():
        sys.exit(f"{archive} is missing: apt-get install linux-source-{version}")
    subprocess.run(["tar", "-xJf", archive, "-C", to, "--strip-components=1"], check=True)


def _write_million(to: Path) -> None:
    rng = random.Random("million")
    pool = rng.randbytes(MIB).hex().encode()
    for number in range(SMALL_DIRS):
        directory = to / f"d{number:04}"
        directory.mkdir()
        for index in range(SMALL_FILES):
            start = rng.randrange(len(pool) - 600)
            head = b"%d/%d " % (number, index)
            text = (head + pool[start : start + 600])[: rng.randint(20, 600)]
            _write(directory / f"f{index:04}.txt", text)


def _write(path: Path, content: bytes) -> None:
    """A plain write; buffered files cost much when there are a million."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(file, content)
    os.close(file)


def _write_image(to: Path) -> None:
    rng = random.Random("image")
    text = _kernel_text()
    with (to / "disk.img").open("wb") as file:
        for number in range(IMAGE_SIZE // MIB):
            kind = _IMAGE_PATTERN[number % len(_IMAGE_PATTERN)]
            _write_mebibyte(file, kind, rng, text)
        file.truncate(IMAGE_SIZE)


def _write_mebibyte(file: BinaryIO, kind: str, rng: random.Random, text: Iterator[bytes]) -> None:
    if kind == "H":
        file.seek(MIB, os.SEEK_CUR)
    elif kind == "R":
        file.write(rng.randbytes(MIB))
    elif kind == "T":
        file.write(next(text))
    else:
        file.write(bytes(MIB))


def _kernel_text() -> Iterator[bytes]:
    """The text of both kernel trees in pieces of a MiB, over and over."""
    buffer = bytearray()
    while True:
        for version in ("6.1", "6.12"):
            for name in files(kernel(version)):
                if name.endswith(_TEXT_SUFFIXES):
                    buffer += Path(name).read_bytes()
                while len(buffer) >= MIB:
                    yield bytes(buffer[:MIB])
                    del buffer[:MIB]


def _write_media(to: Path) -> None:
    rng = random.Random("media")
    left = MEDIA_SIZE
    while left > 0:
        size = min(left, rng.randint(2 * MIB, 40 * MIB))
        suffix = "jpg" if size < 10 * MIB else "mp4"
        (to / f"{MEDIA_SIZE - left:010}.{suffix}").write_bytes(rng.randbytes(size))
        left -= size


def files(tree: Path) -> Iterator[str]:
    """The paths of the regular files below ``tree``, in a fixed order."""
    for directory, names, files in os.walk(tree):
        names.sort()
        for name in sorted(files):
            path = os.path.join(directory, name)
            if not os.path.islink(path):
                yield path


MAKERS: dict[str, Callable[[], Path]] = {
    "6.1": lambda: kernel("6.1"),
    "6.12": lambda: kernel("6.12"),
    "million": million,
    "image": image,
    "media": media,
}


if __name__ == "__main__":
    for wanted in sys.argv[1:] or MAKERS:
        print(MAKERS[wanted]())
