"""Build the peers into ``bench/work/peers``.

``python bench/install.py [NAME ...]`` builds those that are missing, one
after another and at low priority.  It needs Go, Cargo and what ``README.md``
lists.  Every download and cache stays below ``bench/work``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

INSTALLED = Path(__file__).resolve().parent / "work" / "peers"

# A module proxy may refuse to say which version is the latest, and then even
# ``go install`` of a known one fails; these were the newest that could be had.
# The last word names the variable a program takes its version from.
_GO_MODULES = {
    "restic": ("github.com/restic/restic", "cmd/restic", "v0.18.1", "main.version"),
    "rest-server": ("github.com/restic/rest-server", "cmd/rest-server", "v0.14.0", "main.version"),
    "kopia": ("github.com/kopia/kopia", "", "v0.21.1", "github.com/kopia/kopia/repo.BuildVersion"),
}
_CRATES = {"rustic": "rustic-rs", "bupstash": "bupstash"}
_BORG = "borgbackup>=1.4,<1.5"


def main(names: list[str]) -> int:
    """Build ``names`` or all; the exit status says whether all are there."""
    missing = [name for name in names or INSTALLERS if not _build(name)]
    for name in missing:
        print(f"{name}: could not be built, nor had from Debian", file=sys.stderr)
    return 1 if missing else 0


def _build(name: str) -> bool:
    """Build ``name`` unless it is there; fall back to Debian's package."""
    target = _executable(name)
    if not target.exists():
        print(f"building {name}", file=sys.stderr)
        if not INSTALLERS[name](name):
            _take_from_debian(name, target)
    return target.exists()


def _executable(name: str) -> Path:
    return INSTALLED / ("borg/bin/borg" if name == "borg" else f"bin/{name}")


def _go(name: str) -> bool:
    """``go install`` where the proxy allows it, else download and build."""
    module, package, *_ = _GO_MODULES[name]
    path = f"{module}/{package}".rstrip("/")
    installed = _run(name, ["go", "install", f"{path}@latest"], _go_environment())
    return installed or _go_build(name)


def _go_build(name: str) -> bool:
    """Build the module where Go unpacked it, with the versions it asks for."""
    module, package, version, variable = _GO_MODULES[name]
    env = _go_environment()
    if not _run(name, ["go", "mod", "download", f"{module}@{version}"], env):
        return False
    source = Path(env["GOPATH"]) / "pkg" / "mod" / f"{module}@{version}"
    target = str(INSTALLED / "bin" / name)
    link = f"-ldflags=-X {variable}={version.removeprefix('v')}"
    arguments = ["build", "-C", str(source), link, "-o", target, f"./{package}"]
    return _run(name, ["go", *arguments], env)


def _go_environment() -> dict[str, str]:
    return {
        "GOPATH": str(INSTALLED / "build" / "go"),
        "GOCACHE": str(INSTALLED / "build" / "gocache"),
        "GOBIN": str(INSTALLED / "bin"),
        "GOFLAGS": "-modcacherw",
        "CGO_ENABLED": "0",
    }


def _cargo(name: str) -> bool:
    env = {
        "CARGO_HOME": str(INSTALLED / "build" / "cargo"),
        "CARGO_TARGET_DIR": str(INSTALLED / "build" / "target"),
    }
    arguments = ["install", "--locked", "--root", str(INSTALLED), _CRATES[name]]
    return _run(name, ["cargo", *arguments], env)


def _pip(name: str) -> bool:
    venv = INSTALLED / name
    made = _run(name, [sys.executable, "-m", "venv", str(venv)])
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--upgrade", _BORG]
    return made and _run(name, pip)


def _take_from_debian(name: str, target: Path) -> None:
    """Install Debian's package and link to its program."""
    package = "borgbackup" if name == "borg" else name
    _run(name, ["apt-get", "install", "-y", package])
    program = shutil.which(name, path="/usr/bin")
    if program is None:
        return
    shutil.rmtree(INSTALLED / name, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(program)


def _run(name: str, argv: list[str], env: dict[str, str] | None = None) -> bool:
    """Run ``argv`` quietly and at low priority; its output goes to a log."""
    log = INSTALLED / "log" / name
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        done = subprocess.run(
            ["nice", "-n", "10", *argv],
            env={**os.environ, **(env or {})},
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        print(f"{' '.join(argv[:3])} failed, see {log}", file=sys.stderr)
    return done.returncode == 0


INSTALLERS: dict[str, Callable[[str], bool]] = {
    "borg": _pip,
    "bupstash": _cargo,
    "restic": _go,
    "rest-server": _go,
    "kopia": _go,
    "rustic": _cargo,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
