"""What ``tag add`` and ``tag remove`` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from safehold.cli.helptext import SNAP
from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser


def arguments(parser: Parser, text: str) -> None:
    """Declare SNAP and TAG; ``text`` says what becomes of the tags."""
    parser.add_argument("snap", metavar="SNAP", help=SNAP)
    parser.add_argument("tags", metavar="TAG", nargs="+", help=text)


def check_tags(tags: list[str]) -> None:
    """Raise ``UsageError`` unless every tag is a word."""
    if any(not tag.strip() or "," in tag or not tag.isprintable() for tag in tags):
        raise UsageError("A tag is a word without commas.", "Name several tags one after the other.")


def change(call: Call, new: Callable[[set[str], set[str]], set[str]]) -> int:
    """Give a snapshot the tags that ``new`` makes of those it has and those that are named."""
    from safehold.ops.resolve import resolve
    from safehold.ops.tag import retag

    check_tags(call.values.tags)
    repository = call.repository()
    stored = resolve(repository, call.values.snap)
    tags = new(set(stored.snapshot.tags), set(call.values.tags))
    name = retag(repository, stored, tags)
    value = {"event": "tag", "snapshot": name, "before": stored.id, "tags": sorted(tags)}
    if name == stored.id:
        call.out.result(f"Snapshot {name[:8]} has these tags already.", value)
    else:
        call.out.result(f"Snapshot {stored.id[:8]} is now {name[:8]}, with the tags: {', '.join(sorted(tags)) or 'none'}.", value)
    return 0
