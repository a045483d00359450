"""Back up files and folders, or what a program prints, into a new snapshot.

Only what is new or changed is read and stored.  If something of the source cannot be read, everything else is backed up, the
snapshot is marked incomplete, and the status is 3.  The repository and the cache are never part of a backup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import SafeholdError, SourceIncomplete, Waiting

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.ops.backup.options import BackupOptions
    from safehold.ops.backup.record import Result

USAGE = "SOURCE... [options]"
EXAMPLES = (
    "safehold backup ~/Documents ~/Pictures --tag home",
    "safehold backup / --one-file-system --exclude-caches --exclude '*.tmp'",
    "safehold backup ~ --dry-run",
)
STATUSES = (3, 15)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add(
        "sources",
        metavar="SOURCE",
        nargs="+",
        help="a file or folder; `-` is standard input, `command:...` what a command prints; a database's URL",
    )
    add("--exclude", metavar="GLOB", action="append", default=[], help="leave this out (rules as in .gitignore); may be repeated")
    add("--exclude-file", metavar="F", action="append", default=[], help="read such patterns from a file, one a line")
    add("--exclude-caches", action="store_true", help="of folders tagged as caches (CACHEDIR.TAG) keep only the tag")
    add("--one-file-system", action="store_true", help="stay on the file systems of the sources")
    add("--tag", metavar="T", action="append", default=[], help="give the snapshot this tag; may be repeated")
    add("--name", metavar="NAME", default="", help="with `-` or `command:...`: the name of the file in the snapshot")
    add("--max-rate", metavar="KIB", type=int, default=0, help="of a PostgreSQL database that is streamed: KiB a second at most")
    add("--method", metavar="WORD", default="", help="of a database: how; `dump` is SQL, others are on its page in the docs")
    add("--host", metavar="NAME", default="", help="back up as this host, instead of this machine's name")
    add("--parent", metavar="SNAP", default="", help="compare with this snapshot, instead of the last one of the same sources")
    add("--force", action="store_true", help="read every file, changed or not")
    add("--dry-run", action="store_true", help="count what would be read and added, and write nothing")
    add(
        "--paged",
        action="store_true",
        help="store every large file by page: of what changes in place, only changed pages are added",
    )
    add("--page-size", metavar="BYTES", type=int, default=0, help="of paged files: a power of two from 512 to 1048576 (16384)")
    add("--check", choices=("quick", "full"), default="", help="of an SQLite database: have SQLite check what is stored")
    add("--level", metavar="N", type=int, default=None, help="zstd's level of compression, 1 (fast) to 19 (small)")
    add("--no-verify", action="store_true", help="don't decode again what was compressed before it is stored")
    add(
        "--when-present",
        action="store_true",
        help="onto a volume set: if none of its drives is here, note the backup, to be run when one appears",
    )


def run(call: Call) -> int:
    """Back up, and say how it went."""
    from safehold.cli.reporting import report_done, report_failed
    from safehold.cli.sharing import refresh_after_backup
    from safehold.cli.sources import back_up

    try:
        result = back_up(call, options(call))
    except Waiting as error:
        if not call.values.when_present:
            raise
        from safehold.cli.volume_jobs import note_waiting

        return note_waiting(call, error)
    except SafeholdError as error:
        report_failed(call, error)
        raise
    _show(call, result)
    report_done(call, result)
    refresh_after_backup(call)
    _run_restores(call)
    if call.values.when_present and not call.values.dry_run:
        from safehold.cli.volume_jobs import note_done

        note_done(call)
    snapshot = result.snapshot
    if snapshot.incomplete:
        count = snapshot.statistics.errors
        what = "1 thing" if count == 1 else f"{count:,} things"
        raise SourceIncomplete(
            f"{what} of the source could not be read; the snapshot is marked incomplete.", "The warnings above say what and why."
        )
    return 0


def _run_restores(call: Call) -> None:
    """Those that were ordered from this machine, if it allows any.  Where that fails, the backup is done all the same."""
    if call.values.dry_run or call.online_store is None:
        return
    from safehold.cli.allowed_restores import Memory

    try:
        repository = call.repository()
        if repository.seals.can_read and Memory(call.state, repository.id).read() is not None:
            from safehold.cli.restore_jobs import run_waiting

            run_waiting(call)
    except SafeholdError as error:
        call.out.note(f"Restores that were ordered from this machine were not run: {error}")


def options(call: Call) -> BackupOptions:
    """What the values say.  Raises ``UsageError``."""
    from safehold.cli.tagging import check_tags
    from safehold.core.errors import UsageError
    from safehold.ops.backup.options import BackupOptions
    from safehold.repo.paged import PAGE_SIZES
    from safehold.repo.writer import WriterOptions
    from safehold.sources.files.exclude import Excluder, read_patterns

    values = call.values
    excludes = list(values.exclude)
    for name in values.exclude_file:
        excludes += read_patterns(name)
    Excluder(excludes)  # so that a wrong one shows before anybody is asked for a passphrase
    if values.level is not None and not 1 <= values.level <= 19:
        raise UsageError("--level is a number from 1 to 19.", "3 is what is used without it.")
    if values.page_size and values.page_size not in PAGE_SIZES:
        raise UsageError("--page-size is a power of two from 512 to 1048576.", "16384 is what is used without it.")
    check_tags(values.tag)
    level = {} if values.level is None else {"level": values.level}
    return BackupOptions(
        paths=values.sources,
        excludes=excludes,
        exclude_caches=values.exclude_caches,
        one_file_system=values.one_file_system,
        tags=values.tag,
        parent=values.parent,
        force=values.force,
        paged=values.paged,
        page_size=values.page_size,
        writer=WriterOptions(verify=not values.no_verify, **level),
        host=values.host,
        dry_run=values.dry_run,
    )


def _show(call: Call, result: Result) -> None:
    from safehold.cli.render import words
    from safehold.cli.render.records import totals

    snapshot, done = result.snapshot, result.snapshot.statistics
    value = {
        "event": "backup",
        "snapshot": result.id,
        "incomplete": snapshot.incomplete,
        "dry_run": call.values.dry_run,
        "time": words.iso(snapshot.time_ns),
        "files_new": done.new,
        "files_changed": done.changed,
        "files_unchanged": done.unchanged,
        "bytes_read": done.read,
        "bytes_added": done.added_raw,
        "bytes_stored": done.added_stored,
        "errors": done.errors,
        "seconds": done.seconds,
        "totals": totals(snapshot.totals),
    }
    would = "would be " if call.values.dry_run else ""
    lines = [
        f"Files: {done.new:,} new, {done.changed:,} changed, {done.unchanged:,} unchanged",
        f"Read: {words.size(done.read)} of {words.size(snapshot.totals.bytes)} in {words.count(snapshot.totals.files, 'file')}",
        f"Added: {words.size(done.added_raw)}, {would}stored as {words.size(done.added_stored)}",
        f"Time: {words.duration(done.seconds)}",
        f"Snapshot {result.id[:8]} made" + (", incomplete" if snapshot.incomplete else "")
        if result.id
        else "Dry run: nothing was written",
    ]
    call.out.result("\n".join(lines), value)
