"""What a mount answers to the kernel, in terms of paths, handles and errno; knows nothing of FUSE's library."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial, wraps
from itertools import count
from typing import Concatenate, ParamSpec, TypeAlias, TypeVar, cast

assert sys.platform != "win32"  # there is no FUSE; the command refuses before it comes here

import msgspec
from blake3 import blake3

from safehold.core.entries import DIRECTORY, SYMLINK
from safehold.core.errors import NotPermitted, PathMissing, SafeholdError
from safehold.core.events import Reporter, Warn
from safehold.views import attributes
from safehold.views.attributes import Attributes
from safehold.views.catalog import Catalog, Shelf
from safehold.views.tree import Node, SeekableFile, SnapshotView

REPORTED_MOST = 1000
"""So many damaged paths are reported once each; then the memory of them starts anew."""
FOLDERS_MOST = 20_000
"""So many folders are remembered by path; then the memory of them starts anew."""
BLOCK = 4096
NAME_MOST = 255
NAME_LIMIT = 1024
"""FUSE_NAME_MAX of Linux' fs/fuse."""

P = ParamSpec("P")
T = TypeVar("T")


class Inside(msgspec.Struct, frozen=True, eq=False):
    """A place in a snapshot."""

    view: SnapshotView
    node: Node

    def attributes(self) -> Attributes:
        return attributes.of_node(self.node, self.view.links(self.node))


Place: TypeAlias = "Inside | Shelf | bytes"
"""A folder above the snapshots, a symlink's target there, or a place in a snapshot."""
Line: TypeAlias = "tuple[bytes, Callable[[], Attributes]]"
"""A name in a folder, and how to find out its attributes."""


class Listing:
    """An open folder: its names when it was opened, and their attributes when they are asked for."""

    def __init__(self, lines: list[Line]) -> None:
        self._lines = lines

    def lines(self, offset: int) -> Iterator[tuple[bytes, Attributes, int]]:
        """Name, attributes and the offset to go on from, of each line from ``offset``."""
        for number in range(offset, len(self._lines)):
            name, find = self._lines[number]
            yield name, find(), number + 1


def answered(method: Callable[Concatenate[Operations, P], T]) -> Callable[Concatenate[Operations, P], T]:
    """Turns errors into errno: ENOENT for what is not there, EIO and a warning for damage, and for anything unforeseen."""

    @wraps(method)
    def call(self: Operations, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(self, *args, **kwargs)
        except OSError:
            raise
        except PathMissing as error:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
        except Exception as error:
            self.trouble(args[0] if args else b"", error)
            code = errno.EACCES if isinstance(error, NotPermitted) else errno.EIO
            raise OSError(code, os.strerror(code)) from error

    return cast("Callable[Concatenate[Operations, P], T]", call)


class Operations:
    """The calls of a read-only file system.  Safe to use from several threads.  All raise ``OSError`` and nothing else."""

    def __init__(self, catalog: Catalog, report: Reporter) -> None:
        self._catalog = catalog
        self._report = report
        self._lock = threading.Lock()
        self._handles: dict[int, Listing | tuple[bytes, SeekableFile]] = {}
        self._numbers = count(1)
        self._folders: dict[bytes, Inside] = {}
        """Folders in snapshots by path: what is next asked for mostly lies in one that was seen before."""
        self._reported: set[tuple[str, str]] = set()

    @answered
    def attributes(self, path: bytes) -> Attributes:
        """What ``lstat`` says."""
        return self._attributes(path, self._find(path))

    @answered
    def target(self, path: bytes) -> bytes:
        """Where a symlink points."""
        if path.count(b"/") == 1:
            self._catalog.fresh()  # /latest
        place = self._find(path)
        if isinstance(place, bytes):
            return place
        if isinstance(place, Inside) and place.node.entry.kind == SYMLINK and place.node.entry.more is not None:
            return place.node.entry.more.target or b""
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    @answered
    def open_folder(self, path: bytes) -> int:
        """A handle for ``list``."""
        place = self._find(path)
        if isinstance(place, dict):
            self._catalog.fresh()
            place = self._find(path)
        if isinstance(place, bytes):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return self._keep(Listing([*self._lines(path, place)]))

    def list(self, handle: int, offset: int) -> Iterator[tuple[bytes, Attributes, int]]:
        """Name, attributes and next offset of each line of an open folder from ``offset``."""
        found = self._handles[handle]
        return found.lines(offset) if isinstance(found, Listing) else iter(())

    @answered
    def open_file(self, path: bytes) -> int:
        """A handle for ``read``."""
        place = self._find(path)
        if not isinstance(place, Inside):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        return self._keep((path, place.view.open(place.node)))

    def read(self, handle: int, offset: int, length: int) -> bytes:
        """Bytes of an open file."""
        path, file = self._file(handle)
        return self._read(path, file, offset, length)

    def seek(self, handle: int, offset: int, whence: int) -> int:
        """Where data (``os.SEEK_DATA``) or a hole (``os.SEEK_HOLE``) lies next."""
        _, file = self._file(handle)
        if whence not in (os.SEEK_DATA, os.SEEK_HOLE):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        at = file.data_from(offset) if whence == os.SEEK_DATA else file.hole_from(offset)
        if at is None or offset >= file.size:
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        return at

    def close(self, handle: int) -> None:
        """Forget a handle."""
        with self._lock:
            self._handles.pop(handle, None)

    @answered
    def xattrs(self, path: bytes) -> dict[str, bytes]:
        """Extended attributes, ACLs among them."""
        place = self._find(path)
        more = place.node.entry.more if isinstance(place, Inside) else None
        return (more.xattrs if more else None) or {}

    def volume(self) -> dict[str, int]:
        """What ``statfs`` says: the newest snapshot's size, nothing free."""
        newest = self._catalog.newest()
        totals = newest.stored.snapshot.totals if newest else None
        return {
            "f_bsize": BLOCK,
            "f_frsize": BLOCK,
            "f_blocks": -(-totals.bytes // BLOCK) if totals else 0,
            "f_files": totals.files + totals.directories + totals.others if totals else 0,
            "f_namemax": NAME_MOST,
        }

    def trouble(self, path: object, error: Exception) -> None:
        """Report what went wrong at a path, once."""
        where = os.fsdecode(path) if isinstance(path, bytes) else ""
        line = (where, str(error))
        with self._lock:
            if line in self._reported:
                return
            if len(self._reported) >= REPORTED_MOST:
                self._reported.clear()
            self._reported.add(line)
            code, hint = (error.code, error.hint) if isinstance(error, SafeholdError) else ("mount", "")
            self._report(Warn(code=code, message=str(error) or repr(error), path=where, hint=hint))

    @answered
    def _read(self, path: bytes, file: SeekableFile, offset: int, length: int) -> bytes:
        return file.read(offset, length)

    def _find(self, path: bytes) -> Place:
        """Raises ``PathMissing``.  A name above the snapshots that is not known may have come since."""
        above, _, name = path.rpartition(b"/")
        folder = self._folders.get(above)
        if folder is not None:
            place: Place = Inside(folder.view, folder.view.child(folder.node, name))
        else:
            place = self._find_from_top(path)
        if isinstance(place, Inside) and place.node.entry.kind == DIRECTORY:
            if len(self._folders) >= FOLDERS_MOST:
                self._folders.clear()
            self._folders[path] = place
        return place

    def _find_from_top(self, path: bytes) -> Place:
        try:
            return _walk(self._catalog.top(), path)
        except KeyError:
            try:
                return _walk(self._catalog.fresh(), path)
            except KeyError as error:
                raise PathMissing(f"There is no {os.fsdecode(path)}.") from error

    def _attributes(self, path: bytes, place: Place) -> Attributes:
        if isinstance(place, Inside):
            return place.attributes()
        newest = self._catalog.newest()
        time_ns = newest.stored.snapshot.time_ns if newest else 0
        inode = int.from_bytes(blake3(path).digest(8), "big") | 2
        if isinstance(place, bytes):
            return attributes.of_link(inode, place, time_ns)
        return attributes.of_shelf(inode, time_ns)

    def _lines(self, path: bytes, place: Inside | Shelf) -> Iterator[Line]:
        """The lines of a folder: itself, the one above, and what it holds."""
        yield b".", partial(self._attributes, path, place)
        yield b"..", partial(self.attributes, path.rpartition(b"/")[0] or b"/")
        if isinstance(place, Inside):
            for node in self._presentable(path, place):
                yield node.entry.name, Inside(place.view, node).attributes
        else:
            for name, found in place.items():
                below = Inside(found, found.root) if isinstance(found, SnapshotView) else found
                yield name, partial(self._attributes, path.rstrip(b"/") + b"/" + name, below)

    def _presentable(self, path: bytes, place: Inside) -> Iterator[Node]:
        """What a folder in a snapshot holds, but for names that would make the kernel refuse all of the listing."""
        for node in place.view.children(place.node):
            if len(node.entry.name) <= NAME_LIMIT:
                yield node
            else:
                self.trouble(path, ValueError(f"A name of {len(node.entry.name)} bytes is too long to be shown."))

    def _keep(self, thing: Listing | tuple[bytes, SeekableFile]) -> int:
        with self._lock:
            handle = next(self._numbers)
            self._handles[handle] = thing
            return handle

    def _file(self, handle: int) -> tuple[bytes, SeekableFile]:
        found = self._handles.get(handle)
        if not isinstance(found, tuple):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return found


def _walk(top: Shelf, path: bytes) -> Place:
    """What lies at a path.  Raises ``KeyError`` above the snapshots, ``PathMissing`` within."""
    here: Shelf | SnapshotView | bytes = top
    names = [name for name in path.split(b"/") if name]
    for number, name in enumerate(names):
        if isinstance(here, SnapshotView):
            return Inside(here, here.lookup(b"/".join(names[number:])))
        if isinstance(here, bytes):
            raise KeyError(name)
        here = here[name]
    return Inside(here, here.root) if isinstance(here, SnapshotView) else here
