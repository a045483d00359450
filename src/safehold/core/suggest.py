"""Did you mean."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(typed: str, known: Iterable[str]) -> str:
    """A hint that names what is written alike; empty if nothing is."""
    from difflib import get_close_matches

    near = get_close_matches(typed, sorted(known), 3, 0.6)
    return f"Did you mean {' or '.join(f'`{word}`' for word in near)}?" if near else ""
