"""Find files by name in all snapshots, or in some.

PATTERN is a part of the name; with `*`, `?` or `[...]` a glob of the whole name, and with a slash in it of the whole path.  The
status is 0 also if nothing is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core import entries
from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.ops.find import Wanted
    from safehold.repo.repository import Repository
    from safehold.repo.snapshots import Stored

USAGE = "PATTERN [options]"
EXAMPLES = ("safehold find invoice", "safehold find '*.odt' --snapshot latest --newer '3 days ago'")
STATUSES = (4, 13)
_TYPES = {"f": entries.FILE, "d": entries.DIRECTORY, "l": entries.SYMLINK}


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("pattern", metavar="PATTERN", help="what to look for")
    add("-i", "--ignore-case", action="store_true", help="capitals or not")
    add("--snapshot", metavar="SNAP", action="append", default=[], help="look in this one only; may be repeated")
    add("--host", metavar="NAME", action="append", default=[], help="look in snapshots of this host only")
    add("--path", metavar="PATH", action="append", default=[], help="look in snapshots that hold this source only")
    add("--tag", metavar="T", action="append", default=[], help="look in snapshots with this tag only")
    add("--type", choices=sorted(_TYPES), default="", help="only files, only folders (d), or only links")
    add("--newer", metavar="TIME", default="", help="modified at this time or after")
    add("--older", metavar="TIME", default="", help="modified at this time or before")


def run(call: Call) -> int:
    """Find them."""
    from safehold.cli.render import records, words
    from safehold.ops.find import find

    if not call.values.pattern:
        raise UsageError("The pattern is empty.", "`*` finds everything.")
    repository = call.repository()
    wanted = _wanted(call, repository)
    for found in find(repository.reader, _snapshots(call, repository), wanted):
        value = {"snapshot": found.snapshot.id, **records.entry(found.path, found.entry)}
        size, time = words.size(records.size_of(found.entry)), words.moment(found.entry.mtime_ns)
        call.out.result(f"{found.snapshot.id[: records.SHORT]}  {size:>9}  {time}  {words.printable(found.path)}", value)
    return 0


def _snapshots(call: Call, repository: Repository) -> list[Stored]:
    from safehold.cli.selection import selected
    from safehold.ops.resolve import resolve

    if call.values.snapshot:
        return [resolve(repository, text) for text in call.values.snapshot]
    return list(selected(repository.visible_snapshots(), call.values))


def _wanted(call: Call, repository: Repository) -> Wanted:
    from safehold.ops.find import Wanted
    from safehold.ops.resolve import moment_ns

    values, now = call.values, repository.clock.now_ns()
    return Wanted(
        pattern=values.pattern,
        ignore_case=values.ignore_case,
        kinds=frozenset({_TYPES[values.type]} if values.type else ()),
        newer_ns=moment_ns(values.newer, now, day_ends=False) if values.newer else None,
        older_ns=moment_ns(values.older, now) if values.older else None,
    )
