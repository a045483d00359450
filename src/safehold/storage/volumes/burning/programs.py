"""xorriso and growisofs: programs of others that know how to talk to drives."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

from safehold.core.errors import ProgramMissing, StoreError, StoreUnreachable
from safehold.core.programs import begun
from safehold.storage.volumes.burning.burner import STDIO, InDrive, Job, Progress, feed, file_of, require_drive
from safehold.storage.volumes.media.medium import SECTOR

_CD_PADDING = "300k"
"""Behind a session on CD: drives can't read the last sectors of a track that was written at once (150, as cdrecord pads)."""
_ENVIRONMENT = {"LC_ALL": "C"}
_STOP_SECONDS = 20.0
_LOOK_SECONDS = 120.0
"""A drive that spins up a disc takes up to a minute."""


class Xorriso:
    """A drive in the hands of xorriso: CD, DVD, BD, or a file ``stdio:FILE``."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._program = _found("xorriso")

    def look(self) -> InDrive:
        require_drive(self.device)
        said = _said([self._program, "-no_rc", "-abort_on", "NEVER", "-outdev", self.device, "-toc"])
        return parse_xorriso(said, self.device)

    def burn(self, job: Job, progress: Progress) -> None:
        here = self.look()
        cd = "CD" in here.kind
        command = [self._program, "-as", "cdrecord", "--no_rc", "-v", f"dev={self.device}", f"tsize={job.bytes}"]
        command += [f"speed={job.speed}"] if job.speed else []
        command += [] if job.final else ["-multi"]
        command += [f"padsize={_CD_PADDING}"] if cd else ["-nopad"]
        command += [f"write_start_address={job.first * SECTOR}"] if here.overwritable else []
        command += ["-dummy"] if job.simulate else []
        _fed([*command, "-"], job, progress, self.device)

    def reload(self) -> None:
        if not self.device.startswith(STDIO):
            _said([self._program, "-no_rc", "-outdev", self.device, "-eject", "all"])
            _said([self._program, "-no_rc", "-abort_on", "NEVER", "-indev", self.device, "-toc"])

    def readable(self) -> Path:
        return file_of(self.device)


class Growisofs:
    """A DVD or BD drive in the hands of growisofs, for drives that xorriso can't use: one session, closed at the end."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._program = _found("growisofs")

    def look(self) -> InDrive:
        require_drive(self.device)
        said = _said([_found("dvd+rw-mediainfo"), self.device])
        kind = re.search(r"Mounted Media:\s+\w+, (.+)", said)
        if kind is None:
            raise _absent(self.device)
        return InDrive(kind[1].strip(), blank="Disc status:           blank" in said)

    def burn(self, job: Job, progress: Progress) -> None:
        command = [self._program, *(["-dry-run"] if job.simulate else []), *([f"-speed={job.speed}"] if job.speed else [])]
        command += ["-use-the-force-luke=notray", f"-use-the-force-luke=tracksize:{job.end - job.first}", "-dvd-compat"]
        _fed([*command, "-Z", f"{self.device}=/dev/fd/0"], job, progress, self.device)

    def reload(self) -> None:
        if eject := shutil.which("eject"):
            _said([eject, self.device])
            _said([eject, "-t", self.device])

    def readable(self) -> Path:
        return file_of(self.device)


def parse_xorriso(said: str, device: str) -> InDrive:
    """What ``xorriso -toc`` says.  Raises ``StoreUnreachable`` where no medium is."""
    kind = re.search(r"^Media current: (.+)$", said, re.MULTILINE)
    status = re.search(r"^Media status : (.+)$", said, re.MULTILINE)
    if kind is None or status is None or "not present" in status[1] + kind[1]:
        problem = next((line for line in said.splitlines() if "FAILURE" in line or "FATAL" in line), "")
        raise _absent(device, problem.partition(": ")[2])
    next_sector = re.search(r"^Media nwa +: (\d+)s", said, re.MULTILINE)
    room = re.search(r"^Media blocks : .*?(\d+) writable", said, re.MULTILINE)
    blank = "is blank" in status[1]
    return InDrive(
        kind=kind[1].strip(),
        blank=blank,
        appendable="appendable" in status[1],
        overwritable="overwriteable" in kind[1] or any(name in kind[1] for name in ("DVD+RW", "BD-RE", "DVD-RAM")),
        next_sector=0 if blank or next_sector is None else int(next_sector[1]),
        room=int(room[1]) * SECTOR if room else 0,
    )


def _absent(device: str, problem: str = "") -> StoreUnreachable:
    what = f" ({problem.strip()})" if problem else ""
    return StoreUnreachable(
        f"There is no disc in {device} that can be written{what}.", "Insert a blank one; is it the right drive?"
    )


def _found(name: str) -> str:
    program = shutil.which(name)
    if program is None:
        package = {"dvd+rw-mediainfo": "growisofs"}.get(name, name)
        raise ProgramMissing(f"{name} is needed to burn, and is not on this machine.", f"Install it: apt install {package}.")
    return program


def _said(command: list[str]) -> str:
    """What a program printed, whatever its status was."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_ENVIRONMENT},
            timeout=_LOOK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StoreUnreachable(f"{command[0]} got no answer from the drive.", "Does it hang?  Take the disc out.") from error
    return done.stdout.decode(errors="replace")


def _fed(command: list[str], job: Job, progress: Progress, device: str) -> None:
    """Run a program that takes the image from its standard input.  Raises ``StoreError`` with what it said last."""
    with tempfile.TemporaryFile() as said:
        options = {"stdin": subprocess.PIPE, "stdout": said, "stderr": subprocess.STDOUT, "env": {**os.environ, **_ENVIRONMENT}}
        with begun(command, end=_stop, **options) as process:
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # it gave up: its status and its words say why
                feed(job, cast(BinaryIO, process.stdin), progress)
                process.stdin.close()
            status = process.wait()
        if status:
            said.seek(0)
            raise StoreError(
                f"Burning in {device} failed: {_last_words(said.read().decode(errors='replace'))}.",
                "The disc is spoiled if anything was written.  Try another one, perhaps at a lower --speed.",
            )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a program that burns: it lets go of the drive, and opens its tray, if it is given the time."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    process.kill()
    with suppress(BrokenPipeError):
        assert process.stdin is not None
        process.stdin.close()  # what it did not take is of no use any more


def _last_words(said: str) -> str:
    lines = [line.strip() for line in re.split(r"[\r\n]+", said) if line.strip()]
    blamed = [line for line in lines if "FAILURE" in line or "FATAL" in line or ":-(" in line]
    return (blamed or lines or ["it did not say why"])[0].removeprefix("xorriso : ").rstrip(".")
