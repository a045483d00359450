"""Standard input and commands as sources."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path

import pytest
from homes import Home, during

from safehold.core.errors import CommandFailed, SessionExpired, UsageError
from safehold.ops.backup.streams import StreamOptions, back_up_command, back_up_stream
from safehold.repo import snapshots

_MIB = 1 << 20


@pytest.mark.parametrize("size", [0, 1, 4097, 262_144, 8 * _MIB, 110 * _MIB])
def test_what_comes_in_becomes_a_file(home: Home, size: int) -> None:
    data = random.Random(size).randbytes(size)
    made = back_up_stream(home.open(), io.BytesIO(data), StreamOptions(name="dump.sql", tags=["b", "a"]))
    assert (made.snapshot.source.kind, made.snapshot.source.paths) == ("stdin", [b"dump.sql"])
    assert (made.snapshot.totals.files, made.snapshot.totals.bytes, made.snapshot.tags) == (1, size, ["a", "b"])
    assert home.content(made, "dump.sql") == data
    entry = home.entry(made, "dump.sql")
    assert (entry.mode, entry.uid) == (0o600, os.getuid())
    assert (entry.more is not None and entry.more.map is not None) == (size > 100 * _MIB)


def test_the_same_stream_again_is_not_stored_again(home: Home) -> None:
    data = random.Random(3).randbytes(9 * _MIB)
    back_up_stream(home.open(), io.BytesIO(data), StreamOptions(name="x"))
    made = back_up_stream(home.open(), io.BytesIO(b"in front" + data), StreamOptions(name="x"))
    assert made.snapshot.statistics.added_raw < 4 * _MIB


def test_a_pipe_that_delivers_in_drops(home: Home) -> None:
    reading, writing = os.pipe()
    if os.fork() == 0:
        for number in range(2000):
            os.write(writing, b"%d " % number)
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as stream:
        made = back_up_stream(home.open(), stream, StreamOptions(name="x"))
    os.wait()
    assert home.content(made, "x") == b"".join(b"%d " % number for number in range(2000))


def test_what_a_command_prints(home: Home) -> None:
    made = back_up_command(home.open(), "printf 'one\\n' | cat; echo two", StreamOptions(name="out"))
    assert (made.snapshot.source.kind, made.snapshot.source.command) == ("command", "printf 'one\\n' | cat; echo two")
    assert home.content(made, "out") == b"one\ntwo\n"


@pytest.mark.parametrize(
    ("command", "how"),
    [
        ("echo something; exit 3", "exited with status 3"),
        ("(echo something; exit 5) | cat", "exited with status 5"),
        ("head -c 9000000 /dev/urandom; false", "exited with status 1"),
        ("echo something; kill -9 $$", "was killed by signal 9"),
        ("no-such-program-anywhere 2>/dev/null", "exited with status 127"),
    ],
)
def test_a_failing_command_makes_no_snapshot(home: Home, command: str, how: str) -> None:
    with pytest.raises(CommandFailed, match=how):
        back_up_command(home.open(), command, StreamOptions(name="out"))
    assert snapshots.names(home.store) == []
    assert [key for key in home.store.objects if key.startswith("sessions/")] == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "nul\0"])
def test_names_that_no_file_can_have(home: Home, name: str) -> None:
    for attempt in (
        lambda: back_up_stream(home.open(), io.BytesIO(b"x"), StreamOptions(name=name)),
        lambda: back_up_command(home.open(), "echo", StreamOptions(name=name)),
    ):
        with pytest.raises(UsageError):
            attempt()
    assert snapshots.names(home.store) == []


def test_a_stream_is_not_read_twice(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once more from the start would find the stream at its end, and make a snapshot of nothing."""

    def expire(*arguments: object) -> None:
        raise SessionExpired("given up")

    during(monkeypatch, snapshots, "commit", expire)
    with pytest.raises(SessionExpired) as raised:
        back_up_stream(home.open(), io.BytesIO(b"once"), StreamOptions(name="x"))
    assert "run it again" in raised.value.hint
    assert snapshots.names(home.store) == []
