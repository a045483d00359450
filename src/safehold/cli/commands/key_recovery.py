"""Make a recovery key and show it once: 24 words, and a QR code of them, to be printed and kept in a safe place.

With `--recovery` before any command the words open the repository when passphrase and key files are lost.  Only the owner may
make one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.codec.recovery import RecoveryKey
    from safehold.repo.repository import Repository

USAGE = "[options]"
EXAMPLES = (
    "safehold key recovery",
    "safehold key recovery --kit ~/recovery-kit.html",
    "safehold --recovery key add --label 'new passphrase'",
)
STATUSES = (13, 15)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("--no-qr", action="store_true", help="words only")
    add("--kit", metavar="FILE.html", default="", help="write a page to print, with the words and what to do; they are not shown")
    add("--label", metavar="TEXT", default="recovery key", help="what `key list` shows")


def run(call: Call) -> int:
    """Make and show it."""
    from safehold.codec.recovery import RecoveryKey

    repository = call.repository()
    repository.require_owner("make a recovery key")
    key = RecoveryKey.new(os.urandom)
    return _print(call, repository, key) if call.values.kit else _show(call, repository, key)


def _show(call: Call, repository: Repository, key: RecoveryKey) -> int:
    from safehold.cli import key_slots
    from safehold.codec.recovery import qr_text, words_table

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


def _print(call: Call, repository: Repository, key: RecoveryKey) -> int:
    """The page is written first: words without their page would be lost."""
    from safehold.cli import key_slots, recovery_kit
    from safehold.cli.render.words import moment

    label = call.values.label
    made = moment(call.clock.now_ns())
    kit = recovery_kit.Kit(repository.store.location, repository.config.id, label, made, key.words())
    path = recovery_kit.write(call.values.kit, kit)
    try:
        slot_id = key_slots.add(call, repository, "owner", key, label)
    except BaseException:
        path.unlink()  # its words would open nothing
        raise
    value = {"event": "key-recovery", "id": slot_id, "role": "owner", "label": label, "kit": str(path)}
    call.out.result(f"The recovery kit is in {path} (made as {slot_id[:8]}).  Print it, then delete the file.", value)
    return 0
