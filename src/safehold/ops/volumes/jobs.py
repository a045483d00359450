"""Backups that are noted, to be run when a drive of their set appears.

They are kept in the set's catalogue as the words of the command, with the folder and the variables that it was given in.  A
passphrase is never kept: a job names the file or the command that gives it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from safehold.storage.volumes.catalogue import Catalogue, Volume

KEPT = (
    "SAFEHOLD_PASSWORD_FILE",
    "SAFEHOLD_PASSWORD_COMMAND",
    "SAFEHOLD_KEY_FILE",
    "SAFEHOLD_REPO",
    "SAFEHOLD_CONFIG",
    "SAFEHOLD_CACHE_DIR",
    "SAFEHOLD_STATE_DIR",
    "HOME",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_STATE_HOME",
)
"""Variables that a job is run with."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, words TEXT NOT NULL, folder TEXT NOT NULL, variables TEXT NOT NULL, noted_ns INTEGER NOT NULL,
    waiting INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS runs (
    job TEXT NOT NULL, volume TEXT NOT NULL, done_ns INTEGER NOT NULL, PRIMARY KEY (job, volume)
)
"""


class Job(msgspec.Struct, frozen=True):
    """A noted backup."""

    words: list[str]
    """Of the command, without the program."""
    folder: str
    """Where it was noted: names of sources may be relative to it."""
    variables: dict[str, str]
    noted_ns: int = 0
    waiting: bool = False
    """It was to be run when no drive was there, and has not been since."""

    @property
    def id(self) -> str:
        """By what it does and where."""
        return hashlib.sha256(msgspec.json.encode([self.words, self.folder])).hexdigest()[:16]


def of_call(words: Sequence[str], folder: str, environ: Mapping[str, str]) -> Job:
    """The job that a call of the program is."""
    return Job(list(words), folder, {name: environ[name] for name in KEPT if environ.get(name)})


def note(catalogue: Catalogue, job: Job, now_ns: int, *, waiting: bool) -> None:
    """Keep a job, new or as it was; ``waiting``: it could not be run just now."""
    catalogue.extend(_SCHEMA)
    values = (job.id, msgspec.json.encode(job.words), job.folder, msgspec.json.encode(job.variables), now_ns, waiting)
    with catalogue.transaction() as db:
        db.execute("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?, ?)", values)


def done(catalogue: Catalogue, job: Job, volume: str, now_ns: int) -> None:
    """A job was run on a drive."""
    note(catalogue, job, now_ns, waiting=False)
    with catalogue.transaction() as db:
        db.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", (job.id, volume, now_ns))


def drop(catalogue: Catalogue, id: str) -> None:
    """Forget a job."""
    catalogue.extend(_SCHEMA)
    with catalogue.transaction() as db:
        db.execute("DELETE FROM jobs WHERE id = ?", (id,))
        db.execute("DELETE FROM runs WHERE job = ?", (id,))


def noted(catalogue: Catalogue) -> list[Job]:
    """Every job, oldest first."""
    catalogue.extend(_SCHEMA)
    return [
        Job(
            msgspec.json.decode(row["words"], type=list[str]),
            row["folder"],
            msgspec.json.decode(row["variables"], type=dict[str, str]),
            row["noted_ns"],
            bool(row["waiting"]),
        )
        for row in catalogue.rows("SELECT * FROM jobs ORDER BY noted_ns, id")
    ]


def overdue(catalogue: Catalogue, job: Job, here: Sequence[Volume], every_ns: int, now_ns: int) -> bool:
    """Whether a job is to be run now that these drives are here: it waits, or is older on one of them than ``every_ns``."""
    if not here:
        return False
    last = {row["volume"]: row["done_ns"] for row in catalogue.rows("SELECT volume, done_ns FROM runs WHERE job = ?", (job.id,))}
    return job.waiting or any(now_ns - last.get(each.uuid, 0) >= every_ns for each in here)
