"""Which names may become files: a snapshot may come from anybody, so its names are not trusted."""

from __future__ import annotations

import sys

_RESERVED = {"CON", "PRN", "AUX", "NUL"} | {f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10)}


def refusal(name: bytes) -> str:
    """Why a name cannot be one step below a folder; empty if it can."""
    if name in {b"", b".", b".."}:
        return "is no name of a file"
    if b"/" in name or b"\0" in name:
        return "holds a slash or a zero byte"
    if sys.platform == "win32":
        return windows_refusal(name.decode("utf-8", "surrogatepass"))
    return ""


def windows_refusal(name: str) -> str:
    """The same for Windows, where more names mean something else than a file of that name."""
    if any(sign in name for sign in '\\/:*?"<>|') or any(ord(sign) < 32 for sign in name):
        return "holds a character that Windows does not allow"
    if name.rstrip(" .") != name:
        return "ends in a dot or a space, which Windows drops"
    if name.split(".", maxsplit=1)[0].rstrip().upper() in _RESERVED:
        return "is the name of a device on Windows"
    return ""
