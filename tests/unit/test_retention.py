"""Retention as a pure function."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safehold.core.entries import Totals
from safehold.core.errors import UsageError
from safehold.repo import retention
from safehold.repo.retention import UNLIMITED, Decision, Duration, Policy, apply, parse_duration
from safehold.repo.snapshots import Snapshot, Source, Stored

NOON = datetime(2026, 3, 15, 12, tzinfo=UTC)
NOW_NS = int(NOON.timestamp()) * 10**9


def snap(
    when: datetime, *, id: str = "", device: bytes = b"laptop", host: str = "h", paths: list[bytes] | None = None, **more: object
) -> Stored:
    time_ns = int(when.timestamp()) * 10**9
    snapshot = Snapshot(time_ns=time_ns, host=host, source=Source(paths=paths or [b"/home"]), tree=b"", totals=Totals(), **more)
    return Stored(id or f"{when:%Y%m%d%H%M}", snapshot, device)


def kept(policy: Policy, snapshots: list[Stored], zone: object = UTC) -> list[str]:
    return [d.snapshot.id for d in apply(policy, snapshots, NOW_NS, zone) if d.keep]  # type: ignore[arg-type]


def daily(count: int, step: timedelta = timedelta(days=1)) -> list[Stored]:
    return [snap(NOON - n * step, id=str(n)) for n in range(count)]


def test_an_empty_policy_keeps_everything() -> None:
    assert len(kept(Policy(), daily(5))) == 5


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy(last=3), ["0", "1", "2"]),
        (Policy(last=UNLIMITED), [str(n) for n in range(40)]),
        (Policy(daily=2), ["0", "1"]),
        (Policy(weekly=3), ["0", "7", "14"]),
        (Policy(monthly=2), ["0", "15"]),
        (Policy(yearly=5), ["0"]),
        (Policy(within=Duration(days=2)), ["0", "1", "2"]),
        (Policy(tags=frozenset({"x"})), ["0"]),
    ],
)
def test_each_rule(policy: Policy, expected: list[str]) -> None:
    assert kept(policy, daily(40)) == expected


def test_hours() -> None:
    assert kept(Policy(hourly=2), daily(6, timedelta(minutes=20))) == ["0", "1"]


def test_a_reason_for_each_rule_that_keeps_it() -> None:
    decisions = apply(
        Policy(last=1, daily=2, within=Duration(days=1), tags=frozenset({"t"})), [snap(NOON, tags=["t", "u"])], NOW_NS, UTC
    )
    assert decisions[0].reasons == ("last", "daily", "within", "tag t")


def test_days_begin_at_midnight_of_the_zone() -> None:
    both = [snap(datetime(2026, 3, 10, 23, 30, tzinfo=UTC), id="a"), snap(datetime(2026, 3, 11, 0, 30, tzinfo=UTC), id="b")]
    assert kept(Policy(daily=5), both) == ["b", "a"]
    assert kept(Policy(daily=5), both, timezone(timedelta(hours=1))) == ["b"]


def test_the_hour_that_comes_twice() -> None:
    zone = ZoneInfo("Europe/Berlin")
    first = datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
    assert len(kept(Policy(hourly=5), [snap(first), snap(first + timedelta(hours=1))], zone)) == 2


def test_one_device_cannot_push_out_anothers() -> None:
    """restic #22057: a hijacked machine makes snapshots of others' names, in the past and in the future."""
    real = daily(5)
    forged = [snap(NOON + timedelta(days=n), id=f"forged{n}", device=b"hijacked") for n in range(-20, 20)]
    for policy in (Policy(last=3), Policy(daily=3), Policy(within=Duration(days=2))):
        assert [id for id in kept(policy, real + forged) if "forged" not in id] == kept(policy, real)


def test_sources_and_hosts_are_apart() -> None:
    some = [snap(NOON, id="a"), snap(NOON, id="b", paths=[b"/etc"]), snap(NOON, id="c", host="other")]
    assert sorted(kept(Policy(last=1), some)) == ["a", "b", "c"]


def test_incomplete_ones_never_displace_complete_ones() -> None:
    complete = [snap(NOON - timedelta(days=n, hours=1), id=f"c{n}") for n in range(4)]
    incomplete = [snap(NOON - timedelta(days=n), id=f"i{n}", incomplete=True) for n in range(8)]
    for policy in (Policy(last=4), Policy(daily=4), Policy(hourly=4)):
        assert {f"c{n}" for n in range(4)} <= set(kept(policy, complete + incomplete))
    assert not [id for id in kept(Policy(daily=4), complete + incomplete) if id.startswith("i") and id != "i0"]
    assert kept(Policy(daily=2), incomplete) == ["i0", "i1"]
    assert kept(Policy(last=2), incomplete) == ["i0", "i1"]


def test_within_counts_from_the_newest_snapshot() -> None:
    old = [snap(NOON - timedelta(days=400 + n), id=str(n)) for n in range(5)]
    assert kept(Policy(within=Duration(days=1)), old) == ["0", "1"]


def test_absurd_times_break_nothing() -> None:
    odd = [
        Stored(str(t), Snapshot(time_ns=t, host="h", source=Source(), tree=b"", totals=Totals()), b"")
        for t in (-(2**63), 0, 2**63 - 1)
    ]
    assert kept(Policy(yearly=9, hourly=2, within=Duration(years=9000)), odd)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30d", Duration(days=30)),
        ("2w", Duration(weeks=2)),
        ("6m", Duration(months=6)),
        ("1y", Duration(years=1)),
        ("12h", Duration(hours=12)),
        ("1y6m", Duration(years=1, months=6)),
        (" 1y2m3w4d5h ", Duration(1, 2, 3, 4, 5)),
    ],
)
def test_durations(text: str, expected: Duration) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "d", "5", "-1d", "1d1y", "1.5d", "1 d", "99999999d", "٣d"])
def test_no_durations(text: str) -> None:
    with pytest.raises(UsageError):
        parse_duration(text)


def test_months_end_where_they_end() -> None:
    assert Duration(months=1).before(datetime(2026, 3, 31, tzinfo=UTC)) == datetime(2026, 2, 28, tzinfo=UTC)
    assert Duration(years=1, months=1).before(datetime(2025, 3, 30, tzinfo=UTC)) == datetime(2024, 2, 29, tzinfo=UTC)


POLICIES = st.builds(
    Policy,
    last=st.integers(-1, 4),
    hourly=st.integers(-1, 4),
    daily=st.integers(-1, 4),
    weekly=st.integers(-1, 4),
    monthly=st.integers(-1, 4),
    yearly=st.integers(-1, 4),
    within=st.none() | st.builds(Duration, days=st.integers(0, 400), months=st.integers(0, 20)),
)
HISTORIES = st.lists(
    st.builds(
        lambda hours, incomplete, device: snap(
            NOON - timedelta(hours=hours), id=f"{hours}{device!r}", incomplete=incomplete, device=device
        ),
        st.integers(-50, 20000),
        st.booleans(),
        st.sampled_from([b"a", b"b"]),
    ),
    max_size=40,
    unique_by=lambda s: s.id,
)


@settings(max_examples=200, deadline=None)
@given(POLICIES, HISTORIES)
def test_laws(policy: Policy, history: list[Stored]) -> None:
    decisions = apply(policy, history, NOW_NS, UTC)
    assert sorted(d.snapshot.id for d in decisions) == sorted(s.id for s in history)
    assert apply(policy, history[::-1], NOW_NS, UTC) == decisions
    for device in (b"a", b"b"):
        own = [s for s in history if s.signer == device]
        alone = apply(policy, own, NOW_NS, UTC)
        assert [d for d in decisions if d.snapshot.signer == device] == alone
        assert not own or any(d.keep for d in alone)
        _check_complete(policy, alone)
    again = [d.snapshot for d in decisions if d.keep]
    assert {d.snapshot.id for d in apply(policy, again, NOW_NS, UTC) if d.keep} == {s.id for s in again}


def _check_complete(policy: Policy, decisions: list[Decision]) -> None:
    """What is kept of the complete ones is what would be kept if there were no incomplete ones."""
    plain = retention.apply(policy, [d.snapshot for d in decisions if not d.snapshot.snapshot.incomplete], NOW_NS, UTC)
    if policy.within is None:
        with_others = {d.snapshot.id for d in decisions if d.keep}
        assert {d.snapshot.id for d in plain if d.keep} <= with_others


def test_times_of_the_store_count_where_they_are_given() -> None:
    """A hijacked device dates new snapshots so that they would take the places of its real ones."""
    real = daily(7)
    forged = [snap(NOON - n * timedelta(days=1) + timedelta(hours=1), id=f"forged {n}") for n in range(7)]
    every = real + forged
    fooled = [d.snapshot.id for d in apply(Policy(daily=7), every, NOW_NS, UTC) if d.keep]
    assert [name for name in fooled if not name.startswith("forged")] == []
    received = {s.id: s.snapshot.time_ns for s in real} | {s.id: NOW_NS + 10**9 for s in forged}
    found = [d.snapshot.id for d in apply(Policy(daily=7), every, NOW_NS, UTC, received) if d.keep]
    assert [name for name in found if not name.startswith("forged")] == ["1", "2", "3", "4", "5", "6"]
