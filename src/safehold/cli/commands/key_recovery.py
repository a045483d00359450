"""Make a recovery key and show it once: 24 words, and a QR code of them, to be printed and kept in a safe place.

With `--recovery` before any command the words open the repository when passphrase and key files are lost.  Only the owner may
make one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[options]"
EXAMPLES = ("safehold key recovery", "safehold key recovery --no-qr | lp", "safehold --recovery key add --label 'new passphrase'")
STATUSES = (13, 15)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("--no-qr", action="store_true", help="words only")
    parser.add_argument("--label", metavar="TEXT", default="recovery key", help="what `key list` shows")


def run(call: Call) -> int:
    """Make and show it."""
    from safehold.cli import key_slots
    from safehold.codec.recovery import RecoveryKey, qr_text, words_table

    repository = call.repository()
    repository.require_owner("make a recovery key")
    key = RecoveryKey.new(os.urandom)
    label = call.values.label
    slot_id = key_slots.add(call, repository, "owner", key, label)
    words = key.words()
    lines = [
        f"Recovery key of the repository at {repository.store.location} (id {repository.config.id[:8]}), made as {slot_id[:8]}:"
    ]
    lines += ["", words_table(words)]
    if not call.values.no_qr:
        lines.append(qr_text(words))
    lines.append("Whoever has these words can read and change everything.  They are not shown again.")
    value = {"event": "key-recovery", "id": slot_id, "role": "owner", "label": label, "words": words}
    call.out.result("\n".join(lines), value)
    return 0
