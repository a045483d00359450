"""Fetch the files that were sent in by request links.

Each file is fetched once on this machine; nothing in the target is replaced."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[ID] --target DIR [options]"
EXAMPLES = ("safehold share receive --target ~/inbox",)
STATUSES = (4, 13)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("request", metavar="ID", nargs="?", default="", help="only what was sent to this request")
    add("-t", "--target", metavar="DIR", required=True, help="the folder to put them into")
    add("--again", action="store_true", help="also what was fetched before")


def run(call: Call) -> int:
    """Fetch them."""
    from safehold.cli import sharing
    from safehold.cli.render import words
    from safehold.cli.render.records import text
    from safehold.ops import sending

    values = call.values
    repository = call.repository()
    fetched = sharing.Fetched(call.state, repository.id)
    only = sharing.chosen_request(call, values.request).request if values.request else None
    target = Path(values.target).expanduser()
    came = sending.receive(repository, target, () if values.again else fetched.keys(), only)
    fetched.add([each.key for each in came])
    value = {
        "event": "share-receive",
        "files": [{"name": text(each.name), "bytes": each.size, "sender": each.sender} for each in came],
        "target": str(target),
    }
    lines = [
        f"{words.size(each.size):>9}  {words.printable(each.name)}  {words.printable(each.sender)}".rstrip() for each in came
    ]
    call.out.result("\n".join([*lines, f"Fetched {words.count(len(came), 'file')} into {target}."]), value)
    return 0
