"""Ask somebody for files: make a link by which they send them in, sealed so that only this repository's readers open them.

They need no account: a browser, or `safehold send LINK FILE...`.  `safehold share receive` fetches what came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[NOTE] [options]"
EXAMPLES = ("safehold share request 'Pictures of the party' --expires 14d --most-files 200 --most-size 5G",)
STATUSES = (13,)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("note", metavar="NOTE", nargs="?", default="", help="what it is for; the sender reads it, and so does the server")
    add("--expires", metavar="TIME", default="14d", help="how long files are taken: 12h, 30d, 2w (14d)")
    add("--most-files", metavar="N", type=int, default=100, help="how many (100)")
    add("--most-size", metavar="SIZE", default="1G", help="how much in all: 500M, 20G (1G)")
    add("--end", metavar="ID", default="", help="instead: take no more files for this one")


def run(call: Call) -> int:
    """Make the link, or end one."""
    from safehold.cli import sharing
    from safehold.cli.archive_push import parse_size
    from safehold.ops import sending

    values = call.values
    if values.most_files < 1 or len(values.note) > 200:
        raise UsageError(
            "--most-files is a number above 0, and a note has 200 characters at most.", "Leave them out, or shorten it."
        )
    sharing.registry(call)
    address, api = call.online()
    if values.end:
        request = sharing.chosen_request(call, values.end)
        api.send("DELETE", f"{address.base}/requests/{request.request.hex()}")
        call.out.result("No more files are taken there.", {"event": "share-request-end", "id": request.request.hex()})
        return 0
    repository = call.repository()
    ends = sharing.until_ns(values.expires, call.clock.now_ns())
    wanted = sending.new_request(repository, api.server, values.note, ends, values.most_files, parse_size(values.most_size))
    link = sending.ask(repository, api, address.base, wanted).text()
    call.out.result(link, {"event": "share-request", "id": wanted.request.hex(), "link": link})
    return 0
