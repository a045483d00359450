"""Show what changed from one snapshot to another; with :PATH behind them only below these paths.

+ added, - removed, M other content, T other type, U other metadata (mode, owner, attributes, of files the time)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.entries import DIRECTORY, FILE, Entry
from safehold.core.errors import PathMissing

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.ops.diff import Change
    from safehold.repo.repository import Repository

USAGE = "SNAP SNAP [options]"
EXAMPLES = ("safehold diff yesterday latest", "safehold diff 1a2b3c4d:/etc latest:/etc --json")
STATUSES = (4, 13)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("old", metavar="SNAP", help="the older one, perhaps with :PATH")
    parser.add_argument("new", metavar="SNAP", help="the newer one, perhaps with :PATH")


def run(call: Call) -> int:
    """Show it."""
    from safehold.ops.diff import diff

    repository = call.repository()
    old, new = _tree(repository, call.values.old), _tree(repository, call.values.new)
    sums = _Sums()
    for change in diff(repository.reader, old, new):
        sums.add(change)
        _show(call, change)
    _show_sums(call, sums)
    return 0


class _Sums:
    def __init__(self) -> None:
        self.marks = dict.fromkeys("+-MTU", 0)
        self.bytes_added = 0
        self.bytes_removed = 0

    def add(self, change: Change) -> None:
        self.marks[change.mark] += 1
        if change.mark != "U":
            self.bytes_added += _file_size(change.new)
            self.bytes_removed += _file_size(change.old)


def _tree(repository: Repository, text: str) -> bytes:
    from safehold.ops.resolve import resolve_path
    from safehold.repo import trees

    stored, path = resolve_path(repository, text)
    entry = trees.find(repository.reader, stored.snapshot.tree, path)
    if entry is not None and entry.kind != DIRECTORY:
        raise PathMissing(f"{text} is not a folder.", "Compare the folders that hold the files.")
    return stored.snapshot.tree if entry is None else entry.content


def _show(call: Call, change: Change) -> None:
    from safehold.cli.render import records, words

    shown = change.new or change.old
    slash = "/" if shown is not None and shown.kind == DIRECTORY else ""
    sizes = ""
    if change.mark == "M" and change.old is not None and change.new is not None:
        sizes = f"  ({words.size(change.old.size)} -> {words.size(change.new.size)})"
    value = {
        "mark": change.mark,
        "path": records.text(change.path),
        "old": None if change.old is None else records.entry(change.path, change.old),
        "new": None if change.new is None else records.entry(change.path, change.new),
    }
    call.out.result(f"{change.mark}  {words.printable(change.path)}{slash}{sizes}", value)


def _show_sums(call: Call, sums: _Sums) -> None:
    from safehold.cli.render import words

    names = {"+": "added", "-": "removed", "M": "modified", "T": "type_changed", "U": "metadata_changed"}
    counts = {name: sums.marks[mark] for mark, name in names.items()}
    value = {"event": "diff", **counts, "bytes_added": sums.bytes_added, "bytes_removed": sums.bytes_removed}
    listed = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count) or "no difference"
    sizes = f"; {words.size(sums.bytes_added)} came, {words.size(sums.bytes_removed)} went" if listed != "no difference" else ""
    call.out.result(f"{listed[0].upper()}{listed[1:]}{sizes}.", value)


def _file_size(entry: Entry | None) -> int:
    return entry.size if entry is not None and entry.kind == FILE else 0
