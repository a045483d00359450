"""List what a snapshot holds: a folder, or with -R everything below it.

With -l also mode, owner, size (of folders that of all they hold), time and the targets of links."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.cli.helptext import SNAP

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "SNAP [PATH] [options]"
EXAMPLES = ("safehold ls latest", "safehold ls -l latest /home/me/Documents", "safehold ls -R 2026-11-20:/etc --json")
STATUSES = (4, 13)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("snap", metavar="SNAP", help=f"{SNAP}; may have :PATH")
    parser.add_argument("path", metavar="PATH", nargs="?", default="", help="a folder or file in it")
    parser.add_argument("-l", "--long", action="store_true", help="show mode, owner, size and time too")
    parser.add_argument("-R", "--recursive", action="store_true", help="list everything below, too")


def run(call: Call) -> int:
    """List it."""
    from safehold.cli.render import records, words
    from safehold.ops.listing import listing
    from safehold.ops.resolve import resolve, resolve_path, stored_path

    repository = call.repository()
    if call.values.path:
        stored, path = resolve(repository, call.values.snap), stored_path(call.values.path)
    else:
        stored, path = resolve_path(repository, call.values.snap)
    long = call.values.long
    for item in listing(repository.reader, stored.snapshot.tree, path, recursive=call.values.recursive):
        if call.out.as_json:
            call.out.result("", records.entry(item.path, item.entry, item.owner, item.group))
        elif long:
            call.out.result(records.long_line(item.path, item.entry, item.owner, item.group))
        else:
            call.out.result(words.printable(item.path))
    return 0
