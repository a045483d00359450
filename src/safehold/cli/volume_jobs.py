"""Backups that wait for a drive: noting them, and running them when one is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.core.errors import Waiting
    from safehold.ops.volumes.jobs import Job
    from safehold.storage.volumes.catalogue import Catalogue

EVERY_HOURS = 20
"""A drive that has had a backup within so many hours does not have it again when it is plugged in."""


def note_waiting(call: Call, error: Waiting) -> int:
    """Keep the backup for later, and say so."""
    from safehold.cli.volume_sets import catalogue_of, parse
    from safehold.ops.volumes import jobs

    name, _ = parse(call.place.location)
    catalogue = catalogue_of(call, name)
    job = _job(call)
    jobs.note(catalogue, job, call.clock.now_ns(), waiting=True)
    value = {"event": "waiting", "name": name, "job": job.id, "message": str(error)}
    call.out.result(
        f"{error}  The backup is noted; it runs when one is plugged in, or with `safehold volumes run {name}`.", value
    )
    _warn_of_passphrase(call, job)
    return 0


def note_done(call: Call) -> None:
    """Keep the backup, and, once it has ended, that the drives that are here have it."""
    from safehold.cli.volume_sets import DriveSession
    from safehold.ops.volumes import jobs

    session = call.volumes
    if not isinstance(session, DriveSession):
        raise UsageError("--when-present is for sets of drives.", "Use -r volumes:NAME, or leave it out.")
    job = _job(call)

    def done() -> None:
        for each in session.drives.present:
            jobs.done(session.catalogue, job, each.volume.uuid, call.clock.now_ns())

    session.when_finished.append(done)
    _warn_of_passphrase(call, job)


def _job(call: Call) -> Job:
    from safehold.ops.volumes import jobs

    return jobs.of_call(list(call.words), os.getcwd(), call.environ)


def _warn_of_passphrase(call: Call, job: Job) -> None:
    """A passphrase that was typed, or stands in the environment, is not there when the drive is."""
    from safehold.core.events import Warn

    place = call.place
    given = any(name in job.variables for name in ("SAFEHOLD_PASSWORD_FILE", "SAFEHOLD_PASSWORD_COMMAND", "SAFEHOLD_KEY_FILE"))
    configured = place.password_file or place.password_command or place.key_file
    if not (given or configured or call.values.password_file or call.values.key_file):
        call.out.report(
            Warn(
                code="passphrase-not-kept",
                message="The passphrase is not kept, so this backup cannot run by itself.",
                hint="Give it by --password-file, --key-file or the configuration, or keep it in the system's keyring.",
            )
        )


def run_due(call: Call, catalogue: Catalogue, every_hours: float) -> int:
    """Run what is overdue on the drives that are here; the worst exit status."""
    from safehold.ops.volumes import jobs
    from safehold.storage.volumes.drives.presence import look

    every_ns = int(every_hours * 3600 * 1e9)
    here = [each.volume for each in look(catalogue, call.clock.now_ns()).present]
    noted = jobs.noted(catalogue)
    due = [job for job in noted if jobs.overdue(catalogue, job, here, every_ns, call.clock.now_ns())]
    status = 0
    for job in due:
        call.out.note(f"Running: safehold {' '.join(job.words)}")
        ended = _run(job)
        status = max(status, ended)
        call.out.result(f"Backup {job.id} ended with status {ended}.", {"event": "volumes-run", "job": job.id, "status": ended})
    if not due:
        labels = ", ".join(each.label for each in here)
        text = f"Nothing is due on {labels}." if here else "No drive is here."
        text = text if noted else "No backup is noted: run one with --when-present first."
        call.out.result(text, {"event": "volumes-run", "job": None, "status": 0})
    return status


def _run(job: Job) -> int:
    """A program of its own: what goes wrong in one backup must not hinder the next."""
    environ = {**os.environ, **job.variables}
    try:
        return subprocess.run([*own_program(), *job.words], check=False, cwd=job.folder, env=environ).returncode
    except OSError as error:
        raise UsageError(f"The backup {job.id} cannot be run in {job.folder}: {error.strerror}.", "Note it anew.") from error


def own_program() -> list[str]:
    """How this program is called: as it was, if that is a program, else as a module of its Python."""
    called = Path(sys.argv[0])
    if called.stem == "safehold" and os.access(called, os.X_OK):
        return [str(called.absolute())]
    return [sys.executable, "-m", "safehold"]
