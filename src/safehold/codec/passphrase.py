"""Passphrases, stretched with Argon2id (RFC 9106)."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from safehold.core.errors import FormatError, SafeholdError, UsageError

SALT_SIZE = 16


class Cost(NamedTuple):
    """What one guess costs: memory in KiB, passes over it, lanes."""

    memory_kib: int
    passes: int
    lanes: int


STANDARD = Cost(64 * 1024, 3, 4)
"""The second recommended option of RFC 9106, section 4; about 0.2 s on a 2020s core."""
FLOOR = Cost(64 * 1024, 3, 1)
"""Below it nothing is opened: a store must not be able to make a passphrase cheap to guess."""
CEILING = Cost(1024 * 1024, 16, 16)
"""Above it nothing is opened: a store must not be able to exhaust memory (1 GiB) or hold a machine for minutes."""


def check_cost(cost: Cost) -> None:
    """Raise ``FormatError`` unless every part of ``cost`` lies between ``FLOOR`` and ``CEILING``."""
    hint = "Safehold never writes such a slot: the store may have been tampered with."
    if any(given < least for given, least in zip(cost, FLOOR, strict=True)):
        raise FormatError(f"A key slot asks for a weaker passphrase derivation than is allowed: {_words(cost)}.", hint)
    if any(given > most for given, most in zip(cost, CEILING, strict=True)):
        raise FormatError(f"A key slot asks for an absurdly costly passphrase derivation: {_words(cost)}.", hint)


def _words(cost: Cost) -> str:
    return f"{cost.memory_kib} KiB, {cost.passes} passes, {cost.lanes} lanes"


@dataclass(frozen=True, slots=True)
class Passphrase:
    """What a person remembers.  Any text but the empty one."""

    text: str = field(repr=False)

    def stretched(self, salt: bytes, cost: Cost) -> bytes:
        """32 bytes: Argon2id (version 1.3) of the text's NFC form as UTF-8.

        Raises ``FormatError`` where ``cost`` is not allowed, ``UsageError`` where the text can be no passphrase,
        ``SafeholdError`` where memory does not suffice.
        """
        check_cost(cost)
        argon = Argon2id(salt=salt, length=32, iterations=cost.passes, lanes=cost.lanes, memory_cost=cost.memory_kib)
        try:
            return argon.derive(self._bytes())
        except MemoryError:
            mib = cost.memory_kib // 1024
            hint = "Close other programs, or use a key file or the recovery key."
            raise SafeholdError(f"Trying the passphrase needs {mib} MiB of memory, more than is free.", hint) from None

    def _bytes(self) -> bytes:
        # The same letters typed on another system must give the same bytes: macOS composes differently.
        if not self.text:
            raise UsageError("The passphrase is empty.", "Give one with at least one character.")
        try:
            return unicodedata.normalize("NFC", self.text).encode("utf-8")
        except UnicodeEncodeError:
            raise UsageError("The passphrase is not valid UTF-8.", "Check the encoding of the file it is in.") from None
