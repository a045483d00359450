"""Take the plans that an owner handed to this machine, if it allows that.  The agent does so every ten minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import FormatError, UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[options]"
EXAMPLES = ("safehold device take-plans",)
STATUSES = (4, 13, 14)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""


def run(call: Call) -> int:
    """Take them."""
    from safehold.cli.plans import files_of
    from safehold.codec.plan_letter import open_letter
    from safehold.core.events import Warn
    from safehold.jobs.handed import Memory, take

    address, api = call.online()
    repository = call.repository()
    memory = Memory(call.state, repository.id)
    allowed = memory.read()
    if allowed is None:
        raise UsageError("This machine takes no plans from elsewhere.", "safehold device allow-plans")
    told = api.call("GET", f"{address.base}/devices/{allowed.device}/plan", dict[str, str] | None)  # type: ignore[arg-type]
    if not told:
        call.out.result("No plans were handed to this machine.", {"event": "take-plans", "plans": [], "refused": []})
        return 0
    keyring = repository.keyring
    made_ns, plans = open_letter(
        repository.id, keyring.slot_id, keyring.exchange_private, keyring.admin_public, _letter(told.get("letter", ""))
    )
    refused = take(files_of(call), allowed, plans, made_ns)
    memory.write(allowed)
    for name in refused:
        message = f"A plan {name} was handed out, and there is one of your own of that name."
        call.out.report(Warn(code="plan-exists", message=message, hint="Yours stays; rename it to take the other."))
    text = f"Plans from elsewhere: {', '.join(allowed.names) or 'none'}."
    call.out.result(text, {"event": "take-plans", "plans": allowed.names, "refused": refused})
    return 0


def _letter(text: str) -> bytes:
    from base64 import b64decode

    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise FormatError("The plans that were handed out are no letter.", "Hand them out again.") from None
