"""A shell into which the blocks of a page are pasted: one for each user, at a terminal, so that a passphrase can be asked for."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

PASSPHRASE = "correct horse battery staple"
# Each command that fails is told; what a reader sees scroll by must not be lost, so the shell goes on.
_BEGIN = "set -mE; trap 'echo \"FAILED ($?): $BASH_COMMAND\" >&2' ERR; PS1= PS2=; stty -echo"


class Shell:
    """Runs blocks one after the other: variables, folders and jobs stay from one to the next."""

    def __init__(self, command: Sequence[str], exchange: Path, inside: str) -> None:
        """``exchange`` is a folder that the shell knows as ``inside``."""
        self._exchange, self._inside = exchange, inside
        self._terminal, theirs = pty.openpty()
        self._process = subprocess.Popen(["setsid", "--ctty", "--wait", *command], stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self._said = b""
        threading.Thread(target=self._listen, daemon=True).start()
        self._number = 0
        self.run(_BEGIN, 30)

    def run(self, commands: str, seconds: float) -> tuple[bool, str]:
        """Run a block; whether each command of it succeeded, and what it wrote."""
        self._number += 1
        script, output, done = (self._exchange / f"{self._number}.{word}" for word in ("sh", "out", "done"))
        output.touch(mode=0o666)
        output.chmod(0o666)
        script.write_text(commands)
        name = f"{self._inside}/{self._number}"
        os.write(self._terminal, f". {name}.sh >>{name}.out 2>&1; echo >{name}.done\n".encode())
        end = time.monotonic() + seconds
        while not done.exists() and time.monotonic() < end and self._process.poll() is None:
            time.sleep(0.05)
        text = output.read_text(errors="replace")
        if not done.exists():
            return False, f"{text}\nFAILED: no end after {seconds:.0f} s; at the terminal: {self._said[-500:]!r}"
        return re.search(r"^FAILED \(\d+\): ", text, re.MULTILINE) is None, text

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _listen(self) -> None:
        answered = 0
        while True:
            try:
                said = os.read(self._terminal, 4096)
            except OSError:
                return
            self._said += said
            asked = len(re.findall(rb"(?:assphrase for [^\n]*|The same again): ", self._said))
            if asked > answered:
                os.write(self._terminal, f"{PASSPHRASE}\n".encode() * (asked - answered))
                answered = asked
