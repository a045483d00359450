"""What ``check`` and ``repair`` share: how much is read, and what was found, in words and as JSON."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from safehold.cli.pruning import percent
from safehold.cli.render import words

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.repo.check import CheckOptions, Report
    from safehold.repo.checking.findings import Finding

ALL = "100%"


def read_data_argument(parser: Parser, default: str, text: str) -> None:
    """Declare ``--read-data[=N%]``."""
    parser.add_argument("--read-data", metavar="N%", nargs="?", const=ALL, default=default, help=text)


def check_options(read_data: str) -> CheckOptions:
    """How much is looked at; nothing given: no bytes of packs.  Raises ``UsageError``."""
    from safehold.repo.check import CheckOptions

    return CheckOptions(read_data=percent(read_data, "--read-data") if read_data else 0)


def report_value(report: Report) -> dict[str, object]:
    """The report for JSON."""
    return {
        "clean": report.clean,
        "findings": [_finding_value(found) for found in report.findings],
        "snapshots": [{"id": state.id, "whole": state.whole, "files_lost": state.lost} for state in report.snapshots],
        "unchecked": report.unchecked,
        "packs": report.packs,
        "packs_read": report.read_packs,
        "trees": report.trees,
    }


def show_report(call: Call, report: Report) -> None:
    """The report for people, the worst last: what they see first is the end."""
    for sentence in report.unchecked:
        call.out.note(sentence)
    for found in sorted(report.findings, key=lambda found: found in report.damage):
        for line in _finding_lines(found):
            call.out.result(line)
    hurt = [state for state in report.snapshots if not state.whole]
    for state in hurt:
        call.out.result(f"Snapshot {state.id[:8]} has lost {words.count(state.lost, 'path')}.")
    looked = (
        f"{words.count(len(report.snapshots), 'snapshot')}, {words.count(report.trees, 'folder')}, "
        f"{words.count(report.packs, 'pack')} ({report.read_packs:,} read to the last byte)"
    )
    if report.clean:
        call.out.result(f"No damage was found in {looked}.")
    else:
        text = f"Found {words.count(len(report.damage), 'thing')} damaged in {looked}."
        whole = len(report.snapshots) - len(hurt)
        call.out.result(f"{text} {words.count(whole, 'snapshot is', 'snapshots are')} whole. See `safehold repair --dry-run`.")


def _finding_value(found: Finding) -> dict[str, object]:
    return {
        "code": found.code,
        "severity": found.severity,
        "key": found.key,
        "message": found.message,
        "files": [{"snapshot": lost.snapshot, "path": os.fsdecode(lost.path)} for lost in found.files],
        "file_count": found.file_count,
    }


def _finding_lines(found: Finding) -> Iterator[str]:
    yield words.printable(f"{found.severity}: {found.code}: {found.key}: {found.message}")
    for lost in found.files:
        yield f"  lost: {lost.snapshot[:8]}:{words.printable(lost.path)}"
    if found.file_count > len(found.files):
        yield f"  and {found.file_count - len(found.files):,} more"
