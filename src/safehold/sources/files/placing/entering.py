"""Folders of the target: made or opened on the way in, given their attributes on the way out."""

from __future__ import annotations

import os
import stat
import sys

assert sys.platform != "win32"

from safehold.core.entries import KIND_NAMES
from safehold.sources.files.folders import kind_of
from safehold.sources.files.placing.attributes import Attributes, unlock
from safehold.sources.files.placing.existing import Existing, lookup
from safehold.sources.files.placing.folders import Folder, Folders, Spot, open_folder
from safehold.sources.files.placing.removing import open_widened
from safehold.sources.files.placing.terms import Ledger, Options, Outcome
from safehold.sources.files.system import system


class Entering:
    """Makes, opens and finishes folders.  May be used from several threads."""

    def __init__(self, options: Options, ledger: Ledger, attributes: Attributes, folders: Folders, existing: Existing) -> None:
        self._options = options
        self._ledger = ledger
        self._attributes = attributes
        self._folders = folders
        self._existing = existing

    def enter(self, parent: Folder, folder: Folder) -> bool:
        """Make ``folder`` usable; False if it must be left out (then that was told).  Raises OSError."""
        if parent.missing:
            return self._would_make(folder, Outcome.CREATED)
        with self._folders.using(parent) as above:
            if not self._provide(above, parent, folder):
                return False
            if not folder.missing:
                self._open(above, parent, folder)
        return True

    def finish(self, folder: Folder) -> None:
        """Put the folder's attributes on, now that all in it is done.  Raises OSError."""
        entry = folder.entry
        if entry is None or folder.missing:
            return
        spot = Spot(folder.parent or folder, -1, entry)
        with self._folders.using(folder) as fd:
            if folder.fresh:
                self._attributes.finish(fd, spot, fresh=True)
                self._ledger.done(Outcome.CREATED, folder)
            elif self._options.overwrite == "never" or self._options.dry_run:
                self._narrow(fd, folder)
                self._ledger.done(Outcome.KEPT, folder)
            else:
                same = self._attributes.open_right(fd, spot)
                if not same:
                    self._attributes.finish(fd, spot, fresh=False)
                self._ledger.done(Outcome.KEPT if same else Outcome.CHANGED, folder)

    def _provide(self, above: int, parent: Folder, folder: Folder) -> bool:
        """Have a folder under that name, or know that a dry run would make it."""
        found = None if parent.fresh else lookup(above, folder.name)
        if found is None:
            return self._make(above, folder, Outcome.CREATED)
        if stat.S_ISDIR(found.st_mode):
            return True
        if self._options.overwrite == "never":
            kind = KIND_NAMES[max(kind_of(found.st_mode), 0)]
            hint = "restore with --overwrite always, or into another folder"
            self._ledger.failed("in-the-way", f"A {kind} is where a folder belongs", folder.path(), hint)
            return False
        return self._existing.clear(parent, above, folder.name, found) and self._make(above, folder, Outcome.REPLACED)

    def _make(self, above: int, folder: Folder, outcome: Outcome) -> bool:
        if self._options.dry_run:
            return self._would_make(folder, outcome)
        try:
            os.mkdir(folder.name, 0o700, dir_fd=above)
            folder.fresh = True
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(folder.name, dir_fd=above, follow_symlinks=False).st_mode):
                raise
        if outcome is Outcome.REPLACED:
            self._ledger.tell(outcome, folder.path())
        return True

    def _would_make(self, folder: Folder, outcome: Outcome) -> bool:
        folder.missing = True
        self._ledger.done(outcome, folder)
        return True

    def _open(self, above: int, parent: Folder, folder: Folder) -> None:
        fd = open_folder(folder.name, above) if self._options.dry_run else open_widened(folder.name, above)
        try:
            self._prepare(fd, parent, folder)
            self._folders.add(folder, fd)
        except BaseException:
            if folder.fd < 0:
                os.close(fd)
            raise

    def _prepare(self, fd: int, parent: Folder, folder: Folder) -> None:
        """See to it that files can be made in the folder, and inherit nothing that they should not have."""
        assert folder.entry is not None
        if folder.fresh:
            if parent.default_acl:
                self._attributes.strip_inherited(fd)
            return
        folder.default_acl = system.has_default_acl(fd)
        if not self._options.dry_run:
            unlock(fd, folder.entry)
            found = os.fstat(fd)
            if found.st_mode & 0o300 != 0o300 and found.st_uid == os.geteuid():
                folder.widened = stat.S_IMODE(found.st_mode)
                os.fchmod(fd, folder.widened | 0o700)

    def _narrow(self, fd: int, folder: Folder) -> None:
        if folder.widened is not None:
            os.fchmod(fd, folder.widened)
