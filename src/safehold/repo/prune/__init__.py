"""Prune: plan, then execute.  ``docs/prune.md``."""

from safehold.repo.prune.execution import execute
from safehold.repo.prune.model import Options, PackUse, PrunePlan, PruneResult
from safehold.repo.prune.planning import plan

__all__ = ["Options", "PackUse", "PrunePlan", "PruneResult", "execute", "plan"]
