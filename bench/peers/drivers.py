"""Drivers: each program with encryption on and zstd nearest level 3."""

from __future__ import annotations

from pathlib import Path

from measure import Command, run_checked

from peers.base import PASSWORD, Program


class Restic(Program):
    """restic; ``auto`` is its zstd default level, which stands for 3."""

    name = "restic"

    def version(self) -> str:
        """restic has a subcommand for it."""
        return run_checked(self.command("version")).split()[1]

    def environment(self) -> dict[str, str]:
        """All by environment."""
        return {
            "RESTIC_PASSWORD": PASSWORD,
            "RESTIC_REPOSITORY": str(self.repo),
            "RESTIC_CACHE_DIR": str(self.cache),
        }

    def init(self) -> None:
        """Version 2 of the format, the one that compresses."""
        run_checked(self.command("init", "--repository-version", "2"))

    def backup(self, paths: list[Path]) -> Command:
        """A backup with the default compression."""
        return self.command("backup", "--quiet", "--compression", "auto", *paths)

    def restore(self, source: Path, target: Path) -> Command:
        """The newest snapshot of ``source``."""
        return self.command("restore", "latest", "--quiet", "--path", source, "--target", target)


class Rustic(Program):
    """rustic, on restic's repository format."""

    name = "rustic"

    def environment(self) -> dict[str, str]:
        """All by environment; no progress bars."""
        return {
            "RUSTIC_PASSWORD": PASSWORD,
            "RUSTIC_REPOSITORY": str(self.repo),
            "RUSTIC_CACHE_DIR": str(self.cache),
            "RUSTIC_NO_PROGRESS": "true",
            "RUSTIC_LOG_LEVEL": "warn",
        }

    def init(self) -> None:
        """zstd at level 3, kept in the repository's configuration."""
        run_checked(self.command("init", "--set-compression", "3"))

    def backup(self, paths: list[Path]) -> Command:
        """A backup."""
        return self.command("backup", *paths)

    def restore(self, source: Path, target: Path) -> Command:
        """The newest snapshot's ``source``."""
        return self.command("restore", f"latest:{source}", target)


class Borg(Program):
    """borg 1.4.

    ``repokey`` (AES-CTR with HMAC-SHA256) is faster than ``repokey-blake2``
    on processors that have the SHA instructions.
    """

    name = "borg"

    def environment(self) -> dict[str, str]:
        """The base directory holds keys, security notes and the cache."""
        return {
            "BORG_PASSPHRASE": PASSWORD,
            "BORG_REPO": str(self.repo),
            "BORG_BASE_DIR": str(self.cache),
            "BORG_EXIT_CODES": "modern",
        }

    def init(self) -> None:
        """A new repository with the key in it."""
        run_checked(self.command("init", "--encryption", "repokey"))

    def backup(self, paths: list[Path]) -> Command:
        """A backup under the present time as its name."""
        archive = "::{utcnow:%Y-%m-%dT%H:%M:%S.%f}"
        return self.command("create", "--compression", "zstd,3", archive, *paths)

    def restore(self, source: Path, target: Path) -> Command:
        """The newest archive; borg extracts into the working directory."""
        listing = run_checked(self.command("list", "--last", "1", "--short"))
        return self.command("extract", f"::{listing.strip()}", cwd=target)


class Kopia(Program):
    """kopia with its default format, its zstd and no background upkeep."""

    name = "kopia"

    def environment(self) -> dict[str, str]:
        """Password by environment; no look for updates."""
        return {
            "KOPIA_PASSWORD": PASSWORD,
            "KOPIA_CONFIG_PATH": str(self.state / "kopia.config"),
            "KOPIA_LOG_DIR": str(self.state / "logs"),
            "KOPIA_CACHE_DIRECTORY": str(self.cache),
            "KOPIA_CHECK_FOR_UPDATES": "false",
        }

    def init(self) -> None:
        """A repository whose policy for everything is zstd."""
        self._run("repository", "create", "filesystem", f"--path={self.repo}", f"--cache-directory={self.cache}")
        self._run("policy", "set", "--global", "--compression=zstd")

    def backup(self, paths: list[Path]) -> Command:
        """A snapshot without the maintenance that may follow one."""
        return self._quiet("snapshot", "create", "--no-progress", *paths)

    def restore(self, source: Path, target: Path) -> Command:
        """The newest snapshot of ``source``."""
        return self._quiet("snapshot", "restore", source, target)

    def _quiet(self, *arguments: str | Path) -> Command:
        return self.command("--no-auto-maintenance", *arguments)

    def _run(self, *arguments: str | Path) -> None:
        run_checked(self._quiet(*arguments))


class Bupstash(Program):
    """bupstash; it encrypts to a key file and knows no password."""

    name = "bupstash"

    def version(self) -> str:
        """Printed as ``bupstash-1.2.3``."""
        return run_checked(self.command("version")).strip().removeprefix("bupstash-")

    def environment(self) -> dict[str, str]:
        """Key, repository and send log by environment."""
        return {
            "BUPSTASH_KEY": str(self.state / "key"),
            "BUPSTASH_REPOSITORY": str(self.repo),
            "BUPSTASH_SEND_LOG": str(self.cache / "send-log"),
            "BUPSTASH_QUERY_CACHE": str(self.cache / "query-cache"),
        }

    def init(self) -> None:
        """A key and a repository."""
        run_checked(self.command("new-key", "-o", self.state / "key"))
        run_checked(self.command("init", "-r", self.repo))

    def backup(self, paths: list[Path]) -> Command:
        """A put; the send log lets it skip what has not changed."""
        return self.command("put", "--quiet", "--compression", "zstd:3", "name=bench", *paths)

    def restore(self, source: Path, target: Path) -> Command:
        """The newest item, whose id is looked up beforehand."""
        listing = run_checked(self.command("list", "name=bench"))
        newest = listing.strip().splitlines()[-1].split()[0].replace('"', "")
        return self.command("restore", "--quiet", "--ownership", "--into", target, newest)


class Safehold(Program):
    """The program all this is about."""

    name = "safehold"

    def environment(self) -> dict[str, str]:
        """Password and cache by environment."""
        return {
            "SAFEHOLD_PASSWORD": PASSWORD,
            "SAFEHOLD_CACHE_DIR": str(self.cache),
        }

    def init(self) -> None:
        """A new repository."""
        run_checked(self.command("init", "-r", self.repo))

    def backup(self, paths: list[Path]) -> Command:
        """A backup with the defaults."""
        return self.command("backup", "-r", self.repo, *paths)

    def restore(self, source: Path, target: Path) -> Command:
        """The newest backup."""
        return self.command("restore", "-r", self.repo, "latest", "--target", target)
