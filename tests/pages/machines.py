"""A fresh Debian 12 for each page: a tree made by ``mmdebstrap``, with Safehold installed in it as the README says, and a layer on top.

All of it is mounted in a namespace of its own, with processes of its own: when its first process ends, servers and mounts are gone.
The network is this machine's, and so are its settings for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shells import Shell

PACKAGES = "ca-certificates,python3,python3-venv,make,git"
NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
LENT = (f"PIP_CERT={NETWORK[-1]}", "DEBIAN_FRONTEND=noninteractive")
# Where Debian's clock is not this machine's, and what was downloaded once is not downloaded again.
APT = 'Acquire::Check-Valid-Until "false";\nAcquire::Check-Date "false";\nBinary::apt::APT::Keep-Downloaded-Packages "true";\n'
EXCHANGE = "/run/tried"
_MOUNTS = """
set -e
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/changes,workdir=$2/work" "$2/tree"
cd "$2/tree"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mkdir -m 1777 run/lock
mount --bind "$3" var/cache/apt/archives
exec chroot . bash -c 'echo ready; trap "" HUP; while :; do sleep 3600 & wait; done'
"""


class Machine:
    """A tree that runs; ``shell(user)`` is the shell of a user on it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._first = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
        self._shells: dict[str, Shell] = {}

    def shell(self, user: str) -> Shell:
        if user not in self._shells:
            command = ["nsenter", "-t", self._first, "-m", "-p", f"-r/proc/{self._first}/root", f"-w/proc/{self._first}/root"]
            log_in = [
                "env",
                "-i",
                *LENT,
                "TERM=dumb",
                "su",
                "-w",
                ",".join(name.split("=")[0] for name in LENT),
                "-",
                user,
                "-s",
                "/bin/bash",
            ]
            # The folder is reached by way of the process, since the tree is mounted for it alone.
            seen = Path(f"/proc/{self._first}/root{EXCHANGE}/{user}")
            seen.mkdir(parents=True)
            seen.chmod(0o777)
            self._shells[user] = Shell([*command, *log_in], seen, f"{EXCHANGE}/{user}")
        return self._shells[user]

    def close(self) -> None:
        for shell in self._shells.values():
            shell.close()


def debian(tree: Path) -> Path:
    """A minimal Debian 12, made if it is not there yet."""
    if not (tree / "etc/tried").exists():
        if not shutil.which("mmdebstrap"):
            raise SystemExit("mmdebstrap makes the fresh machine: apt-get install mmdebstrap")
        shutil.rmtree(tree, ignore_errors=True)
        subprocess.run(["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(tree)], check=True)
        for name in NETWORK:
            if Path(name).exists():
                shutil.copy(name, f"{tree}{name}")
        (tree / "etc/apt/apt.conf.d/99tried").write_text(APT)
        subprocess.run(["chroot", str(tree), "apt-get", "update", "-q"], check=True)
        (tree / "etc/tried").touch()
    return tree


@contextmanager
def machine(lower: list[Path], layer: Path, archives: Path) -> Iterator[Machine]:
    """A machine whose first layers are ``lower``; what it writes goes into ``layer``."""
    for name in ("changes", "work", "tree"):
        (layer / name).mkdir(parents=True, exist_ok=True)
    archives.mkdir(exist_ok=True)
    below = ":".join(map(str, lower))
    process = subprocess.Popen(
        [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--propagation",
            "private",
            "sh",
            "-c",
            _MOUNTS,
            "sh",
            below,
            layer,
            archives,
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise SystemExit("The fresh machine did not start: this needs root, and a file system on which overlays can be mounted.")
    made = Machine(process)
    try:
        yield made
    finally:
        made.close()
        process.kill()
        process.wait()
