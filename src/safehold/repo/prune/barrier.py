"""The barrier between condemning and deleting: condemn first, then look who is running.  ``docs/format/sessions.md``.

A session puts its mark and then reads what is condemned.  So one whose mark is not there when a prune looks, after it has
condemned, knows of the condemnation when it begins; only those that are there may not.  Their ids are written into
the condemnation: when all of them have ended, it is settled, however many others have begun meanwhile.
"""

from __future__ import annotations

import msgspec

from safehold.repo import condemned, sessions
from safehold.repo.condemned import Condemned
from safehold.repo.prune.model import PrunePlan
from safehold.repo.repository import Repository
from safehold.repo.sessions import SeenMark, Session


class Barrier(msgspec.Struct, frozen=True):
    """What may be deleted now."""

    settled: list[condemned.Stored]
    looks: list[str]
    """The keys of what completes ``settled``."""
    waiting: frozenset[bytes]
    """Packs that must stay for now."""
    others: list[SeenMark]
    """Running sessions."""

    @property
    def packs(self) -> frozenset[bytes]:
        return condemned.packs(self.settled)

    @property
    def snapshots(self) -> frozenset[str]:
        return frozenset(name for item in self.settled for name in item.condemned.snapshots)

    @property
    def keys(self) -> list[str]:
        """Of all that is carried out; the acts last, so that no look is left without its act."""
        return [*self.looks, *(item.key for item in self.settled)]


def raise_barrier(repository: Repository, session: Session, plan: PrunePlan) -> Barrier:
    """Condemn what ``plan`` says, look who is running, and tell what is settled."""
    before = repository.condemned()
    _condemn(repository, plan, before)
    others = sessions.running(session, repository.seals, repository.store)
    every = repository.condemned()
    acts = [item for item in every if item.condemned.packs or item.condemned.snapshots]
    looks = [item for item in every if item.condemned.act]
    looked = {item.condemned.act for item in looks}
    alive = {other.session for other in others}
    over = {item.condemned.act for item in looks if alive.isdisjoint(item.condemned.waits)}
    for act in acts:
        if act.key not in looked and others:
            _note_look(repository, act, alive)
        elif act.key not in looked:
            over.add(act.key)
    settled = [act for act in acts if act.key in over] if all(other.overlaps for other in others) else []
    done = {act.key for act in settled}
    waiting = condemned.packs(acts) - condemned.packs(settled)
    return Barrier(settled, [item.key for item in looks if item.condemned.act in done], waiting, others)


def _condemn(repository: Repository, plan: PrunePlan, before: list[condemned.Stored]) -> None:
    """Condemn what is new in the plan."""
    packs = {pack.id for pack in plan.going} - condemned.packs(before)
    begun = {name for item in before for name in item.condemned.snapshots}
    names = set(plan.snapshots) - begun
    if packs or names:
        act = Condemned(time_ns=repository.clock.now_ns(), packs=sorted(packs), snapshots=sorted(names))
        condemned.write(repository.seals, repository.store, act)


def _note_look(repository: Repository, act: condemned.Stored, alive: set[str]) -> None:
    look = Condemned(time_ns=repository.clock.now_ns(), act=act.key, waits=sorted(alive))
    condemned.write(repository.seals, repository.store, look)
