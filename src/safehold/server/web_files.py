"""The files of the web pages, as they lie in the program."""

from __future__ import annotations

import hashlib
import mimetypes
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "web"
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", ".svg": "image/svg+xml"}
_SHOWN = {".js", ".css", ".svg", ".wasm", ".html", ".txt", ".png", ".json", ".webmanifest"}


@cache
def known() -> dict[str, Path]:
    """Every file that may be served, by its path.  Nothing else is ever looked for, so no path can lead out."""
    found = (path for path in FOLDER.rglob("*") if path.suffix in _SHOWN and path.is_file())
    return {path.relative_to(FOLDER).as_posix(): path for path in found if path.name != "package.json"}


@cache
def loaded(name: str) -> tuple[bytes, str, str]:
    """A known file's bytes, type and tag.  They belong to the program, and change with it."""
    path = known()[name]
    content = path.read_bytes()
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if kind.startswith("text/"):
        kind += "; charset=utf-8"
    return content, kind, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
