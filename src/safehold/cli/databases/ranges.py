"""What can be recovered of each PostgreSQL cluster of a repository, for listings; and the warnings that go with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from safehold.cli.render import words

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.core.events import Warn
    from safehold.ops.databases.postgresql.reading import Cluster
    from safehold.ops.databases.postgresql.status import Range, Waiting
    from safehold.repo.repository import Repository
    from safehold.repo.snapshots import Stored

MOMENTS = 3
"""So many bases without a log are named."""


def clusters(repository: Repository, snapshots: Iterable[Stored]) -> list[Cluster]:
    """The clusters that these snapshots are of, by name."""
    every = list(snapshots)
    databases = [stored.snapshot.source.database for stored in every]
    systems = {d.system for d in databases if d is not None and d.engine == "postgresql" and d.role in {"base", "logs"}}
    if not systems:
        return []
    from safehold.ops.databases.postgresql.reading import load

    return sorted((load(repository, system, every) for system in systems), key=lambda cluster: (cluster.name, cluster.system))


def value(cluster: Cluster) -> dict[str, object]:
    """For JSON."""
    from safehold.ops.databases.postgresql.status import gaps, ranges

    found = ranges(cluster)
    newest = max(cluster.bases, key=lambda base: base.stop_ns, default=None)
    return {
        "engine": "postgresql",
        "system": cluster.system,
        "name": cluster.name,
        "bases": len(cluster.bases),
        "last_base": newest.id if newest else None,
        "last_base_time": words.iso(newest.stop_ns) if newest else None,
        "reachable": [_range(each) for each in found],
        "gaps": [{"first": first, "last": last} for first, last in gaps(cluster)],
    }


def lines(cluster: Cluster) -> Iterator[str]:
    """For people: one line, or one for each stretch where there are gaps."""
    from safehold.ops.databases.postgresql.status import gaps, ranges

    found = ranges(cluster)
    if not found:
        yield f"{words.printable(cluster.name)}: no base, so nothing can be recovered"
    spans = [each for each in found if each.latest_ns > each.earliest_ns]
    for number, each in enumerate(spans):
        after = "-- gap -- " if number else ""
        span = f"any moment from {words.moment(each.earliest_ns)} to {words.moment(each.latest_ns)}"
        yield f"{words.printable(cluster.name)}: {after}{span}"
    if len(spans) < len(found):
        last = ", ".join(words.moment(each.earliest_ns) for each in found[-MOMENTS:] if each not in spans)
        more = "no log is archived that leads on from them" if spans else "no log is archived, so no moment in between"
        yield f"{words.printable(cluster.name)}: {words.count(len(found) - len(spans), 'single moment')} (last {last}); {more}"
    for first, last in gaps(cluster):
        yield f"{words.printable(cluster.name)}: WAL missing from {first} to {last}"


def waiting_value(found: Waiting) -> dict[str, object]:
    """A spool for JSON."""
    state = found.state
    return {
        "folder": found.folder,
        "system": found.system,
        "files": found.files,
        "bytes": found.bytes,
        "oldest": words.iso(found.oldest_ns) if found.oldest_ns else None,
        "last_commit": words.iso(state.committed_ns) if state.committed_ns else None,
        "error": state.error or found.refused or None,
        "gap": state.gap or None,
    }


def warn(call: Call, cluster: Cluster) -> list[Warn]:
    """Report what is wrong with a cluster and with this machine's spool of it."""
    from safehold.ops.databases.postgresql.status import cluster_warnings

    found = cluster_warnings(cluster)
    for each in found:
        call.out.report(each)
    return found + warn_of_spool(call, cluster.system)


def warn_of_spool(call: Call, system: str) -> list[Warn]:
    """Report what is wrong with this machine's spool of a cluster, which needs no key that can read."""
    from safehold.cli.spools import spool_here
    from safehold.ops.databases.postgresql.status import spool_warnings, waiting

    spool = spool_here(call)
    if spool is None or spool.system()[0] != system:
        return []
    found = spool_warnings(waiting(spool), call.clock.now_ns())
    for each in found:
        call.out.report(each)
    return found


def _range(each: Range) -> dict[str, object]:
    from safehold.sources.postgresql.positions import format_lsn

    return {
        "earliest_time": words.iso(each.earliest_ns),
        "earliest_lsn": format_lsn(each.earliest),
        "latest_time": words.iso(each.latest_ns),
        "latest_lsn": format_lsn(each.latest),
        "base": each.base,
    }
