"""A mount served by a process of its own, as the command serves it."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safehold.testing.builders import Household

SERVE = """
import json, sys
from pathlib import Path
from safehold.codec.keyfile import KeyFile
from safehold.core.errors import SafeholdError
from safehold.repo.repository import open_repository
from safehold.storage.local import LocalStore
from safehold.views import fuse

store, cache, key, directory, words = sys.argv[1:]
tell = lambda line: print(line, flush=True)
repository = open_repository(
    LocalStore(store), KeyFile.parse(Path(key).read_text()), Path(cache), report=lambda e: tell(f"{e.code} {e.path} {e.message}")
)
options = fuse.MountOptions(mounted=lambda: tell("mounted"), **json.loads(words))
try:
    fuse.mount(repository, directory, options)
except SafeholdError as error:
    tell(f"{error.code}: {error} {error.hint}")
tell("ended")
"""


class Served:
    """A running mount."""

    def __init__(self, process: subprocess.Popen[str], place: Path) -> None:
        self.place = place
        self.process = process

    @property
    def latest(self) -> Path:
        return self.place / "latest"

    def line(self, seconds: float = 20) -> str:
        """The next line that the process prints."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], seconds)[0], "the mount says nothing"
        return self.process.stdout.readline().strip()

    def unmount(self) -> str:
        """Unmount in the user's way; what else the process printed."""
        subprocess.run(["fusermount3", "-u", self.place], check=True)
        return self.rest()

    def stop(self, number: int = signal.SIGTERM) -> str:
        """Unmount by a signal; what else the process printed."""
        self.process.send_signal(number)
        return self.rest()

    def rest(self) -> str:
        output, _ = self.process.communicate(timeout=20)
        assert self.process.returncode == 0, output
        return output


def start(household: Household, place: Path, words: str = "{}") -> Served:
    """A process that mounts, or says why not."""
    key = household.cache.parent / "key"
    key.write_text(household.owner_key.text())
    arguments = [str(household.store.location), str(household.cache), str(key), str(place), words]
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", SERVE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    return Served(process, place)


@contextmanager
def mounted(household: Household, place: Path, words: str = "{}") -> Iterator[Served]:
    """A mount, gone afterwards."""
    served = start(household, place, words)
    try:
        line = served.line()
        assert line == "mounted", line
        yield served
    finally:
        if served.process.poll() is None:
            served.process.terminate()
            served.process.wait(20)
        if served.process.stdout is not None:
            served.process.stdout.close()
        subprocess.run(["umount", "-l", place], capture_output=True, check=False)  # if it is still there
