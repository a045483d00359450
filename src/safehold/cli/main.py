"""One run of the program: parse, call the command, and turn what went wrong into one sentence and a status."""

from __future__ import annotations

import codecs
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from safehold.core import interrupts
from safehold.core.errors import Interrupted, SafeholdError

BROKEN_PIPE = 1
"""Whoever read the output has gone: nothing is said, but it was not done either."""


def run(words: Sequence[str]) -> int:
    """Run these words; the exit status.  Never raises."""
    _listen_for_termination()
    _accept_all_names()
    try:
        status = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return fail(Interrupted("Interrupted.", "What is finished stays; run it again to go on."), "--json" in words)
    except SafeholdError as error:
        return fail(error, "--json" in words)
    except MemoryError:
        return fail(SafeholdError("There is not enough memory.", "Close other programs and run it again."), "--json" in words)
    except Exception as error:
        return _bug(error, words)
    return status


def _run(words: Sequence[str]) -> int:
    from safehold.cli.parsing import HelpWanted, parse

    try:
        parsed = parse(words)
    except HelpWanted as wanted:
        sys.stdout.write(str(wanted))
        return 0
    from safehold.cli.call import Call

    with Call(parsed.values, os.environ, parsed.command.words, words) as call:
        status = parsed.module.run(call)
        assert isinstance(status, int)
        return status


def fail(error: SafeholdError, as_json: bool) -> int:
    """Say what went wrong on standard error; the status of the error."""
    if as_json:
        from safehold.cli.render.jsonlines import encode

        line = {"event": "error", "code": error.code, "message": str(error), "hint": error.hint, "status": error.status}
        _say(encode(line))
    else:
        from safehold.cli.render.words import advice

        _say(f"safehold: {advice(str(error), error.hint)}")
    return error.status


def _bug(error: Exception, words: Sequence[str]) -> int:
    if os.environ.get("SAFEHOLD_DEBUG"):
        import traceback

        traceback.print_exception(error)
    where = "" if os.environ.get("SAFEHOLD_DEBUG") else " SAFEHOLD_DEBUG=1 shows where; please report it."
    what = " ".join(str(error).split()) or "no more is known"
    return fail(
        SafeholdError(f"Something unforeseen happened ({type(error).__name__}: {what}); this is a bug.{where}"), "--json" in words
    )


def _say(line: str) -> None:
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except OSError:
        return  # nobody is there to be told; the status still says it


def _drop_output() -> None:
    """What is still buffered for a reader that has gone must not raise when the program ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _listen_for_termination() -> None:
    """SIGTERM, SIGHUP and SIGINT stop the work in order; a second SIGINT or SIGTERM ends it at once."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if interrupts.waits(number):
        return
    signal.signal(number, _end_at_once)
    raise KeyboardInterrupt


def _end_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(Interrupted.status)


def _accept_all_names() -> None:
    """File names are bytes: those that are no text go out as they are; signs that this locale lacks, as ``\\u2588``."""
    codecs.register_error("safehold", _encode_leniently)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="safehold")  # type: ignore[union-attr]


def _encode_leniently(error: UnicodeError) -> tuple[str | bytes, int]:
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)
