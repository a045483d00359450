"""A plan: what is backed up, where to, when, what is kept, and how it is proved.  ``docs/plans.md``."""

from __future__ import annotations

import hashlib
import re

import msgspec

from safehold.core.clock import NS
from safehold.core.errors import UsageError
from safehold.jobs.schedule import Schedule, schedule, span
from safehold.repo.retention import parse_duration
from safehold.sources.files.exclude import Excluder

KEEPS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LIKE_AN_ID = re.compile(r"[0-9a-f]{4,64}")
_PERCENT = re.compile(r"(100|[1-9]?[0-9])%")


class Plan(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """The settings, by the names that they have in the file.  What is not set is empty."""

    sources: list[str]
    repository: str = ""
    password_file: str = ""
    key_file: str = ""
    every: str = ""
    at: list[str] = []
    on: list[str] = []
    spread: str = ""
    host: str = ""
    exclude: list[str] = []
    exclude_file: list[str] = []
    exclude_caches: bool = False
    one_file_system: bool = False
    tag: list[str] = []
    options: list[str] = []
    keep_last: int = 0
    keep_hourly: int = 0
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0
    keep_within: str = ""
    prune: str = ""
    check: str = ""
    check_data: str = ""
    drill: str = ""
    copy_to: list[str] = []
    before: str = ""
    after: str = ""
    failed: str = ""
    paused: bool = False

    def verify(self) -> None:
        """Raises ``UsageError`` on what no plan can say."""
        if not self.sources or not all(self.sources):
            raise UsageError("A plan needs `sources`.", "Name at least one folder, file or database.")
        schedule(self.every, self.at, self.on)
        for setting, text in (("spread", self.spread), *self.periods().items()):
            if text:
                span(text, setting)
        Excluder(self.exclude)
        for word in KEEPS:
            if self.kept(word) < -1:
                raise UsageError(f"`keep-{word}` is a number; -1 keeps all.", "0 or nothing keeps none of that sort.")
        if self.keep_within:
            parse_duration(self.keep_within)
        if self.check_data and not _PERCENT.fullmatch(self.check_data):
            raise UsageError(f"`check-data`: {self.check_data!r} is no share.", "Write it as 5% or 100%.")
        if self.check_data and not self.check:
            raise UsageError("`check-data` says how much, but not how often.", 'Add check = "1w".')

    @property
    def schedule(self) -> Schedule:
        """When it is due."""
        return schedule(self.every, self.at, self.on)

    @property
    def keeps(self) -> bool:
        """Whether something is forgotten after a backup."""
        return bool(self.keep_within) or any(self.kept(word) for word in KEEPS)

    def kept(self, word: str) -> int:
        """``keep-WORD``."""
        return int(getattr(self, f"keep_{word}"))

    def periods(self) -> dict[str, str]:
        """How often each of the steps that are not part of every run is due; empty: never."""
        return {"prune": self.prune, "check": self.check, "drill": self.drill}

    def later_ns(self, machine: str, name: str) -> int:
        """How much later it comes on a machine, always the same, between 0 and ``spread``."""
        if not self.spread:
            return 0
        drawn = int.from_bytes(hashlib.sha256(f"{machine}\0{name}".encode()).digest()[:8], "big")
        return drawn % (span(self.spread, "spread") * NS)


def check_name(name: str) -> None:
    """Raises ``UsageError`` unless a plan may be called so; its snapshots have the name as a tag, and `drill` takes it."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a plan.", "Use letters, digits, `-`, `_` and `.`, up to 64.")
    if name == "latest" or _LIKE_AN_ID.fullmatch(name):
        raise UsageError(f"A plan cannot be called {name}: that looks like a snapshot.", "Choose another name.")
