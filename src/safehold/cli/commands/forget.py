"""Forget snapshots: those named, or those that a policy does not keep.

They go to the trash, where `safehold undelete` finds them until a prune removes them when the trash period is over.  A policy
keeps the newest of each hour, day and so on, of each device and source by itself; -1 keeps all.  Only the owner may."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.cli.helptext import SNAP
from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.repo.repository import Repository
    from safehold.repo.retention import Decision, Policy

USAGE = "SNAP... | --keep-... [options]"
EXAMPLES = (
    "safehold forget 1a2b3c4d",
    "safehold forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --prune",
    "safehold forget --keep-within 30d --dry-run",
)
STATUSES = (4, 13)
_COUNTS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    from safehold.cli.pruning import prune_arguments

    add = parser.add_argument
    add("snaps", metavar="SNAP", nargs="*", help=SNAP)
    for word in _COUNTS:
        what = "newest ones" if word == "last" else f"newest of each of N {_UNITS[word]}"
        add(f"--keep-{word}", metavar="N", type=int, default=0, help=f"keep the {what}")
    add(
        "--keep-within",
        metavar="TIME",
        default="",
        help="keep what is no older than this before the newest: 30d, 2w, 6m, 1y, 12h",
    )
    add("--keep-tag", metavar="T", action="append", default=[], help="keep what has this tag; may be repeated")
    add("--host", metavar="NAME", action="append", default=[], help="forget of this host only; may be repeated")
    add("--path", metavar="PATH", action="append", default=[], help="forget of this source only")
    add("--tag", metavar="T", action="append", default=[], help="forget only what has this tag")
    add("--dry-run", action="store_true", help="tell what would be forgotten, and why the rest is kept")
    add("--prune", action="store_true", help="prune afterwards")
    prune_arguments(parser)


_UNITS = {"hourly": "hours", "daily": "days", "weekly": "weeks", "monthly": "months", "yearly": "years"}


def run(call: Call) -> int:
    """Forget them."""
    from safehold.cli.pruning import prune, retire_logs

    policy = _policy(call)
    if policy.empty == (not call.values.snaps):
        raise UsageError("Either snapshots are named, or a policy says what to keep.", "Try --keep-daily 7 --dry-run.")
    repository = call.repository()
    repository.require_owner("forget snapshots")
    gone = _named(call, repository) if call.values.snaps else _by_policy(call, repository, policy)
    if call.values.prune:
        return prune(call, repository)
    if call.volumes is None:  # of a volume set a prune does that, drive by drive
        retire_logs(call, repository, gone)
    return 0


def _policy(call: Call) -> Policy:
    from safehold.repo.retention import Policy, parse_duration

    values = call.values
    counts = {word: getattr(values, f"keep_{word}") for word in _COUNTS}
    wrong = next((word for word, count in counts.items() if count < -1), None)
    if wrong:
        raise UsageError(f"--keep-{wrong} is a number; -1 keeps all.", "0 or nothing keeps none of that sort.")
    within = parse_duration(values.keep_within) if values.keep_within else None
    return Policy(**counts, within=within, tags=frozenset(values.keep_tag))


def _named(call: Call, repository: Repository) -> list[str]:
    from safehold.ops.forget import forget
    from safehold.ops.resolve import resolve

    ids = [resolve(repository, text).id for text in call.values.snaps]
    if not call.values.dry_run:
        forget(repository, ids)
    _tell(call, ids, {})
    return ids


def _by_policy(call: Call, repository: Repository, policy: Policy) -> list[str]:
    from safehold.cli.render import records, words
    from safehold.cli.selection import selected
    from safehold.core.local_time import LocalZone
    from safehold.ops.forget import decide, forget

    decisions = decide(repository, policy, LocalZone(), call.volumes.unproven() if call.volumes is not None else ())
    chosen = {stored.id for stored in selected((decision.snapshot for decision in decisions), call.values)}
    gone = [d for d in decisions if not d.keep and d.snapshot.id in chosen]
    kept: dict[str, Decision] = {d.snapshot.id: d for d in decisions if d.keep and d.snapshot.id in chosen}
    ids = [decision.snapshot.id for decision in gone]
    if not call.values.dry_run:
        forget(repository, ids)
    rows = [["", *records.HEADINGS, "Kept as"]]
    rows += [["keep", *records.row(d.snapshot), ", ".join(d.reasons)] for d in kept.values()]
    rows += [["forget", *records.row(d.snapshot), ""] for d in gone]
    if not call.out.as_json:
        call.out.result("\n".join(words.table(rows, frozenset({4, 5}))))
    _tell(call, ids, kept)
    return ids


def _tell(call: Call, ids: list[str], kept: dict[str, Decision]) -> None:
    from safehold.cli.render import words

    dry = call.values.dry_run
    value = {
        "event": "forget",
        "dry_run": dry,
        "forgotten": ids,
        "kept": [{"id": name, "reasons": list(decision.reasons)} for name, decision in kept.items()],
    }
    text = f"{'Would forget' if dry else 'Forgot'} {words.count(len(ids), 'snapshot')}."
    call.out.result(text if dry or not ids else f"{text} `safehold undelete` brings them back until a prune removes them.", value)
