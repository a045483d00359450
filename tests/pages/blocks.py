"""The blocks of a page that are tried: what a reader pastes, and what the page promises that he sees.

A fence with the words ``sh tried`` holds commands; ``as=USER`` says who pastes them (root without it).  A fence ``text shown`` after it holds
lines that its output has, in that order; of numbers and ids only the kind counts, and ``...`` stands for anything.  What the page
takes for granted (a disk, rows in a table) is made by commands in a comment ``<!-- tried: ... -->``, which a reader does not see.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<word>sh tried|text shown)(?: as=(?P<user>[a-z]+))?\n(?P<text>.*?)^ *```$"
    r"|^<!-- tried:(?: as=(?P<hidden>[a-z]+))?\n(?P<preparation>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """Commands of a page, whose they are, and the lines that they promise."""

    page: str
    line: int
    user: str
    commands: str
    shown: tuple[str, ...] = ()


def blocks_of(page: Path) -> list[Block]:
    """What is tried of a page, in its order."""
    text = page.read_text()
    found: list[Block] = []
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if match["word"] == "text shown":
            last = found.pop()
            shown = tuple(_dedent(match["text"], match["indent"]).splitlines())
            found.append(Block(last.page, last.line, last.user, last.commands, (*last.shown, *shown)))
        else:
            commands = match["preparation"] or _dedent(match["text"], match["indent"])
            found.append(Block(page.name, line, match["user"] or match["hidden"] or "root", commands))
    return found


def missing(shown: tuple[str, ...], output: str) -> str | None:
    """The first promised line that the output does not have after those before it."""
    lines = iter(output.splitlines())
    for promise in shown:
        pattern = pattern_of(promise)
        if promise.strip() and not any(pattern.search(line) for line in lines):
            return promise
    return None


def pattern_of(promise: str) -> re.Pattern[str]:
    """What a line that was promised may look like: other numbers, sizes and ids, other distances between columns."""
    pieces = re.split(
        r"(\.\.\.|\b(?=[0-9a-f]*[0-9])[0-9a-f]{8}\b|[0-9][0-9,.:]*(?: ?(?:B|KiB|MiB|GiB)\b)?| {2,})", promise.strip()
    )
    return re.compile("".join(_kind(piece) for piece in pieces))


def _kind(piece: str) -> str:
    if piece == "...":
        return ".*"
    if re.fullmatch(r"(?=[0-9a-f]*[0-9])[0-9a-f]{8}", piece):
        return "[0-9a-f]{8}"
    if re.fullmatch(r"[0-9][0-9,.:]*(?: ?(?:B|KiB|MiB|GiB))?", piece):
        return r"[0-9][0-9,.:]*(?: ?(?:B|KiB|MiB|GiB)\b)?"
    return " +" if re.fullmatch(" {2,}", piece) else re.escape(piece)


def _dedent(text: str, indent: str) -> str:
    return re.sub(f"^{indent}", "", text, flags=re.MULTILINE)
