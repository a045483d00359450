"""Send files to somebody who asked for them by a link.

They are sealed on this machine, to the key that the link names: the server cannot read them.  No account is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "LINK FILE... [options]"
EXAMPLES = ("safehold send 'https://backup.example.org/r/0123456789abcdef0123456789abcdef#1AbCd...' party.jpg --from Bert",)
STATUSES = (15,)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("link", metavar="LINK", help="the whole link, in quotes")
    add("files", metavar="FILE", nargs="+", help="what to send")
    add("--from", dest="sender", metavar="NAME", default="", help="who sends it, for the one who asked")
    add("--fingerprint", metavar="SHA256", default="", help="of the server's certificate, where nobody vouches for that")


def run(call: Call) -> int:
    """Send them."""
    from safehold.cli import sharing
    from safehold.cli.render import words
    from safehold.codec.share_secret import RequestLink
    from safehold.ops import sending
    from safehold.storage.online.api import Api

    values = call.values
    link = RequestLink.parse(values.link)
    sharing.require_safe(link.scheme, link.host)
    files = [Path(name).expanduser() for name in values.files]
    folder = next((file for file in files if not file.is_file()), None)
    if folder is not None:
        raise UsageError(f"{folder} is no file.", "Only files can be sent; pack a folder into one.")
    api = Api(f"{link.scheme}://{link.host}", fingerprint=values.fingerprint)
    try:
        asked = sending.look(api, link)
        if asked.note:
            call.out.note(f"Asked for: {asked.note}")
        for file in files:
            size = sending.send(api, link, asked, file, values.sender[:100], call.out.report)
            call.out.result(f"Sent {words.printable(str(file))}.", {"event": "send", "path": str(file), "bytes_sent": size})
    finally:
        api.close()
    return 0
