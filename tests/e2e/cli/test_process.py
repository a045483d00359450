"""What only a process of its own shows: start-up, signals, pipes, the lack of a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from cli_program import Program

from safehold import __version__


def test_version_imports_nothing(program: Program) -> None:
    assert program.spawn("--version").out == f"safehold {__version__}\n"
    code = "import sys; from safehold.__main__ import main\ntry: main()\nexcept SystemExit: pass\nprint(*sys.modules)"
    for word, most in (("--version", 2), ("--help", 15)):
        done = subprocess.run([sys.executable, "-c", code, word], capture_output=True, text=True, check=True)
        modules = done.stdout.splitlines()[-1].split()
        assert not {"rich", "msgspec", "cryptography", "numpy", "keyring"}.intersection(modules)
        assert sum(name.startswith("safehold") for name in modules) <= most


def test_a_backup_does_not_import_what_it_does_not_need(safehold: Program, source: Path) -> None:
    code = "import sys; from safehold.cli.main import run; run(sys.argv[1:]); print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, "backup", str(source)], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "safehold.ops.backup.run" in loaded
    assert not {"rich", "numpy", "keyring", "subprocess", "segno", "safehold.ops.restore"} & loaded


def test_sigterm_and_sigint_end_with_130(safehold: Program) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        running = safehold.start("backup", "-", stdin=subprocess.PIPE)
        assert running.stdin is not None and running.stderr is not None
        running.stdin.write(os.urandom(1 << 20))
        running.stdin.flush()
        _wait_for_session(safehold)
        running.send_signal(number)
        assert running.wait(30) == 130
        said = running.stderr.read().decode()
        assert said.startswith("safehold: Interrupted.") and said.count("\n") == 1
        running.stdin.close()
        running.stderr.close()
        running.stdout.close()  # type: ignore[union-attr]
    assert safehold.do("snapshots").out == "0 snapshots\n"


def _wait_for_session(safehold: Program) -> None:
    for _ in range(600):
        if any((safehold.repository / "sessions").rglob("0")):
            return
        time.sleep(0.05)
    raise AssertionError("the backup never began")


def test_a_reader_that_goes_away_is_no_drama(safehold: Program, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(5000):
        (many / f"{number}-{'x' * 100}").touch()
    safehold.do("backup", many)
    running = safehold.start("ls", f"latest:{many}")
    assert running.stdout is not None and running.stderr is not None
    running.stdout.read(10)
    running.stdout.close()
    assert running.wait(60) == 1
    assert running.stderr.read() == b""
    running.stderr.close()


def test_signs_that_the_locale_lacks_are_written_out(safehold: Program, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path / "odd")
    os.mkdir(odd)
    for name in ("snow\u2603", "caf\xe9"):
        open(os.path.join(odd, name.encode()), "wb").close()
    safehold.do("backup", tmp_path / "odd")
    safehold.set(PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
    ran = safehold.spawn("ls", f"latest:{tmp_path}/odd")
    assert ran.status == 0, ran.err
    assert [line.rpartition(b"/")[2] for line in ran.raw.splitlines()] == [b"caf\xe9", b"snow\\u2603"]


def test_without_a_terminal_nobody_is_asked(safehold: Program) -> None:
    safehold.set(SAFEHOLD_KEY_FILE=None, PYTHON_KEYRING_BACKEND="keyring.backends.null.Keyring")
    ran = safehold.spawn("snapshots")
    assert ran.status == 2 and "no terminal to ask at" in ran.err


def test_a_terminal_is_asked(program: Program, source: Path) -> None:
    program.set(PYTHON_KEYRING_BACKEND="keyring.backends.null.Keyring", SAFEHOLD_REPO=str(program.repository), TERM="xterm")
    shown = _at_terminal(program, ["init"], [b"hush\n", b"hush\n"])
    assert b"New passphrase" in shown and b"Made a repository" in shown and b"hush" not in shown
    shown = _at_terminal(program, ["backup", str(source)], [b"hush\n"])
    assert b"Files: 2 new" in shown
    shown = _at_terminal(program, ["init", str(program.folder / "r2")], [b"hush\n", b"hash\n"], SAFEHOLD_REPO="")
    assert b"differ" in shown and not (program.folder / "r2" / "config").exists()


def _at_terminal(program: Program, words: list[str], typed: list[bytes], **environment: str) -> bytes:
    """Run at a pseudo-terminal, answering each question in turn; everything that it showed."""
    pid, descriptor = pty.fork()
    if pid == 0:
        os.environ.update(environment)
        os.execv(sys.executable, [sys.executable, "-m", "safehold", *words])
    killer = threading.Timer(60, os.kill, (pid, signal.SIGKILL))
    killer.start()
    shown = b""
    try:
        while data := os.read(descriptor, 65536):
            shown += data
            if typed and shown.rstrip().endswith(b":"):
                os.write(descriptor, typed.pop(0))
                shown += b" "
                shown = shown.rstrip(b": ") + b". "
    except OSError:
        pass  # EIO: the program has ended
    finally:
        killer.cancel()
        os.close(descriptor)
        os.waitpid(pid, 0)
    return shown
