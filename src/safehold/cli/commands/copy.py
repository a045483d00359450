"""Copy snapshots with all they hold into another repository, under its own keys.  Without SNAP: all of them.

What the other repository has already is not copied again.  Its key is given by --to-password-file, --to-key-file, the same
variables with SAFEHOLD_TO_ in front (SAFEHOLD_TO_PASSWORD ...) or the configuration; else it is taken to be the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.cli.helptext import SNAP

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "--to REPO [SNAP...] [options]"
EXAMPLES = ("safehold copy --to /mnt/usb/safehold", "safehold copy --to nas latest:home --to-key-file nas.key")
STATUSES = (4, 13, 15)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("snaps", metavar="SNAP", nargs="*", help=SNAP)
    add("--to", metavar="REPO", required=True, help="the repository to copy to, by place or by name")
    add("--to-password-file", metavar="F", default="", help="read its passphrase from this file")
    add("--to-key-file", metavar="F", default="", help="use this key file for it")
    add("--host", metavar="NAME", action="append", default=[], help="copy of this host only; may be repeated")
    add("--path", metavar="PATH", action="append", default=[], help="copy of this source only")
    add("--tag", metavar="T", action="append", default=[], help="copy only what has this tag")


def run(call: Call) -> int:
    """Copy them."""
    from safehold.cli.render import words
    from safehold.cli.selection import selected
    from safehold.ops.copy import copy_snapshots
    from safehold.ops.resolve import resolve

    values = call.values
    source = call.repository()
    if values.snaps:
        ids = [resolve(source, text).id for text in values.snaps]
    else:
        ids = [stored.id for stored in selected(source.visible_snapshots(), values)]
    target = call.other_repository(values.to, values.to_password_file, values.to_key_file)
    result = copy_snapshots(source, target, ids)
    value = {
        "event": "copy",
        "copied": result.copied,
        "skipped": result.skipped,
        "bytes_read": result.read,
        "bytes_stored": result.added,
    }
    text = f"Copied {words.count(len(result.copied), 'snapshot')}; {len(result.skipped):,} were there already"
    call.out.result(f"{text}.  Read {words.size(result.read)}, stored {words.size(result.added)}.", value)
    return 0
