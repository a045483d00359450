"""Refusals, as HTTP says them.  The body of each is ``{"code", "message", "hint"}``; the table is in ``docs/server.md``."""

from __future__ import annotations


class Refusal(Exception):
    """An answer other than success.  ``str(refusal)`` is one sentence."""

    status = 400
    code = "bad-request"

    def __init__(self, message: str, hint: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.headers = headers or {}


class NotAuthenticated(Refusal):
    """Nobody knows who asks."""

    status, code = 401, "not-authenticated"


class NotAllowed(Refusal):
    """Who asks may not do that."""

    status, code = 403, "not-permitted"


class StepUpNeeded(Refusal):
    """Only with a second factor, given just now."""

    status, code = 403, "second-factor-needed"


class NotFound(Refusal):
    """There is no such thing, or the asker may not know of it."""

    status, code = 404, "missing"


class Exists(Refusal):
    """Something of that name is there."""

    status, code = 409, "exists"


class Braked(Refusal):
    """Too much would be deleted at once."""

    status, code = 409, "brake"


class Gone(Refusal):
    """It was there, and is no more."""

    status, code = 410, "gone"


class Withdrawn(Gone):
    """Its owner took it back."""

    code = "withdrawn"


class Expired(Gone):
    """Its time is over."""

    code = "expired"


class UsedUp(Gone):
    """It was used as often as it may be."""

    code = "used-up"


class TooLarge(Refusal):
    """A body above the limit."""

    status, code = 413, "too-large"


class Mismatch(Refusal):
    """The bytes are not those that their name says."""

    status, code = 422, "mismatch"


class TooMany(Refusal):
    """Asked too often."""

    status, code = 429, "too-many"


class Unavailable(Refusal):
    """Not now: the database does not answer, or gave up on a transaction."""

    status, code = 503, "unavailable"


class Full(Refusal):
    """No room: the quota is used up, or the disk is full."""

    status, code = 507, "store-full"
