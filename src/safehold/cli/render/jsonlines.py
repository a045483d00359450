"""JSON, one object a line.  ``docs/json.md``."""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec

from safehold.core.events import Event


def encode(value: Mapping[str, object]) -> str:
    """One line.  A name that is no UTF-8 keeps its bytes as lone surrogates (``\\udc80`` to ``\\udcff``), as in Python."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def event_line(event: Event) -> str:
    """An event, as one line."""
    name = event.__struct_config__.tag
    return encode({"event": name, **msgspec.structs.asdict(event)})
