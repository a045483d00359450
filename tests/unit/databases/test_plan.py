"""Plans of recoveries: what is chosen leads to the target without a gap; what can't be done says what is missing."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safehold.core.entries import FILE, Entry
from safehold.core.errors import LogGap, SafeholdError, UsageError
from safehold.ops.databases.logs import Log, StoredLog
from safehold.ops.databases.postgresql.archive import Archive, Base, archive_of
from safehold.ops.databases.postgresql.plan import CURRENT, Plan, Target, make
from safehold.ops.databases.postgresql.reading import Cluster
from safehold.ops.databases.postgresql.recovery import RecoveryOptions, settings
from safehold.ops.databases.postgresql.status import ranges
from safehold.sources.postgresql.positions import segment_name
from safehold.sources.postgresql.timelines import Ancestor, History

SEGMENT = 1 << 20


def stored(number: int, timeline: int = 1, **facts: str) -> StoredLog:
    """Segment ``number``, in which one transaction ended, at its number in seconds."""
    start = number * SEGMENT
    name = segment_name(timeline, start, SEGMENT)
    xids = {"xids": f"{number * 10}-{number * 10 + 9}", **facts}
    log = Log(name, timeline, start, start + SEGMENT, b"d", number * 10**9, number * 10**9, xids)
    return StoredLog(log, Entry(name.encode(), FILE, 0, 0, 0, 0, 0, SEGMENT, 0, b"", None), "snapshot")


def base(number: int, timeline: int = 1, *, standby: bool = False) -> Base:
    """A base that begins and ends in segment ``number``."""
    start = number * SEGMENT + 40
    return Base(
        id=f"{number:064x}", timeline=timeline, start=start, stop=start + 200, stop_ns=number * 10**9 - 1, standby=standby
    )


def archive(*logs: StoredLog, histories: dict[int, History] | None = None) -> Archive:
    return archive_of(logs, histories or {}, SEGMENT)


def time(second: float) -> Target:
    return Target(kind="time", value=int(second * 10**9), text=f"The time {second}")


def names(plan: Plan) -> list[str]:
    return [piece.name for piece in plan.pieces]


@given(
    there=st.sets(st.integers(1, 30)),
    bases=st.sets(st.integers(1, 30), min_size=1),
    target=st.integers(0, 310),
)
def test_a_plan_has_no_gap_and_reaches_its_target(there: set[int], bases: set[int], target: int) -> None:
    wanted = Target(kind="lsn", value=target * SEGMENT // 10, text="It")
    found = archive(*map(stored, there))
    try:
        plan = make([base(n) for n in bases], found, wanted)
    except SafeholdError as error:
        fitting = [n for n in bases if base(n).stop <= wanted.value]
        needed = range(max(fitting) + 1, wanted.value // SEGMENT + 1) if fitting else range(0)
        assert not fitting or not set(needed) <= there or wanted.value // SEGMENT not in there
        if fitting:
            assert isinstance(error, LogGap)
        return
    assert plan.base.stop <= wanted.value
    assert plan.base.stop == max(base(n).stop for n in bases if base(n).stop <= wanted.value)
    starts = [piece.log.start for piece in plan.pieces]
    assert starts == list(range(starts[0], starts[-1] + SEGMENT, SEGMENT))
    assert starts[0] - plan.base.start < SEGMENT
    own = plan.base.start // SEGMENT not in there  # then what it brings along is not looked into
    assert wanted.value < starts[-1] + SEGMENT and starts[-1] - own * SEGMENT <= wanted.value


@given(there=st.sets(st.integers(1, 30)), at=st.integers(1, 30))
def test_the_latest_state_ends_at_the_first_gap(there: set[int], at: int) -> None:
    plan = make([base(at)], archive(*map(stored, there)), Target())
    end = at + 1
    while end in there:
        end += 1
    assert plan.missing == segment_name(1, end * SEGMENT, SEGMENT)
    assert plan.gap == any(number > end for number in there)
    assert plan.latest == (end * SEGMENT if end > at + 1 or at in there else base(at).stop)
    assert bool(plan.notes) == plan.gap


@given(there=st.sets(st.integers(1, 20)), bases=st.sets(st.integers(1, 20), min_size=1))
def test_ranges_are_apart_and_in_order(there: set[int], bases: set[int]) -> None:
    found = archive(*map(stored, there))
    cluster = Cluster(system="1", name="x", bases=[base(n) for n in bases], archive=found, conflicts=[])
    made = ranges(cluster)
    assert all(one.latest < other.earliest for one, other in pairwise(made))
    for number in bases:
        assert any(each.earliest <= base(number).stop <= each.latest for each in made)


HISTORIES: dict[int, History] = {
    2: [Ancestor(1, 5 * SEGMENT + 100)],
    3: [Ancestor(1, 5 * SEGMENT + 100), Ancestor(2, 7 * SEGMENT + 100)],
    4: [Ancestor(1, 3 * SEGMENT + 100)],
}


def _branched() -> Archive:
    return archive(
        *(stored(n) for n in range(1, 10)),
        *(stored(n, 2) for n in range(5, 10)),
        *(stored(n, 3) for n in range(7, 9)),
        *(stored(n, 4) for n in range(3, 5)),
        histories=HISTORIES,
    )


@pytest.mark.parametrize(
    ("timeline", "expected"),
    [
        (3, ["1-2", "1-3", "1-4", "2-5", "2-6", "3-7", "3-8"]),
        (2, ["1-2", "1-3", "1-4", "2-5", "2-6", "2-7", "2-8", "2-9"]),
        (1, ["1-2", "1-3", "1-4", "1-5", "1-6", "1-7", "1-8", "1-9"]),
        (CURRENT, ["1-2", "1-3", "1-4", "1-5", "1-6", "1-7", "1-8", "1-9"]),
        (0, ["1-2", "4-3", "4-4"]),
    ],
)
def test_ways_through_timelines(timeline: int, expected: list[str]) -> None:
    plan = make([base(2)], _branched(), Target(timeline=timeline))
    assert [f"{int(name[:8], 16)}-{int(name[16:], 16)}" for name in names(plan)] == expected
    assert not plan.gap


def test_a_base_after_the_branch_does_not_lead_there() -> None:
    with pytest.raises(UsageError, match="Timeline 4 cannot be got to"):
        make([base(4)], _branched(), Target(timeline=4))
    assert make([base(4)], _branched(), Target()).timeline == 3
    assert make([base(6, 2)], _branched(), Target()).way == [2, 3]


def test_a_partial_segment_is_the_end_of_its_timeline() -> None:
    partial = stored(6)
    log = Log(
        partial.log.name + ".partial", 1, 6 * SEGMENT, 6 * SEGMENT, b"d", 0, 6 * 10**9, {"end": str(6 * SEGMENT + 500)}, True
    )
    found = archive(stored(4), stored(5), StoredLog(log, partial.entry, ""))
    plan = make([base(4)], found, Target())
    assert names(plan)[-1] == segment_name(1, 6 * SEGMENT, SEGMENT)
    assert plan.latest == 6 * SEGMENT + 500


def test_what_is_not_there_is_said() -> None:
    found = archive(stored(2), stored(3), stored(5))
    with pytest.raises(LogGap, match="000000010000000000000004 is missing"):
        make([base(2)], found, time(4.5))
    with pytest.raises(LogGap, match="not in the archive"):
        make([base(5)], found, time(8))
    with pytest.raises(SafeholdError, match=r"finished after the time 1"):
        make([base(2)], found, time(1))
    with pytest.raises(SafeholdError, match="no restore point 'x'"):
        make([base(2)], archive(stored(2)), Target(kind="name", name="x", text="The restore point 'x'"))
    with pytest.raises(SafeholdError, match="no base"):
        make([], found, Target())


def test_an_older_base_is_taken_where_the_newest_is_too_late() -> None:
    found = archive(*map(stored, range(1, 9)))
    plan = make([base(2), base(5)], found, time(3.5))
    assert plan.base == base(2) and "finished after the target" in plan.notes[0]
    assert names(plan)[-1] == segment_name(1, 4 * SEGMENT, SEGMENT)
    with pytest.raises(SafeholdError) as caught:
        make([base(2), base(5)], found, time(3.5), chosen=base(5))
    assert base(2).id[:8] in caught.value.hint


def test_a_transaction_and_a_named_point_choose_their_base() -> None:
    named = stored(4, points=f'[["p",{4 * SEGMENT + 900},1]]')
    found = archive(*map(stored, (1, 2, 3, 5, 6)), named)
    assert make([base(2), base(6)], found, Target(kind="xid", value=45, text="T")).base == base(2)
    plan = make([base(2), base(6)], found, Target(kind="name", name="p", text="P"))
    assert plan.base == base(2) and names(plan)[-1] == segment_name(1, 4 * SEGMENT, SEGMENT)


def test_a_base_from_a_standby_needs_the_whole_of_its_last_segment() -> None:
    with_gap = archive(stored(5), stored(6))
    assert make([base(4)], with_gap, Target()).latest == 7 * SEGMENT
    assert make([base(4, standby=True)], with_gap, Target()).gap


def test_a_time_after_the_last_transaction_needs_a_checkpoint_that_began_later() -> None:
    """Without it, a transaction that is not archived yet may have ended before the target."""
    quiet = archive(stored(1), stored(2, checkpoint="6"))
    plan = make([base(1)], quiet, time(5.9))
    assert plan.to_end
    assert names(plan) == [piece.name for piece in quiet.reach(base(1), 1).pieces]
    assert settings(plan, RecoveryOptions()).keys() & {"recovery_target_time", "recovery_target_action"} == set()
    for refused in (6, 7):
        with pytest.raises(LogGap, match="not in the archive"):
            make([base(1)], quiet, time(refused))
    assert not make([base(1)], quiet, time(1.5)).to_end
    assert not make([base(1)], quiet, Target()).to_end
    with pytest.raises(LogGap, match="cannot be reached"):
        make([base(1)], archive(stored(1), stored(2, checkpoint="2"), stored(4, checkpoint="9")), time(5))
