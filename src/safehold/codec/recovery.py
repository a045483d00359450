"""The recovery key: 32 random bytes as 24 words of BIP-39's English list, to be printed, and as a QR of those words.

The list is part of the format, so it lies here as data (``bip39-english.txt``, held by its hash in the tests) and not
in a dependency that could change it.  Words and checksum are BIP-39's; its way of making a wallet seed of them is not
used.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from safehold.core.errors import WrongKey

if TYPE_CHECKING:
    from segno import QRCode

SECRET_SIZE = 32
WORDS = 24
_COLUMNS = 6
_PREFIX = 4
"""Every word of the list is told from all others by its first four letters (or is shorter)."""


@dataclass(frozen=True, slots=True)
class RecoveryKey:
    """The secret behind the printed words."""

    secret: bytes = field(repr=False)

    @classmethod
    def new(cls, random: Callable[[int], bytes]) -> RecoveryKey:
        """A fresh one."""
        return cls(random(SECRET_SIZE))

    def words(self) -> list[str]:
        """24 words: 256 bits of secret and 8 bits of its SHA-256, 11 bits a word."""
        bits = int.from_bytes(self.secret + _check(self.secret), "big")
        return [word_list()[bits >> 11 * place & 0x7FF] for place in reversed(range(WORDS))]

    @classmethod
    def parse(cls, text: str) -> RecoveryKey:
        """Read words again: any case, any spacing, numbers and punctuation between them, first four letters suffice.

        Raises ``WrongKey`` that names the word that is wrong, or says how many there are.
        """
        typed = re.findall(r"[^\W\d_]+", text.casefold())
        bits = 0
        for place, word in enumerate(typed, 1):
            bits = bits << 11 | word_number(word, place)
        if len(typed) != WORDS:
            message = f"A recovery key has {WORDS} words, and these are {len(typed)}."
            raise WrongKey(message, "Type all of them, in order.")
        both = bits.to_bytes(SECRET_SIZE + 1, "big")
        if both[-1:] != _check(both[:-1]):
            raise WrongKey(
                "The recovery words do not fit together, though each is in the list.",
                "One was mistaken for another, or two changed places; compare them with the print.",
            )
        return cls(both[:-1])


def _check(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()[:1]


@cache
def word_list() -> Sequence[str]:
    """The 2048 words, sorted."""
    from importlib import resources  # not needed to open a repository

    return tuple(resources.files(__package__).joinpath("bip39-english.txt").read_text("ascii").split())


@cache
def _by_prefix() -> dict[str, int]:
    return {word[:_PREFIX]: number for number, word in enumerate(word_list())}


def word_number(typed: str, place: int) -> int:
    """The number of a typed word, the ``place``-th.  Raises ``WrongKey`` that names it."""
    number = _by_prefix().get(typed[:_PREFIX])
    if number is not None and word_list()[number].startswith(typed):
        return number
    raise WrongKey(f"Word {place}, `{typed}`, is no recovery word.", _suggestion(typed, number))


def _suggestion(typed: str, number: int | None) -> str:
    import difflib

    near = [word_list()[number]] if number is not None else difflib.get_close_matches(typed, word_list(), 3, 0.6)
    return f"Did you mean {' or '.join(f'`{word}`' for word in near)}?" if near else "Look at the print again."


def words_table(words: Sequence[str]) -> str:
    """24 words in 6 columns of 4 (12 in 6 of 2), numbered down each column, for a terminal of 80 characters or for paper."""
    lines = []
    rows = len(words) // _COLUMNS
    for row in range(rows):
        numbers = range(row, len(words), rows)
        lines.append("  ".join(f"{number + 1:2} {words[number]:<8}" for number in numbers).rstrip())
    return "\n".join(lines) + "\n"


def _qr(words: Sequence[str]) -> QRCode:
    # Capitals fit QR's alphanumeric mode, a third smaller; any phone shows them as words, and ``parse`` takes them.
    import segno

    return segno.make(" ".join(words).upper(), error="m", micro=False, boost_error=False)


def qr_text(words: Sequence[str]) -> str:
    """The words' QR for a terminal, in half-block characters without escape codes (light on dark)."""
    out = io.StringIO()
    _qr(words).terminal(out, compact=True)
    return out.getvalue()


def qr_svg(words: Sequence[str]) -> str:
    """The words' QR as an SVG element, for a page to print."""
    return str(_qr(words).svg_inline(scale=4))
