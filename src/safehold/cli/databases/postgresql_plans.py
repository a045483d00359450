"""A recovery's plan, in words and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.cli.render import words
from safehold.sources.postgresql.positions import format_lsn

if TYPE_CHECKING:
    from safehold.ops.databases.postgresql.plan import Plan
    from safehold.ops.databases.postgresql.reading import Cluster


def plan_value(plan: Plan, cluster: Cluster) -> dict[str, object]:
    """For JSON."""
    return {
        "event": "plan",
        "system": cluster.system,
        "name": cluster.name,
        "base": plan.base.id,
        "base_start": format_lsn(plan.base.start),
        "base_stop": format_lsn(plan.base.stop),
        "base_time": words.iso(plan.base.stop_ns),
        "target": plan.target.kind,
        "target_text": plan.target.text,
        "timeline": plan.timeline,
        "timelines": plan.way,
        "first_segment": plan.pieces[0].name if plan.pieces else None,
        "last_segment": plan.pieces[-1].name if plan.pieces else None,
        "segments": len(plan.pieces),
        "wal_bytes": plan.size,
        "earliest_time": words.iso(plan.earliest_ns),
        "earliest_lsn": format_lsn(plan.earliest),
        "latest_time": words.iso(plan.latest_ns),
        "latest_lsn": format_lsn(plan.latest),
        "missing": plan.missing if plan.gap else None,
        "gaps": [{"first": first, "last": last} for first, last in cluster.archive.gaps()],
        "notes": plan.notes,
    }


def plan_lines(plan: Plan, cluster: Cluster) -> list[str]:
    """For people."""
    base = plan.base
    log = (
        f"{words.count(len(plan.pieces), 'segment')}, {words.size(plan.size)}: {plan.pieces[0].name} to {plan.pieces[-1].name}"
        if plan.pieces
        else "none beyond what the base brings along"
    )
    rows = [
        ["Database", f"{cluster.name} (system {cluster.system})"],
        ["Target", plan.target.text],
        ["Base", f"{base.id[:8]}, finished {words.moment(base.stop_ns)}, {format_lsn(base.start)} to {format_lsn(base.stop)}"],
        ["Timelines", " -> ".join(map(str, plan.way))],
        ["WAL", log],
        ["Earliest", f"{words.moment(plan.earliest_ns)}, {format_lsn(plan.earliest)}"],
        [
            "Latest",
            f"{words.moment(plan.latest_ns)}, {format_lsn(plan.latest)}"
            + (f"; then {plan.missing} is missing" if plan.gap else ""),
        ],
    ]
    rows += [["Gap", f"{first} to {last}"] for first, last in cluster.archive.gaps()]
    rows += [["Note", note] for note in plan.notes]
    width = max(len(row[0]) for row in rows)
    return [f"{name.ljust(width)}  {words.printable(text)}" for name, text in rows]
