"""Placing on Windows: by paths below the target, each step checked to be a real folder and no link or junction.

Windows has no calls relative to a folder that Python offers, so a folder that somebody swaps for a junction between the
check and its use is followed; symlinks and junctions that are there before are not.  Names that Windows reads as
something else (devices, streams, trailing dots) are refused.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

assert sys.platform == "win32"

from safehold.core.entries import FILE, KIND_NAMES, SYMLINK, Entry
from safehold.core.errors import DamageError, TargetError
from safehold.core.events import Reporter
from safehold.sources.files.data import Data
from safehold.sources.files.placing.frame import PROBE, Frame
from safehold.sources.files.placing.names import refusal
from safehold.sources.files.placing.terms import Options, Outcome
from safehold.sources.files.system import system

_STEP = 1 << 20


class Folder:
    """One folder of the target that is being filled."""

    def __init__(self, parent: Folder | None, where: Path, entry: Entry | None) -> None:
        self.parent = parent
        self.where = where
        self.entry = entry
        self.owners: Mapping[int, str] = {}
        self.groups: Mapping[int, str] = {}
        self.pending = 1
        self.fresh = False

    def path(self, name: bytes = b"") -> bytes:
        """The path from the top of the target, for messages only."""
        above = self.parent.path(_name(self.where)) if self.parent else b""
        return b"/".join(part for part in (above, name) if part)

    def step(self, name: bytes) -> Path:
        """The path of one name in it, in the form that has no limit of 260 characters."""
        return self.where / name.decode("utf-8", "surrogatepass")


def _name(path: Path) -> bytes:
    return path.name.encode("utf-8", "surrogatepass")


class Placer(Frame[Folder]):
    """The placer of Windows."""

    def __init__(self, target: Path, options: Options, report: Reporter, top: Entry | None = None) -> None:
        super().__init__(target, options, report)
        self._links: dict[tuple[int, int], Path] = {}
        self.root = Folder(None, Path("\\\\?\\" + str(target.absolute())), top)
        try:
            if not options.dry_run:
                target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            hint = "name a folder that you may write to"
            raise TargetError(f"Cannot restore into {target}: {error.strerror}", hint) from error

    def needs(self, folder: Folder, entry: Entry) -> bool:
        """Whether ``place`` will want the bytes of this file."""
        if entry.kind != FILE or refusal(entry.name):
            return False
        path = folder.step(entry.name)
        return not os.path.lexists(path) or not self._keeps(path, entry)

    def prune(self, folder: Folder, names: Collection[bytes]) -> None:
        """With ``delete``: remove what the folder holds besides ``names``."""
        if not self._options.delete or folder.fresh or not folder.where.is_dir():
            return
        for path in sorted(folder.where.iterdir()):
            if _name(path) not in names:
                try:
                    self._remove(path)
                    self._ledger.deleted(folder.path(_name(path)))
                except OSError as error:
                    self._failed(folder, _name(path), error)

    def verify(self, folder: Folder, entry: Entry, data: bytes | Data | None = None) -> list[str]:
        """How a restored entry differs from what is on disk."""
        path = folder.step(entry.name)
        try:
            found = path.lstat()
            differ = [] if found.st_mtime_ns // 100 == entry.mtime_ns // 100 else ["modification time differs"]
            if entry.kind == FILE and (found.st_size != entry.size or (data is not None and not _equals(path, data))):
                differ.append("content differs")
        except OSError as error:
            return [f"cannot be read: {error.strerror}"]
        return differ

    def close(self) -> None:
        """Nothing is held open."""

    def _below(self, parent: Folder, entry: Entry) -> Folder:
        return Folder(parent, parent.step(entry.name), entry)

    def _above(self, folder: Folder) -> Folder | None:
        return folder.parent

    def _enter(self, parent: Folder, folder: Folder) -> bool:
        path = folder.where
        there = os.path.lexists(path)
        if there and _is_folder(path):
            return True
        if there and self._options.overwrite == "never":
            self._ledger.failed("in-the-way", "Something else is where a folder belongs", folder.path())
            return False
        if there:
            self._remove(path)
        if not self._options.dry_run:
            path.mkdir()
        folder.fresh = True
        return True

    def _complete(self, folder: Folder) -> None:
        if folder.entry is not None and not self._options.dry_run:
            self._attributes(folder.where, folder, folder.entry)
            self._ledger.done(Outcome.CREATED if folder.fresh else Outcome.KEPT, folder)

    def _dismiss(self, folder: Folder) -> None:
        """Nothing is held open."""

    def _put(self, folder: Folder, entry: Entry, data: bytes | Data | None) -> Outcome:
        outcome = self._place(folder, entry, data)
        if outcome is Outcome.FAILED:
            return outcome
        return self._ledger.done(outcome, folder, entry.name, entry.size if outcome is not Outcome.KEPT else 0)

    def _settle(self) -> None:
        """Each file was flushed when it was written."""

    def _takes_files(self) -> bool:
        path = self.root.where / PROBE
        try:
            path.open("xb").close()
            path.unlink()
        except FileExistsError:
            return True
        except OSError:
            return False
        return True

    def _has_folders(self) -> bool:
        try:
            return any(_is_folder(path) for path in self.root.where.iterdir())
        except OSError:
            return False

    def _place(self, folder: Folder, entry: Entry, data: bytes | Data | None) -> Outcome:
        path = folder.step(entry.name)
        outcome = Outcome.CREATED
        if os.path.lexists(path):
            if self._keeps(path, entry):
                return Outcome.KEPT
            if _is_folder(path) and not self._options.delete and any(path.iterdir()):
                message = "A folder with something in it is where something else belongs"
                return self._ledger.failed("in-the-way", message, folder.path(entry.name), "restore with --delete")
            outcome = Outcome.CHANGED
            if entry.kind == FILE and data is not None and path.lstat().st_size == entry.size and _equals(path, data):
                self._attributes(path, folder, entry)
                return Outcome.KEPT
            self._remove(path)
        if not self._options.dry_run:
            self._make(path, folder, entry, data)
        return outcome

    def _keeps(self, path: Path, entry: Entry) -> bool:
        found = path.lstat()
        if self._options.overwrite == "if-changed":
            same = (found.st_size, found.st_mtime_ns // 100) == (entry.size, entry.mtime_ns // 100)
            return same and stat.S_ISREG(found.st_mode)
        return self._options.overwrite == "never"

    def _make(self, path: Path, folder: Folder, entry: Entry, data: bytes | Data | None) -> None:
        if entry.kind == SYMLINK and entry.more and entry.more.target:
            path.symlink_to(entry.more.target.decode("utf-8", "surrogatepass"))
            return
        if entry.kind != FILE:
            raise OSError(errno.ENOTSUP, f"Windows has no {KIND_NAMES[entry.kind]}")
        link = entry.more.link if entry.more else None
        with self._lock:
            first = self._links.get(link) if link else None
        if first is not None:
            path.hardlink_to(first)
            return
        if data is None or (len(data) if isinstance(data, bytes) else data.size) != entry.size:
            raise DamageError("The stored file has another size than its entry says", "run `safehold check`")
        _write(path, data)
        self._attributes(path, folder, entry)
        if link:
            with self._lock:
                self._links[link] = path

    def _remove(self, path: Path) -> None:
        if self._options.dry_run:
            return
        if _is_folder(path):
            shutil.rmtree(path)
        elif path.is_dir():
            path.rmdir()
        else:
            path.unlink()

    def _attributes(self, path: Path, folder: Folder, entry: Entry) -> None:
        if self._options.dry_run:
            return
        where = str(path).encode("utf-8", "surrogatepass")
        for name, value in ((entry.more.xattrs if entry.more else None) or {}).items():
            try:
                system.write_xattr(where, name, value)
            except OSError as error:
                self._ledger.lost("xattr", error.strerror or str(error), folder, entry.name)
        os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))
        if entry.more and entry.more.windows:
            try:
                system.write_windows(where, *entry.more.windows)
            except OSError as error:
                self._ledger.lost("security", error.strerror or str(error), folder, entry.name)


def _is_folder(path: Path) -> bool:
    """Whether a path is a real folder: no symlink and no junction."""
    found = path.lstat()
    return stat.S_ISDIR(found.st_mode) and not found.st_reparse_tag


def _write(path: Path, data: bytes | Data) -> None:
    with path.open("xb") as file:
        if isinstance(data, bytes):
            file.write(data)
        else:
            for offset, length in data.pieces():
                file.seek(offset)
                file.write(data.read(offset, length))
            file.truncate(data.size)
        file.flush()
        os.fsync(file.fileno())


def _equals(path: Path, data: bytes | Data) -> bool:
    with path.open("rb") as file:
        if isinstance(data, bytes):
            return file.read(len(data) + 1) == data
        at = 0
        for offset, length in data.pieces():
            if any(file.read(offset - at)) or file.read(length) != data.read(offset, length):
                return False
            at = offset + length
        return not any(file.read(data.size - at))
