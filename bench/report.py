"""Medians, ratios and the files the results are kept in."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from cases import Bench, Sample
from peers import PEERS

MIB = 1024 * 1024


@dataclass(frozen=True)
class Row:
    """The medians of one program in one phase."""

    phase: str
    program: str
    runs: int
    wall: float
    wall_min: float
    wall_max: float
    cpu: float
    peak_rss: float
    peak_tree: float
    other_cpu: float
    repo_size: float | None
    growth: float | None


def rows(samples: Sequence[Sample]) -> list[Row]:
    """One row for each program and phase, in the order they first ran."""
    keys = dict.fromkeys((sample.phase, sample.program) for sample in samples)
    return [_row([s for s in samples if (s.phase, s.program) == key]) for key in keys]


def fastest_peer(table: Sequence[Row]) -> Row | None:
    """The peer with the least median wall time."""
    peers = [row for row in table if row.program in PEERS]
    return min(peers, key=lambda row: row.wall, default=None)


def text(bench: Bench) -> str:
    """The results to read: a table for each phase."""
    table = rows(bench.samples)
    phases = dict.fromkeys(row.phase for row in table)
    lines: list[str] = []
    for phase in phases:
        lines += _phase_text(phase, [row for row in table if row.phase == phase])
    return "\n".join([*lines, *(f"note: {note}" for note in bench.notes)])


def save(case: str, bench: Bench, versions: dict[str, str], folder: Path) -> Path:
    """Write everything as JSON under the case's name and the time."""
    now = datetime.now(UTC)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{case}-{now:%Y%m%dT%H%M%S}.json"
    content = {
        "case": case,
        "finished": now.isoformat(timespec="seconds"),
        "machine": _machine(),
        "versions": versions,
        "medians": [asdict(row) for row in rows(bench.samples)],
        "samples": [asdict(sample) for sample in bench.samples],
        "notes": bench.notes,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def _row(samples: Sequence[Sample]) -> Row:
    costs = [sample.cost for sample in samples]
    walls = [cost.wall for cost in costs]
    return Row(
        phase=samples[0].phase,
        program=samples[0].program,
        runs=len(samples),
        wall=median(walls),
        wall_min=min(walls),
        wall_max=max(walls),
        cpu=median(cost.cpu for cost in costs),
        peak_rss=median(cost.peak_rss for cost in costs),
        peak_tree=median(max(cost.peak_tree, 0) for cost in costs),
        other_cpu=median(cost.other_cpu for cost in costs),
        repo_size=_median(sample.repo_size for sample in samples),
        growth=_median(sample.growth for sample in samples),
    )


def _median(values: Iterator[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _phase_text(phase: str, table: Sequence[Row]) -> list[str]:
    best = fastest_peer(table)
    lines = [
        f"== {phase} (medians of {max(row.runs for row in table)})",
        f"{'program':14}{'wall s':>9}{'min':>9}{'max':>9}{'cpu s':>9}{'RSS MiB':>9}"
        f"{'tree MiB':>9}{'repo MiB':>10}{'grown MiB':>11}{'others':>8}{'wall ratio':>11}"
        f"{'cpu ratio':>10}",
    ]
    lines += [_line(row, best) for row in table]
    if best is not None:
        lines.append(f"fastest peer: {best.program}{_verdict(table, best)}")
    return [*lines, ""]


def _line(row: Row, best: Row | None) -> str:
    wall = f"{row.wall / best.wall:.2f}" if best else ""
    cpu = f"{row.cpu / best.cpu:.2f}" if best else ""
    return (
        f"{row.program:14}{row.wall:9.2f}{row.wall_min:9.2f}{row.wall_max:9.2f}"
        f"{row.cpu:9.2f}{_mib(row.peak_rss):>9}{_mib(row.peak_tree):>9}"
        f"{_mib(row.repo_size):>10}{_mib(row.growth, 2):>11}{row.other_cpu:8.2f}"
        f"{wall:>11}{cpu:>10}"
    )


def _mib(size: float | None, digits: int = 0) -> str:
    return "" if size is None else f"{size / MIB:.{digits}f}"


def _verdict(table: Sequence[Row], best: Row) -> str:
    """Safehold's time as a share of the fastest peer's."""
    own = next((row for row in table if row.program == "safehold"), None)
    if own is None:
        return ""
    return f"; safehold takes {own.wall / best.wall:.2f} of its time"


def _machine() -> dict[str, object]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpus": os.cpu_count(),
        "memory": memory,
        "kernel": platform.release(),
        "load": os.getloadavg(),
    }
