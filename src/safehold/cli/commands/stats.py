"""Show how much is stored, and how much it would be without deduplication and compression."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[options]"
EXAMPLES = ("safehold stats", "safehold stats --json")
STATUSES = (4, 13)


def arguments(parser: Parser) -> None:
    """It takes nothing of its own."""


def run(call: Call) -> int:
    """Show it."""
    import msgspec

    from safehold.cli.render import words
    from safehold.ops.stats import stats

    repository = call.repository()
    found = stats(repository, repository.visible_snapshots())
    value = {
        **msgspec.to_builtins(found),
        "deduplication": round(found.deduplication, 3),
        "compression": round(found.compression, 3),
    }
    lines = [
        f"Snapshots     {found.snapshots:>12,}",
        f"Files         {found.files:>12,}  in all snapshots together",
        f"As copies     {words.size(found.logical):>12}  what they would take as plain copies",
        f"Deduplicated  {words.size(found.unique):>12}  {found.deduplication:.1f} times less, {found.chunks:,} chunks",
        f"Stored        {words.size(found.stored):>12}  {found.compression:.1f} times less by compression",
        *(
            f"  {kind:<20}{words.size(each.bytes):>12}  in {words.count(each.objects, 'object')}"
            for kind, each in found.objects.items()
        ),
    ]
    call.out.result("\n".join(lines), value)
    return 0
