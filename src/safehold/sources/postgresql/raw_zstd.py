"""zstd's own module, without what is around it.

Importing ``backports.zstd`` takes 10 to 20 ms (``pkgutil``, ``enum`` and ``re`` come along), importing the compiled module in it
1.5 ms; `archive-push` is run for every 16 MiB of a server's log, while the server waits.
"""

from __future__ import annotations

import sys
from types import ModuleType

CHECKSUM = 201
LEVEL = 100
"""Parameters of a compressor: ``ZSTD_c_checksumFlag`` and ``ZSTD_c_compressionLevel`` of zstd.h."""
WHOLE = 2
"""``ZSTD_e_end``: what is given is all that there is."""


def load() -> ModuleType:
    """The compiled module: ``ZstdCompressor``, ``ZstdDecompressor``, ``ZstdError``."""
    name = "_zstd" if sys.version_info >= (3, 14) else "backports.zstd._zstd"
    return sys.modules.get(name) or (_import(name) if sys.version_info >= (3, 14) else _directly(name))


def _import(name: str) -> ModuleType:
    """What ``importlib.import_module`` does; importing that takes a millisecond."""
    __import__(name)
    return sys.modules[name]


def _directly(name: str) -> ModuleType:
    from _frozen_importlib_external import PathFinder  # importlib.machinery's, without what comes along with that

    if any(package in sys.modules for package in ("backports", "backports.zstd")):
        return _import(name)
    spec = PathFinder.find_spec("backports")
    folders = list(spec.submodule_search_locations or []) if spec else []
    for package, paths in (("backports", folders), ("backports.zstd", [f"{folder}/zstd" for folder in folders])):
        made = sys.modules[package] = ModuleType(package)
        made.__path__ = paths
    try:
        return _import(name)
    finally:
        # Empty shells: whoever imports these packages later gets the real ones.
        for package in ("backports.zstd", "backports"):
            del sys.modules[package]
