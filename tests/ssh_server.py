"""A real SSH server for tests: OpenSSH's, on a port of loopback, with keys of its own; and a home folder with the ssh files of a user
who may log in."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from ceph_gateway import free_port

CONFIGURATION = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxSessions {sessions}
LogLevel ERROR
{more}
"""


class SshServer:
    """Started by ``start``.  ``home`` has a ``.ssh`` in which the server is known, and called ``backup``."""

    def __init__(self, folder: Path, *, force_internal: bool = False, sessions: int = 10) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.port = free_port()
        self.data = folder / "data"
        for each in (self.home / ".ssh", self.data):
            each.mkdir(parents=True)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        (folder / "authorized_keys").write_bytes((folder / "user.pub").read_bytes())
        more = "Subsystem sftp internal-sftp\nForceCommand internal-sftp" if force_internal else ""
        more = more or "Subsystem sftp /usr/lib/openssh/sftp-server"
        (folder / "sshd_config").write_text(CONFIGURATION.format(port=self.port, folder=folder, sessions=sessions, more=more))
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.write_config()
        self.know(self.public_key("host"))

    def public_key(self, name: str) -> str:
        """Kind and key."""
        return " ".join((self.folder / f"{name}.pub").read_text().split()[:2])

    def know(self, key: str) -> None:
        """Have this key, and no other, in the user's list of known hosts; none if it is empty."""
        (self.home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key}\n" if key else "")

    def write_config(self, identity: str = "user", port: int = 0, more: str = "") -> None:
        """The user's ssh configuration."""
        (self.home / ".ssh" / "config").write_text(
            f"Host backup\n  HostName 127.0.0.1\n  Port {port or self.port}\n  User {self.user}\n"
            f"  HostKeyAlias [127.0.0.1]:{self.port}\n  IdentityFile {self.folder / identity}\n  IdentityAgent none\n{more}"
        )

    def location(self, name: str) -> str:
        """The place of a repository."""
        return f"sftp://backup{self.data / name}"

    def start(self) -> None:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd, as root, wants it to be there
        subprocess.run(["/usr/sbin/sshd", "-f", self.folder / "sshd_config", "-E", self.folder / "log"], check=True)
        for _ in range(200):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        """End it, and every session with it."""
        with suppress(FileNotFoundError, ProcessLookupError):
            pid = int((self.folder / "sshd.pid").read_text())
            listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
            for child in listed.stdout.split():
                with suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)
            os.kill(pid, signal.SIGTERM)
            for _ in range(100):
                os.kill(pid, 0)
                time.sleep(0.02)
