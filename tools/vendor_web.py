#!/usr/bin/env python3
"""Fetches the libraries of the web pages anew through npm, and compares them with ``src/safehold/server/web/vendor``.

    python tools/vendor_web.py            compare; status 1 where something differs
    python tools/vendor_web.py --write    bring them in, and write their list

npm verifies what it fetches against its registry's own hashes.  ``zstddec.wasm`` is the WebAssembly module inside that package's
``dist/zstddec.mjs``, which holds it as base64 and would fetch it from a ``data:`` URL, which the pages' policy forbids.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VENDOR = Path(__file__).parents[1] / "src" / "safehold" / "server" / "web" / "vendor"
PACKAGES = {"hash-wasm": "4.13.0", "zstddec": "0.3.4"}
FILES = {
    "argon2.umd.min.js": ("hash-wasm", "dist/argon2.umd.min.js"),
    "blake3.umd.min.js": ("hash-wasm", "dist/blake3.umd.min.js"),
    "hash-wasm.license.txt": ("hash-wasm", "LICENSE"),
    "zstddec.wasm": ("zstddec", "dist/zstddec.mjs"),
    "zstddec.license.txt": ("zstddec", "LICENSE"),
}
LIST = "versions.json"


def fetch(name: str, version: str, place: Path) -> dict[str, bytes]:
    """The files of a package, by their path in it."""
    command = ["npm", "pack", f"{name}@{version}", "--silent", "--pack-destination", str(place)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    with tarfile.open(place / done.stdout.split()[-1]) as tar:
        members = [member for member in tar.getmembers() if member.isfile()]
        return {member.name.removeprefix("package/"): _read(tar, member) for member in members}


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def wasm_of(source: bytes) -> bytes:
    """The module that ``zstddec.mjs`` holds as one long base64 text."""
    (text,) = re.findall(rb'const wasm = "([A-Za-z0-9+/=]+)"', source)
    return base64.b64decode(text)


def published() -> dict[str, bytes]:
    """What should lie in the folder: file name -> bytes."""
    with tempfile.TemporaryDirectory() as place:
        packages = {name: fetch(name, version, Path(place)) for name, version in PACKAGES.items()}
    found = {}
    for file, (package, path) in FILES.items():
        data = packages[package][path]
        found[file] = wasm_of(data) if file.endswith(".wasm") else data
    lines = {
        file: {"package": package, "version": PACKAGES[package], "path": path, "sha256": hashlib.sha256(found[file]).hexdigest()}
        for file, (package, path) in FILES.items()
    }
    found[LIST] = (json.dumps(lines, indent=1) + "\n").encode()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="bring them in instead of comparing")
    write = parser.parse_args().write
    wanted = published()
    if write:
        VENDOR.mkdir(parents=True, exist_ok=True)
        for name, data in wanted.items():
            (VENDOR / name).write_bytes(data)
    here = {path.name: path.read_bytes() for path in VENDOR.iterdir() if path.name != "README.md"}
    wrong = sorted(name for name in here.keys() | wanted.keys() if here.get(name) != wanted.get(name))
    print("\n".join(f"differs: {name}" for name in wrong) or f"{len(here)} files are as published")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
