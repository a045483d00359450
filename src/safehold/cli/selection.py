"""Which snapshots the filters --host, --path and --tag leave."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.repo.snapshots import Stored


def selected(snapshots: Iterable[Stored], values: argparse.Namespace) -> Iterator[Stored]:
    """Those of any of the hosts, with any of the sources, and with any of the tags that are given."""
    paths = {os.fsencode(os.path.abspath(path)) for path in values.path} | {os.fsencode(path) for path in values.path}
    for stored in snapshots:
        snapshot = stored.snapshot
        if (
            (not values.host or snapshot.host in values.host)
            and (not paths or paths.intersection(snapshot.source.paths))
            and (not values.tag or set(values.tag).intersection(snapshot.tags))
        ):
            yield stored
