"""Chromium and Firefox, told what to do by the tests."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NAMES = ["chromium", "firefox"]


class Browser:
    """One running browser, with one page.  Every wait ends after 30 seconds, with an error."""

    def __init__(self, name: str, process: subprocess.Popen[str], folder: Path) -> None:
        self.name = name
        self.downloads = folder / "downloads"
        self._process = process

    def tell(self, command: str, **values: Any) -> Any:
        """See ``drive.mjs``."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"command": command, **values}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"error": "the browser is gone"}')
        if "error" in answer:
            raise AssertionError(f"{command} {values}: {answer['error']}")
        return answer["value"]

    def texts(self, selector: str) -> list[str]:
        return list(self.tell("texts", selector=selector))

    def landed(self, name: str) -> Path:
        """A finished download; what browsers write meanwhile has other names, or no bytes yet."""
        path = self.downloads / name
        for _ in range(600):
            partial = [each for each in self.downloads.iterdir() if each.suffix in (".part", ".crdownload")]
            if path.is_file() and path.stat().st_size and not partial:
                return path
            time.sleep(0.05)
        raise AssertionError(f"{name} did not land; there is {sorted(self.downloads.iterdir())}")

    def clear(self) -> None:
        """Forget earlier downloads."""
        for path in self.downloads.iterdir():
            path.unlink()


@contextlib.contextmanager
def running(name: str, folder: Path) -> Iterator[Browser]:
    """``chromium`` or ``firefox``, with a profile of its own below ``folder``."""
    (folder / "downloads").mkdir(parents=True, exist_ok=True)
    command = ["node", str(HERE / "drive.mjs"), name, str(folder)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            yield Browser(name, process, folder)
        finally:
            assert process.stdin is not None and process.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
