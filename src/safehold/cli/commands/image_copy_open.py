"""Open an image copy, and keep it open until this is interrupted (Ctrl-C), or until COMMAND has ended.

--read-only shows the database as of its last roll; the next roll goes on from there.  --read-write opens a clone, made in the
folder that --clone names: that is how work goes on when the original is lost.  The server is private: it listens on a
socket only, whose address is printed, and which COMMAND finds in SAFEHOLD_IMAGE_URL, and in PGHOST and PGUSER, or in
MYSQL_UNIX_PORT.  SQLite has no server: the address is a URI of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "NAME --read-only | --read-write --clone FOLDER [options]"
EXAMPLES = (
    "safehold image-copy open shop --read-only --command 'psql -c \"select count(*) from orders\" shop'",
    "safehold image-copy open shop --read-write --clone /mnt/second/shop-now",
)
STATUSES: tuple[int, ...] = ()


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("name", metavar="NAME", help="its name, or its folder")
    add("--read-only", action="store_true", help="the image itself, for reading")
    add("--read-write", action="store_true", help="a clone of it, for writing")
    add("--clone", metavar="FOLDER", default="", help="where the clone goes; empty, or not there yet")
    add("--command", metavar="COMMAND", default="", help="run this meanwhile, and close when it has ended")


def run(call: Call) -> int:
    """Open it."""
    from pathlib import Path

    from safehold.cli.image_copies import keep_open, registry
    from safehold.ops.image_copies.lifecycle import read_only, read_write

    values = call.values
    if values.read_only == values.read_write:
        raise UsageError("Either --read-only or --read-write is needed.", "--read-only leaves the image as it is.")
    if values.read_write != bool(values.clone):
        raise UsageError("--read-write opens a clone, and --clone says where it goes.", "Name a folder with --clone.")
    image = registry(call).find(values.name)
    opened = read_write(image, Path(values.clone).expanduser()) if values.read_write else read_only(image)
    with opened as server:
        return keep_open(call, server.url, server.environment, values.command)
