"""Write the content of files of a snapshot to standard output, one after the other."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from safehold.core.errors import PathMissing

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.repo.repository import Repository

USAGE = "SNAP:PATH... [options]"
EXAMPLES = ("safehold cat latest:/etc/hosts", "safehold cat latest:db:/dump.sql | psql")
STATUSES = (4, 13)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("places", metavar="SNAP:PATH", nargs="+", help="a file in a snapshot")


def run(call: Call) -> int:
    """Write them."""
    repository = call.repository()
    for place in call.values.places:
        _write(repository, place)
    return 0


def _write(repository: Repository, place: str) -> None:
    from safehold.core.entries import FILE, KIND_NAMES
    from safehold.ops.resolve import resolve_path
    from safehold.repo import files, trees

    stored, path = resolve_path(repository, place)
    entry = trees.find(repository.reader, stored.snapshot.tree, path)
    if entry is None or entry.kind != FILE:
        what = "the whole snapshot" if entry is None else f"a {KIND_NAMES[entry.kind]}"
        raise PathMissing(f"{place} is {what}, not a file.", "`safehold ls` lists it; `safehold restore` brings back folders.")
    sys.stdout.flush()
    for piece in files.stream(files.open_file(repository.reader, entry)):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
