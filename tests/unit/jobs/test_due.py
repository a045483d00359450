"""What a plan's history says: when it runs again, and whether all is well."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pytest

from safehold.core.clock import NS
from safehold.jobs.due import is_step_due, next_run_ns, state
from safehold.jobs.history import MOST_RUNS, Histories, History, Run, Step
from safehold.jobs.plan import Plan

MINUTE, HOUR, DAY = 60 * NS, 3600 * NS, 86_400 * NS
NOW = 1_800_000_000 * NS
HOURLY = Plan(sources=["/x"], every="1h")


def run(began: int, status: int = 0, code: str = "", *, ended: bool = True, then: Step | None = None) -> Run:
    steps = [Step("backup", status, code), *([then] if then else [])] if ended else []
    return Run(began, began + MINUTE if ended else 0, steps=steps)


def history(*runs: Run) -> History:
    backups = [each.began_ns for each in runs if each.has_backup]
    return History([*runs], {"backup": backups[-1]} if backups else {})


def due(plan: Plan, known: History, now: int = NOW) -> int | None:
    return next_run_ns(plan, known, NOW - DAY, now, UTC)


def test_a_new_plan_is_due_at_once_and_one_of_a_time_at_that_time() -> None:
    assert due(HOURLY, History()) == 0
    at = due(Plan(sources=["/x"], at=["02:30"]), History())
    assert at is not None and NOW - DAY < at <= NOW and at % DAY == 2 * HOUR + 30 * MINUTE


def test_it_runs_again_an_interval_after_it_began() -> None:
    assert due(HOURLY, history(run(NOW - 10 * MINUTE))) == NOW + 50 * MINUTE
    assert due(HOURLY, history(run(NOW - 10 * MINUTE, 3))) == NOW + 50 * MINUTE, "an incomplete backup counts"
    failed = Step("check", 4, "damaged")
    assert due(HOURLY, history(run(NOW - 10 * MINUTE, then=failed))) == NOW + 50 * MINUTE, "the backup is made"


def test_by_hand_or_paused_it_never_is() -> None:
    assert due(Plan(sources=["/x"]), History()) is None
    assert due(Plan(sources=["/x"], every="1h", paused=True), History()) is None


@pytest.mark.parametrize(("count", "minutes"), [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (50, 60)])
def test_what_passes_by_itself_is_tried_again_soon(count: int, minutes: int) -> None:
    runs = [run(NOW - 2 * DAY), *(run(NOW - (count - each) * HOUR, 14, "store-unreachable") for each in range(count))]
    assert due(HOURLY, history(*runs)) == runs[-1].ended_ns + minutes * MINUTE


def test_what_does_not_pass_is_tried_again_in_an_hour() -> None:
    assert due(Plan(sources=["/x"], every="1w"), history(run(NOW - MINUTE, 12, "wrong-key"))) == NOW + HOUR


def test_a_run_that_was_cut_off_is_made_up_for_at_once_but_not_for_ever() -> None:
    one, two = run(NOW - 20 * MINUTE, ended=False), run(NOW - MINUTE, ended=False)
    assert due(HOURLY, history(one)) == 0
    assert due(HOURLY, history(one, two)) == NOW + 9 * MINUTE


def test_a_clock_that_was_set_back_delays_by_one_interval_at_most() -> None:
    assert due(HOURLY, history(run(NOW + 300 * DAY))) == NOW + HOUR
    assert due(HOURLY, history(run(NOW + 300 * DAY, 1))) == NOW + HOUR


def test_steps_have_periods_of_their_own() -> None:
    assert is_step_due("1w", 0, NOW) and is_step_due("1w", NOW - 8 * DAY, NOW) and is_step_due("1w", NOW + DAY, NOW)
    assert not is_step_due("1w", NOW - 6 * DAY, NOW) and not is_step_due("", 0, NOW)


def test_states() -> None:
    def told(plan: Plan, known: History, since: int = NOW - MINUTE) -> str:
        return state(plan, known, since, NOW, UTC)

    assert told(HOURLY, History()) == "new"
    assert told(HOURLY, History(), NOW - 3 * HOUR) == "overdue", "no agent has ever come by"
    assert told(Plan(sources=["/x"]), History()) == "by hand"
    assert told(HOURLY, history(run(NOW - HOUR))) == "fine"
    assert told(HOURLY, history(run(NOW - HOUR, 3))) == "incomplete"
    assert told(HOURLY, history(run(NOW - HOUR, then=Step("check", 4)))) == "failed"
    assert told(HOURLY, history(run(NOW - HOUR), run(NOW - MINUTE, 1))) == "failed"
    assert told(HOURLY, history(run(NOW - HOUR), run(NOW - MINUTE, ended=False))) == "failed"
    assert told(HOURLY, history(run(NOW - 3 * HOUR), run(NOW - MINUTE, 1))) == "overdue"
    assert told(Plan(sources=["/x"], every="1h", paused=True), history(run(NOW - DAY))) == "paused"


def test_a_spread_is_the_same_each_time_and_differs_between_machines() -> None:
    plan = Plan(sources=["/x"], at=["02:30"], spread="30m")
    drawn = {plan.later_ns(f"machine {number}", "home") for number in range(50)}
    assert len(drawn) == 50 and all(0 <= each < 30 * MINUTE for each in drawn)
    assert plan.later_ns("machine 1", "home") == plan.later_ns("machine 1", "home") and HOURLY.later_ns("a", "b") == 0


def test_histories_keep_the_newest_runs(tmp_path: Path) -> None:
    histories = Histories(tmp_path)
    with histories.running("home"):
        histories.write("home", history(*(run(number) for number in range(1, MOST_RUNS + 11))))
        assert histories.is_running("home")
    known = histories.read("home")
    assert len(known.runs) == MOST_RUNS and known.runs[0].began_ns == 11 and not histories.is_running("home")
    (histories.folder / "home.json").write_bytes(b"{")
    assert histories.read("home") == History() == histories.read("other")
