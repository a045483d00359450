"""List the snapshots, oldest first; with the filters only some of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.repo.repository import Repository
    from safehold.repo.snapshots import Stored

USAGE = "[options]"
EXAMPLES = ("safehold snapshots --tag home", "safehold snapshots --path ~/Documents --json")
STATUSES = (13,)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("--host", metavar="NAME", action="append", default=[], help="only those of this host; may be repeated")
    parser.add_argument("--path", metavar="PATH", action="append", default=[], help="only those that hold this source")
    parser.add_argument("--tag", metavar="T", action="append", default=[], help="only those with this tag")
    parser.add_argument("--trash", action="store_true", help="list what was forgotten and can still be undeleted")
    parser.add_argument("--logs", action="store_true", help="list the commits of databases' logs, too")


def run(call: Call) -> int:
    """List them."""
    from safehold.cli.databases import reachable
    from safehold.cli.render import records, words
    from safehold.cli.selection import selected
    from safehold.cli.spools import warn_of_spool

    repository = call.repository()
    every = _of_trash(repository) if call.values.trash else repository.visible_snapshots()
    found = [stored for stored in selected(every, call.values) if call.values.logs or not stored.snapshot.is_logs]
    # Logs lie in trees, which are on the drives: of a volume set each of them tells of its own.
    databases = [] if call.values.trash or call.volumes is not None else reachable.found(repository, every)
    held = None if call.volumes is None else call.volumes.holders()
    if call.out.as_json:
        listed = [records.snapshot(stored) for stored in found]
        for value in listed if held is not None else []:
            value["volumes"] = held.get(str(value["id"]), []) if held else []
        call.out.result("", {"snapshots": listed, "databases": [reachable.value(each) for each in databases]})
        return 0
    rows = [[*records.HEADINGS], *map(records.row, found)]
    if held is not None and call.volumes is not None and not call.volumes.write_once:  # on discs, a snapshot's data lie on many
        places = ["On", *(", ".join(held.get(each.id, [])) for each in found)]
        rows = [[*row, place] for row, place in zip(rows, places, strict=True)]
    for line in words.table(rows, frozenset({3, 4})) if found else []:
        call.out.result(line)
    for database in databases:
        for warning in database.warnings:
            call.out.report(warning)
        if database.engine == "postgresql":
            warn_of_spool(call, database.system)
        for line in reachable.lines(database):
            call.out.result(line)
    call.out.result(words.count(len(found), "snapshot") + (" in the trash" if call.values.trash else ""))
    return 0


def _of_trash(repository: Repository) -> list[Stored]:
    from safehold.repo import condemned, snapshots

    stored = set(snapshots.names(repository.store))
    return repository.load_snapshots([name for name in condemned.trash(repository.condemned()) if name in stored])
