"""Mounting a repository's snapshots as read-only folders."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType

assert sys.platform != "win32"  # there is no FUSE; the command refuses before it comes here

import msgspec

from safehold.core.errors import MountError
from safehold.repo.repository import Repository
from safehold.views.catalog import FRESH_SECONDS, Catalog
from safehold.views.operations import Operations

DEVICE = Path("/dev/fuse")
CONFIGURATION = Path("/etc/fuse.conf")
ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
HINT = "Install FUSE (Debian and Ubuntu: `apt install fuse3`; Fedora: `dnf install fuse3`; macOS: macFUSE)."

_UNFIT = {
    errno.ENOENT: "Make its parent folder first.",
    errno.ENOTDIR: "Name a folder.",
    errno.ENOTCONN: "A mount that died is still there: `fusermount3 -u {}`.",
}


def nothing() -> None:
    """For callers that need not know when the mount is there."""


class MountOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to mount."""

    allow_other: bool = False
    """Other users may look in, too."""
    default_permissions: bool | None = None
    """The kernel checks owners, modes and ACLs as on any disk; None: whenever other users may look in."""
    nonempty: bool = False
    """Mount over a folder that holds something, which is hidden meanwhile."""
    fresh_seconds: float = FRESH_SECONDS
    """A list of snapshots older than this is loaded again when somebody looks."""
    mounted: Callable[[], None] = nothing
    """Called, from some thread, when the mount is there."""


def mount(repository: Repository, directory: str, options: MountOptions | None = None) -> None:
    """Mount all snapshots below ``directory`` and serve them until it is unmounted, or SIGINT, SIGTERM or SIGHUP comes.

    To be called from the main thread, where signals arrive.  Raises ``MountError``, ``NotPermitted`` for a writer, and store
    errors; damage that shows later is reported and makes reads of what it affects fail.
    """
    options = options or MountOptions()
    repository.require_reader()
    binding = _binding(options)
    with _mount_point(Path(directory), options) as place:
        catalog = Catalog(repository, options.fresh_seconds)
        try:
            with _signals_untouched():
                _serve(binding, Operations(catalog, repository.report), place, options)
        finally:
            catalog.close()


def _serve(binding: ModuleType, operations: Operations, place: Path, options: MountOptions) -> None:
    mounted = threading.Event()

    def ready() -> None:
        mounted.set()
        options.mounted()

    try:
        binding.run(operations, str(place), ready, _words(options))
    except RuntimeError as error:
        # libfuse says so, too, when a signal ended it
        if not mounted.is_set():
            raise MountError(f"{place} could not be mounted (see the line of FUSE above).", _why(options)) from error


def _words(options: MountOptions) -> dict[str, object]:
    """The options in FUSE's words.  Snapshots never change, so the kernel may keep what it has seen."""
    checked = options.allow_other if options.default_permissions is None else options.default_permissions
    return {
        "fsname": "safehold",
        "subtype": "safehold",
        "ro": True,
        "use_ino": True,
        "kernel_cache": True,
        "entry_timeout": 3600,
        "attr_timeout": 3600,
        "negative_timeout": 0,
        "allow_other": options.allow_other,
        "default_permissions": checked,
        "nonempty": options.nonempty,
    }


def _binding(options: MountOptions) -> ModuleType:
    """The module that talks to libfuse, which only works where that is installed.  Raises ``MountError``."""
    if sys.platform == "win32":
        raise MountError("Snapshots cannot be mounted on Windows.", "Use `safehold restore`, or `safehold ui`.")
    if sys.platform == "linux":
        _check_linux()
    if options.allow_other and not _others_allowed():
        raise MountError(f"{CONFIGURATION} lets no user show a mount to others.", "Add the line `user_allow_other` there.")
    try:
        return import_module("safehold.views.binding")
    except (OSError, ImportError, AttributeError) as error:
        raise MountError(f"FUSE's library cannot be used: {error}.", HINT) from error


def _check_linux() -> None:
    """Raises ``MountError``."""
    if not DEVICE.exists():
        raise MountError(f"This machine has no {DEVICE}.", "Load its module (`modprobe fuse`); a container must be given it.")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        raise MountError(f"You may not use {DEVICE}.", f"Mount as root, or have root say `chmod 666 {DEVICE}`.")
    if os.geteuid() != 0 and not shutil.which("fusermount3") and not shutil.which("fusermount"):
        raise MountError("The program fusermount3 is not installed, without which only root can mount.", HINT)


def _others_allowed() -> bool:
    if sys.platform != "linux" or os.geteuid() == 0:
        return True
    try:
        return "user_allow_other" in (line.strip() for line in CONFIGURATION.read_text().splitlines())
    except OSError:
        return False


@contextmanager
def _mount_point(place: Path, options: MountOptions) -> Iterator[Path]:
    """An absolute, existing, empty folder; one that is made for this goes again afterwards.  Raises ``MountError``."""
    place = Path(os.path.abspath(place))
    made = False
    try:
        with suppress(FileExistsError):
            place.mkdir()
            made = True
        if any(place.iterdir()) and not options.nonempty:
            raise MountError(
                f"{place} is not empty.", "Name another folder, or allow this one (what it holds is hidden meanwhile)."
            )
    except OSError as error:
        hint = _UNFIT.get(error.errno or 0, "Name a folder that is yours.").format(place)
        raise MountError(f"{place} cannot be mounted upon: {error.strerror}.", hint) from error
    try:
        yield place
    finally:
        if made:
            with suppress(OSError):
                place.rmdir()


@contextmanager
def _signals_untouched() -> Iterator[None]:
    """While FUSE serves, Python cannot handle signals; libfuse unmounts upon those that nobody else has claimed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {name: signal.signal(getattr(signal, name), signal.SIG_DFL) for name in ENDING if hasattr(signal, name)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _why(options: MountOptions) -> str:
    if options.allow_other:
        return f"Only root, or users where {CONFIGURATION} says `user_allow_other`, may use allow_other."
    return "Is the folder yours, and not mounted upon already?"
