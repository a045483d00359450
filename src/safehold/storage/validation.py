"""Whether a store keeps what the protocol promises: for drivers and wrappers in the tests, and for users on their own store.

``validate`` runs every check of ``CHECKS`` below a folder of its own with a random name, and removes what it stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from safehold.core.clock import Clock
from safehold.core.errors import SafeholdError
from safehold.storage.keys import QUARANTINE
from safehold.storage.store import Store
from safehold.storage.validation_checks import CHECKS, THREADS, CheckFailed, NotPromised, Scene


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What came of one check; ``detail`` says what was wrong, or with ``ok`` what is not promised."""

    name: str
    ok: bool
    detail: str
    seconds: float


def validate(
    store: Store, random: Random, clock: Clock, names: tuple[str, ...] = (), tidy: Callable[[str], None] | None = None
) -> Iterator[CheckResult]:
    """Run the checks (or those named) one by one, yielding each result.  ``random`` makes names and data.

    ``tidy`` is called at the end with each prefix that was used, for stores that have folders (``LocalStore.tidy``).
    """
    root = f"validate-{random.getrandbits(64):016x}"
    for name, check in CHECKS.items():
        if not names or name in names:
            scene = Scene(store, f"{root}/{name}/", random)
            start = clock.monotonic()
            failure, note = _run(check, scene)
            failure = failure or _clean(scene)
            yield CheckResult(name, not failure, failure or note, clock.monotonic() - start)
    if tidy is not None:
        for prefix in (f"{root}/", f"{QUARANTINE}/{root}/"):
            tidy(prefix)


def _run(check: Callable[[Scene], None], scene: Scene) -> tuple[str, str]:
    """What was wrong, or nothing; and what the store does not promise, or nothing."""
    try:
        check(scene)
    except NotPromised as note:
        return "", str(note)
    except CheckFailed as failure:
        return str(failure), ""
    except SafeholdError as error:
        return f"{type(error).__name__}: {error}", ""
    finally:
        if scene.store.capabilities.can_delete:
            with suppress(SafeholdError):
                _remove(scene)
    return "", ""


def _clean(scene: Scene) -> str:
    if not scene.store.capabilities.can_delete:
        return ""
    try:
        _remove(scene)
        left = scene.keys()
    except SafeholdError as error:
        return f"cleaning up: {type(error).__name__}: {error}"
    return f"deleted objects are still listed: {sorted(left)[:3]}" if left and scene.store.capabilities.consistent_list else ""


def _remove(scene: Scene) -> None:
    for prefix in (scene.prefix, f"{QUARANTINE}/{scene.prefix}"):
        keys = [line.key for line in scene.store.list(prefix)]
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(scene.store.delete, keys))
