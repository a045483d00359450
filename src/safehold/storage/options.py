"""What may be said of a store beside its place."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Settings of a distant store (``docs/stores.md``); a local one needs none of them."""

    endpoint: str = ""
    """Of S3, Google and Azure: the address of a service other than the vendor's own, with ``http://`` or ``https://``."""
    region: str = ""
    connections: int = 0
    """How many requests are under way at once; 0: as many as the driver thinks fit."""
    limit_upload: float = 0
    limit_download: float = 0
    """Bytes a second; 0: no limit."""
    state: Path | None = None
    """A folder in which to remember what was found out of stores; None: nothing is remembered."""
    ask: Callable[[str], str] | None = None
    """Asks a person for a secret; None where nobody can be asked."""
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)


DEFAULT = StoreOptions()
