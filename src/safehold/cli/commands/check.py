"""Check that everything is stored as it was, and tell which files are hurt where it is not.  Changes nothing.

Without --read-data it reads every small object, every listing and the footer of every pack; with it also the bytes of every
file, or of a part of the packs, chosen anew each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[options]"
EXAMPLES = ("safehold check", "safehold check --read-data", "safehold check --read-data=5%")
STATUSES = (4,)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    from safehold.cli.checking import read_data_argument

    read_data_argument(parser, "", "read and prove the bytes of N%% of the packs too; without a value: of all")


def run(call: Call) -> int:
    """Check."""
    from safehold.cli.checking import check_options, report_value, show_report
    from safehold.repo.check import check

    found = check(call.repository(fresh=True), check_options(call.values.read_data))
    if call.out.as_json:
        call.out.result("", {"event": "check", **report_value(found)})
    else:
        show_report(call, found)
    return found.status
