"""What a step wrote as JSON, in a few words for a log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from safehold.cli.render.words import count, size

_Value = Mapping[str, object]


def in_words(step: str, results: Sequence[_Value]) -> str:
    """Empty if there is nothing to say."""
    value = results[-1] if results else None
    return _WORDS[step](value) if value is not None and step in _WORDS else ""


def _number(value: _Value, key: str) -> int:
    found = value.get(key)
    return len(found) if isinstance(found, list | dict) else int(str(found or 0))


def _backup(value: _Value) -> str:
    if value.get("event") != "backup":
        return str(value.get("message", ""))
    new, changed, stored = (_number(value, key) for key in ("files_new", "files_changed", "bytes_stored"))
    lost = f", {count(_number(value, 'errors'), 'thing')} could not be read" if value.get("incomplete") else ""
    return f"{new:,} new, {changed:,} changed, {size(stored)} stored{lost}"


def _check(value: _Value) -> str:
    told = f"{count(_number(value, 'packs'), 'pack')}, {_number(value, 'packs_read'):,} read"
    return ("all is whole: " if value.get("clean") else f"{count(_number(value, 'findings'), 'finding')}: ") + told


_WORDS: dict[str, Callable[[_Value], str]] = {
    "backup": _backup,
    "copy": lambda value: f"{count(_number(value, 'copied'), 'snapshot')}, {size(_number(value, 'bytes_stored'))} stored",
    "forget": lambda value: f"{_number(value, 'forgotten'):,} forgotten, {_number(value, 'kept'):,} kept",
    "prune": lambda value: f"{size(_number(value, 'bytes_freed'))} freed",
    "check": _check,
    "drill": lambda value: f"{size(_number(value, 'bytes'))} restored and compared",
}
