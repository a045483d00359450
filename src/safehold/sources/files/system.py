"""The module of the running system, under one name: ``from safehold.sources.files.system import system``."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from safehold.sources.files import _windows as system
elif sys.platform == "darwin":
    from safehold.sources.files import _darwin as system
else:
    from safehold.sources.files import _linux as system

__all__ = ["system"]
