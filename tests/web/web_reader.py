"""The pages' own reader of the format, run by node."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def read(folder: Path, **order: Any) -> Any:
    """What ``read.mjs`` says: see there."""
    done = subprocess.run(
        ["node", "--no-warnings", str(HERE / "read.mjs")],
        input=json.dumps({"folder": str(folder), "what": "list", **order}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.stderr, done.returncode) == ("", 0), done.stderr
    return json.loads(done.stdout)


def evaluate(script: str, folder: Path) -> str:
    """What a module prints."""
    path = folder / "script.mjs"
    path.write_text(script)
    done = subprocess.run(["node", "--no-warnings", str(path)], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stderr, done.returncode) == ("", 0), done.stderr
    return done.stdout


def same(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """The paths at which a described snapshot is not what the operating system said when it was made."""
    expected = {os.fsencode(path).hex(): record for path, record in expected.items()}
    wrong = sorted(found.keys() ^ expected.keys())
    for path in found.keys() & expected.keys():
        record = expected[path]
        if "same_as" in record:
            first = found[os.fsencode(record["same_as"]).hex()]
            agrees = found[path] == first and "link" in first
        else:
            agrees = _comparable(found[path]) == _wanted(record)
        wrong += [] if agrees else [path]
    return wrong


def _comparable(record: dict[str, Any]) -> dict[str, Any]:
    hidden = {"link", "mode"} if record["kind"] == "symlink" else {"link"}
    return {name: value for name, value in record.items() if name not in hidden and name != "holes"}


def _wanted(record: dict[str, Any]) -> dict[str, Any]:
    wanted = {name: value for name, value in record.items() if name != "holes"} | {"mtime_ns": str(record["mtime_ns"])}
    wanted["xattrs"] = {os.fsencode(name).hex(): value for name, value in record["xattrs"].items()}
    if "target" in wanted:
        wanted["target"] = os.fsencode(wanted["target"]).hex()
    return wanted
