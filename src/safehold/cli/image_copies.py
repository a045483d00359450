"""What the commands for image copies share."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.ops.image_copies.images import Given, Registry, State


def registry(call: Call) -> Registry:
    """The list of names."""
    from safehold.ops.image_copies.images import Registry

    return Registry(call.state)


def given(call: Call) -> Given:
    """What image copies are worked on with."""
    from safehold.ops.image_copies.images import Given

    return Given(call.clock, call.out.report, call.repository)


def value(state: State, folder: Path) -> dict[str, object]:
    """An image copy for JSON."""
    from safehold.cli.render import words

    return {
        "name": state.name,
        "folder": str(folder),
        "state": state.phase,
        "engine": state.engine,
        "source": state.source,
        "system": state.system,
        "version": state.version,
        "timeline": state.timeline,
        "position": state.position,
        "shows": words.iso(state.rolled_ns) if state.rolled_ns else None,
        "rolls": state.rolls,
    }


def tell(call: Call, what: str, state: State, folder: Path, seconds: float, snapshot: str = "") -> None:
    """Say what an image copy shows by now."""
    from safehold.cli.render import words

    done = "made in" if what == "create" else "rolled forward in"
    text = f"{state.name} {done} {words.duration(seconds)}: it shows {state.source} as of {words.moment(state.rolled_ns)}."
    text += f" Kept as snapshot {snapshot[:8]}." if snapshot else ""
    kept = {"snapshot": snapshot} if snapshot else {}
    call.out.result(text, {"event": f"image-copy-{what}", **value(state, folder), "seconds": round(seconds, 3), **kept})


def keep_open(call: Call, url: str, environment: dict[str, str], command: str) -> int:
    """Run a command with a database at hand, or wait until this is interrupted; the exit status."""
    if not command:
        call.out.result(f"Open at {url} - Ctrl-C closes it.", {"event": "image-copy-open", "url": url})
        import sys
        import time

        sys.stdout.flush()  # into a file or pipe, too, the address is wanted now
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return 0
    own = {"SAFEHOLD_IMAGE_URL": url, **environment}
    return subprocess.run(["/bin/sh", "-c", command], check=False, env={**os.environ, **own}).returncode
