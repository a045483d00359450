"""Which module does the work of an image copy, by the engine of its source."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from safehold.core.errors import UsageError

ENGINES = {"postgresql": "postgresql", "postgres": "postgresql", "mariadb": "mariadb", "mysql": "mariadb", "sqlite": "sqlite"}
"""The word before the colon of a source -> the engine."""


def of_source(source: str) -> str:
    """The engine of a source.  Raises ``UsageError``."""
    scheme = source.partition(":")[0]
    if ":" not in source or scheme not in ENGINES:
        raise UsageError(
            f"{source} is no database that an image copy can be made of.",
            "Name postgresql://user@host/, mariadb://user@host/ or sqlite:PATH.",
        )
    return ENGINES[scheme]


def module(engine: str) -> ModuleType:
    """Its module.  Raises ``UsageError``."""
    if sys.platform == "win32":
        raise UsageError("Image copies are not made on Windows.", "Make them where the database's own server can run.")
    return importlib.import_module(f"safehold.ops.image_copies.{engine}")
