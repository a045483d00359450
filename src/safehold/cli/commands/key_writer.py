"""Make a key file for a machine that may add backups and read none: not others', and not its own.

If that machine is stolen or taken over, what is stored stays unread and cannot be deleted.  Only the owner may make one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "FILE [options]"
EXAMPLES = ("safehold key writer laptop.key --label laptop", "safehold --key-file laptop.key backup ~")
STATUSES = (13, 15)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("file", metavar="FILE", help="the key file to make")
    parser.add_argument("--label", metavar="TEXT", default="", help="which machine it is for (default: the file's name)")


def run(call: Call) -> int:
    """Make it."""
    from pathlib import Path

    from safehold.cli import key_slots

    repository = call.repository()
    label = call.values.label or Path(call.values.file).stem
    slot_id = key_slots.add_key_file(call, repository, "writer", call.values.file, label)
    text = f"Made {call.values.file}, the writer key {slot_id[:8]} ({label}): only the machine that uses it should have it."
    key_slots.tell(call, "key-writer", "writer", slot_id, label, text)
    return 0
