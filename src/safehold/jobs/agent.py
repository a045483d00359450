"""The agent: runs plans when they are due, until it is told to stop.  ``docs/plans.md``, "The agent"."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from datetime import tzinfo

import msgspec

from safehold.core.clock import NS, Clock
from safehold.core.errors import Interrupted, PlanBusy, SafeholdError
from safehold.jobs.children import Children
from safehold.jobs.due import AGAIN_SECONDS, HOUR, next_run_ns
from safehold.jobs.history import Histories, Run
from safehold.jobs.plan import Plan
from safehold.jobs.plan_files import Found, PlanFiles
from safehold.jobs.running import Means, Runner

LOOK_SECONDS = 30.0
"""So often it looks for new and changed plans, and whether the clock was set or the machine slept."""
AT_ONCE = 2

VISIT_SECONDS = 600.0
"""So often it looks for plans from elsewhere."""

_VISITS = "visits://"
"""In the place of a repository."""

Tell = Callable[[str, Run | None, SafeholdError | None], None]
"""What became of a run of a plan; or why there was none."""
Equip = Callable[[str, Plan], Means]
"""What a run of a plan works with."""


class Visits(msgspec.Struct, frozen=True):
    """Calls of this program that bring plans from elsewhere."""

    children: Children
    calls: list[list[str]]


class Agent:
    """Runs what is due, at most ``AT_ONCE`` plans at a time, and one for each repository."""

    def __init__(
        self,
        files: PlanFiles,
        histories: Histories,
        equip: Equip,
        visits: Callable[[], Visits],
        tell: Tell,
        clock: Clock,
        zone: tzinfo,
    ) -> None:
        self._files = files
        self._histories = histories
        self._equip = equip
        self._visits = visits
        self._visited = -VISIT_SECONDS
        self._tell = tell
        self._clock = clock
        self._zone = zone
        self._changed = threading.Condition()
        self._running: dict[str, _Going] = {}
        self._not_before: dict[str, float] = {}
        """Plan -> moment (monotonic) before which it is not run again: what became of it could not be written down."""
        self._said: dict[str, str] = {}
        """Plan -> what is wrong with it, as far as it was told."""

    def run(self, *, once: bool = False) -> None:
        """Until it is interrupted; ``once``: until nothing is due any more.  Raises ``PlanBusy`` if there is an agent already."""
        with self._histories.agent():
            try:
                while True:
                    wait = self._look()
                    if once and not self._running:
                        return
                    with self._changed:
                        self._changed.wait(min(wait, LOOK_SECONDS))
            finally:
                self._stop()

    def _look(self) -> float:
        """Begin what is due and has room; seconds until something else is due."""
        with self._changed:
            for name in [name for name, going in self._running.items() if not going.thread.is_alive()]:
                del self._running[name]
        if self._clock.monotonic() - self._visited >= VISIT_SECONDS:
            self._visit()
        soonest = float("inf")
        for found in self._files.all():
            if found.plan is None:
                self._tell_once(found)
                continue
            self._said.pop(found.name, None)
            due = self._seconds_until(found, found.plan)
            if due is None or found.name in self._running or self._clock.monotonic() < self._not_before.get(found.name, 0):
                continue
            if due > 0:
                soonest = min(soonest, due)
            elif self._has_room(found.plan) and not self._histories.is_running(found.name):
                self._begin(found.name, found.plan)
        return soonest

    def _seconds_until(self, found: Found, plan: Plan) -> float | None:
        later = plan.later_ns(socket.gethostname(), found.name)
        now = self._clock.now_ns()
        due = next_run_ns(plan, self._histories.read(found.name), found.changed_ns, now, self._zone, later)
        return None if due is None else (due - now) / NS

    def _has_room(self, plan: Plan) -> bool:
        busy = [going.repository for going in self._running.values() if going.repository != _VISITS]
        return len(busy) < AT_ONCE and plan.repository not in busy

    def _begin(self, name: str, plan: Plan) -> None:
        means = self._equip(name, plan)
        going = _Going(
            plan.repository, means.children, threading.Thread(target=self._go, args=(name, plan, means), name=f"plan-{name}")
        )
        self._running[name] = going
        going.thread.start()

    def _go(self, name: str, plan: Plan, means: Means) -> None:
        try:
            done = Runner(name, plan, means).run(self._histories, by_hand=False)
            self._tell(name, done, None)
            if self._histories.read(name).last != done:
                self._not_before[name] = self._clock.monotonic() + HOUR
        except (Interrupted, PlanBusy):
            pass  # it was told to stop; or somebody runs it by hand
        except SafeholdError as error:
            self._not_before[name] = self._clock.monotonic() + AGAIN_SECONDS
            self._tell(name, None, error)
        finally:
            with self._changed:
                self._changed.notify_all()

    def _visit(self) -> None:
        """Have plans from elsewhere brought, while others run."""
        visits = self._visits()
        self._visited = self._clock.monotonic()
        if visits.calls:
            thread = threading.Thread(target=self._bring, args=(visits,), name="visits")
            self._running[_VISITS] = _Going(_VISITS, visits.children, thread)
            thread.start()

    def _bring(self, visits: Visits) -> None:
        try:
            for words in visits.calls:
                said = visits.children.own(words)
                if said.status:
                    self._tell("plans from elsewhere", None, SafeholdError(said.message or f"status {said.status}"))
        except Interrupted:
            pass
        finally:
            with self._changed:
                self._changed.notify_all()

    def _tell_once(self, found: Found) -> None:
        wrong = found.wrong or SafeholdError(f"{found.path} cannot be used.")
        if self._said.get(found.name) != str(wrong):
            self._said[found.name] = str(wrong)
            self._tell(found.name, None, wrong)

    def _stop(self) -> None:
        """End what runs, in order."""
        for going in self._running.values():
            going.children.stop()
        for going in self._running.values():
            going.thread.join()


class _Going:
    """What goes on in a thread: a plan's run, or the visits."""

    def __init__(self, repository: str, children: Children, thread: threading.Thread) -> None:
        self.repository = repository
        self.children = children
        self.thread = thread
