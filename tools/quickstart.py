"""`make quickstart`: everything that matters once, on a real folder, with every command shown.

Makes a repository in demo/, backs up a folder and a few notes, changes the notes, backs up again, restores both, and compares
what came back with `diff`.  Nothing outside demo/ is written.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
DEMO = HERE / "demo"
PROGRAM = Path(sys.executable).with_name("safehold")
BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


def main(folder: Path) -> int:
    """Run the whole story; the exit status."""
    if not folder.is_dir():
        print(f"There is no folder {folder}. Name one: make quickstart FOLDER=/home/me/Pictures", file=sys.stderr)
        return 2
    _prepare()
    os.chdir(HERE)
    os.environ["SAFEHOLD_REPO"] = "demo/repository"
    os.environ["SAFEHOLD_PASSWORD_FILE"] = "demo/passphrase.txt"
    os.environ["SAFEHOLD_CACHE_DIR"] = str(DEMO / "cache")
    notes = Path("demo/notes")
    _say("A repository: everything in it is encrypted; the passphrase is in demo/passphrase.txt.")
    _safehold("init")
    _say(f"The first backup, of {folder} and of three notes.")
    _safehold("backup", "--tag", "first", str(folder), str(notes))
    _say("Now a note is changed, one deleted, one added, and everything backed up again: only what changed is read and stored.")
    _change(notes)
    _safehold("backup", str(folder), str(notes))
    _safehold("snapshots")
    _safehold("diff", "latest:first", "latest")
    _say("The deleted note comes back out of the older snapshot ...")
    _safehold("cat", f"latest:first:{(HERE / notes / 'shopping.txt')}")
    _say("... and everything out of the newest, each file compared once more with what is stored.")
    _safehold("restore", "latest", "--target", "demo/restored", "--verify")
    same = _compare(folder) and _compare(HERE / notes)
    _say("Is the repository whole? Every byte of it is read, decrypted and checked.")
    _safehold("check", "--read-data")
    return _end(folder, same)


def _prepare() -> None:
    shutil.rmtree(DEMO, ignore_errors=True)
    notes = DEMO / "notes"
    notes.mkdir(parents=True)
    (DEMO / "passphrase.txt").write_text(secrets.token_urlsafe(12) + "\n")
    (notes / "todo.txt").write_text("Back up the photographs.\n")
    (notes / "shopping.txt").write_text("Two flash drives.\n")
    (notes / "letter.txt").write_text("Dear Anna, the pictures are safe now.\n" * 500)


def _change(notes: Path) -> None:
    with (notes / "todo.txt").open("a") as file:
        file.write("Restore them once, to be sure.\n")
    (notes / "shopping.txt").unlink()
    (notes / "new.txt").write_text("A new note.\n")


def _safehold(*words: str) -> None:
    """Show a command and run it; stop if it fails.  Status 3 is a finished backup that could not read everything."""
    print(f"{BOLD}$ safehold {shlex.join(words)}{PLAIN}", flush=True)
    status = subprocess.run([str(PROGRAM), *words], check=False).returncode
    print(flush=True)
    if status not in (0, 3):
        sys.exit(f"That failed with status {status}.")


def _compare(folder: Path) -> bool:
    """Whether the restored folder equals its source, by a program that is not ours."""
    restored = DEMO / "restored" / str(folder.resolve()).lstrip("/")
    command = ["diff", "-r", "--no-dereference", str(folder), str(restored)]
    print(f"{BOLD}$ {shlex.join(command)}{PLAIN}", flush=True)
    same = subprocess.run(command, check=False).returncode == 0
    print("(no difference)\n" if same else "(these differ)\n", flush=True)
    return same


def _say(text: str) -> None:
    print(f"{DIM}# {text}{PLAIN}", flush=True)


def _end(folder: Path, same: bool) -> int:
    if not same:
        print("What came back is not what was backed up. If nothing changed the folder meanwhile, that is a bug: please tell us.")
        return 1
    print(f"""{BOLD}Done: {folder} was backed up, restored, and came back the same.{PLAIN}

It is all in demo/: the repository, its passphrase, and what was restored. `rm -r demo` takes it away again. To go on:

  . .venv/bin/activate                           so that `safehold` is found
  safehold -r /media/usb/backup init             a repository on a drive of yours
  safehold -r /media/usb/backup backup ~         back up your home folder; the same words again tomorrow
  safehold -r /media/usb/backup snapshots        what is there
  safehold -r /media/usb/backup restore latest --target /tmp/restored
  safehold -r /media/usb/backup key recovery     words to print, for the day the passphrase is forgotten

README.md tells the rest.""")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "/usr/share/doc").absolute()))
