"""One call of a command: its values, and by them the repository, the key, the cache and the output."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from safehold.cli import credentials, settings
from safehold.cli.render import output
from safehold.cli.settings import Named, Settings
from safehold.core.clock import SystemClock
from safehold.core.errors import RepositoryMissing, SafeholdError, SourceIncomplete, UsageError

if TYPE_CHECKING:
    from safehold.cli.volume_sets import VolumeSession
    from safehold.repo.keys.unlock import Credential
    from safehold.repo.repository import Repository
    from safehold.storage.online.address import Address
    from safehold.storage.online.api import Api
    from safehold.storage.online.store import OnlineStore
    from safehold.storage.store import Store

CACHE_TAG = (
    b"Signature: 8a477f597d28d172789f06886806bc55\n# Safehold's cache; it can be deleted.\n# https://bford.info/cachedir/\n"
)


class Closing(Protocol):
    """What is closed at the end of a call."""

    def close(self) -> None:
        """Let go of it."""


class Call:
    """What a command is given.  Use as a context manager: it closes what was opened."""

    def __init__(
        self, values: argparse.Namespace, environ: Mapping[str, str], command: str = "", words: Sequence[str] = ()
    ) -> None:
        """``command``: its own words, such as ``key list``; ``words``: all that was said."""
        self.values = values
        self.environ = environ
        self.command = command
        self.words = words
        self.clock = SystemClock()
        self.out = output.choose(as_json=values.json, quiet=values.quiet, monotonic=self.clock.monotonic)
        self._opened: list[Closing] = []
        self._repository: Repository | None = None
        self.online_store: OnlineStore | None = None
        """The store on a server of ours, if one was opened."""
        self._sessions: list[VolumeSession] = []
        self.volumes: VolumeSession | None = None
        """The volume set, if the repository is one."""

    def __enter__(self) -> Call:
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            if exception[0] is None or isinstance(exception[1], SourceIncomplete):
                for session in self._sessions:
                    session.finish()
        finally:
            self._close()

    def closing(self, opened: Closing) -> None:
        """Close it at the end."""
        self._opened.append(opened)

    def _close(self) -> None:
        self.out.settle()
        if self.online_store is not None and self.online_store.has_moved:
            self._remember_history(self.online_store)
        for store in reversed(self._opened):
            store.close()

    @property
    def config_file(self) -> Path:
        """The configuration file, whether there is one or not."""
        named = self.values.config or self.environ.get("SAFEHOLD_CONFIG", "")
        if named:
            return Path(named).expanduser()
        import platformdirs

        return Path(platformdirs.user_config_dir("safehold", False)) / "config.toml"

    @cached_property
    def settings(self) -> Settings:
        """The configuration.  Raises ``ConfigError``."""
        return settings.load(self.config_file, required=bool(self.values.config or self.environ.get("SAFEHOLD_CONFIG")))

    @cached_property
    def place(self) -> Named:
        """Which repository is meant.  Raises ``UsageError`` if none is."""
        wanted = self.values.repository or self.environ.get("SAFEHOLD_REPO") or self.settings.default
        if not wanted:
            raise UsageError(
                "No repository was named.", "Use --repo REPO, SAFEHOLD_REPO, or `repository = ...` in the configuration file."
            )
        return self.named(wanted)

    def named(self, wanted: str) -> Named:
        """A repository by its name in the configuration, or by its place."""
        return self.settings.repositories.get(wanted) or Named(location=wanted)

    @cached_property
    def cache(self) -> Path:
        """The folder of the local cache; made, and marked as one."""
        chosen = self.environ.get("SAFEHOLD_CACHE_DIR") or self.settings.cache_dir
        if not chosen:
            import platformdirs

            chosen = platformdirs.user_cache_dir("safehold", False)
        folder = Path(chosen).expanduser().absolute()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            tag = folder / "CACHEDIR.TAG"
            if not tag.exists():
                tag.write_bytes(CACHE_TAG)
        except OSError as error:
            raise UsageError(
                f"The cache folder {folder} cannot be used: {error.strerror}.", "Set SAFEHOLD_CACHE_DIR to a folder of yours."
            ) from error
        return folder

    def store(self, place: Named, *, create: bool = False, fresh: bool = False) -> Store:
        """The store of a repository, closed at the end; ``fresh``: all is read from the store itself, never from the local cache.

        Raises ``StoreUnreachable``, ``RepositoryMissing``, ``UsageError``.
        """
        from safehold.cli import distant
        from safehold.core.errors import StoreUnreachable
        from safehold.storage.open import is_distant, open_store

        if place.location.startswith(("https://", "http://")):
            return self._online_store(place, create)
        if place.location.startswith("volumes:"):
            return self._volume_store(place, create)
        if is_distant(place.location):
            opened = distant.open_distant(self, place, create=create)
            self._opened.append(opened)
            return opened if fresh else distant.cached(self, opened)
        try:
            store = open_store(place.location, create)
        except StoreUnreachable as error:
            parent = Path(place.location).expanduser().parent
            if create or not os.path.isdir(parent):  # also: a mount point whose FUSE program has died
                raise
            raise RepositoryMissing(
                f"There is no repository at {place.location}.", "`safehold init` makes one; if it is on a drive, is it mounted?"
            ) from error
        self._opened.append(store)
        return store

    def _volume_store(self, place: Named, create: bool) -> Store:
        from safehold.storage.open import open_store
        from safehold.storage.options import StoreOptions

        if create:
            raise UsageError(
                f"{place.location} is made by `safehold volumes create`.", "`safehold volumes add` then adds drives."
            )
        store = open_store(place.location, options=StoreOptions(state=self.state))
        self._opened.append(store)
        return store

    def _online_store(self, place: Named, create: bool) -> Store:
        from safehold.cli import distant
        from safehold.cli.logins import Logins, open_online
        from safehold.core.events import Warn
        from safehold.storage.open import patient

        def warn(message: str) -> None:
            self.out.report(Warn(code="server", message=message, hint=""))

        online = open_online(place.location, Logins(self.state, self.environ), self.clock, warn, create=create)
        self._opened.append(online)
        self.online_store = online
        return patient(online, distant.options(self, place), self.clock)

    def _remember_history(self, store: OnlineStore) -> None:
        """What was just added is part of what the server must show next time."""
        from contextlib import suppress

        from safehold.cli.logins import Logins, follow

        with suppress(SafeholdError):  # then it is compared from an older entry on
            follow(store, Logins(self.state, self.environ), store.about())

    def online(self) -> tuple[Address, Api]:
        """The online repository that is meant, and requests to its server.  Raises ``UsageError``, ``StoreRefused``."""
        from safehold.cli.logins import Logins, connect
        from safehold.storage.online.address import parse

        if not self.place.location.startswith(("https://", "http://")):
            raise UsageError(f"{self.place.location} is not on an online server.", "This is for https://HOST/ACCOUNT/REPOSITORY.")
        address = parse(self.place.location, repository=True)
        api = connect(address, Logins(self.state, self.environ).find(address))
        self._opened.append(api)
        return address, api

    def server(self) -> tuple[str, Api]:
        """The server that is meant, by itself or by a repository on it, and requests to it.  Raises as ``online``."""
        from safehold.cli.logins import Logins, connect
        from safehold.storage.online.address import parse

        if not self.place.location.startswith(("https://", "http://")):
            raise UsageError(f"{self.place.location} is no online server.", "This is for https://HOST.")
        address = parse(self.place.location, repository=False)
        api = connect(address, Logins(self.state, self.environ).find(address))
        self._opened.append(api)
        return address.server, api

    def credential(self, place: Named | None = None, *, new: bool = False) -> Credential:
        """What opens the repository.  Raises ``UsageError``, ``WrongKey``."""
        values = self.values
        given = credentials.Given(values.password_file, values.key_file, values.recovery)
        return credentials.find(given, self.environ, place or self.place, new=new)

    @cached_property
    def state(self) -> Path:
        """The folder of what must outlive the cache: lists, spools.  Not made here."""
        chosen = self.environ.get("SAFEHOLD_STATE_DIR", "")
        if not chosen:
            import platformdirs

            chosen = platformdirs.user_state_dir("safehold", False)
        return Path(chosen).expanduser().absolute()

    def repository(self, wrap: Callable[[Store], Store] | None = None, *, fresh: bool = False) -> Repository:
        """The repository, opened once, its store perhaps wrapped; ``fresh`` as ``store`` has it.

        Raises ``RepositoryMissing``, ``RepositoryTooNew``, ``WrongKey``, ``StoreUnreachable``.
        """
        if self.place.location.startswith("volumes:"):
            return self._of_volumes(wrap)
        if wrap is not None:
            return self._open(wrap, fresh)
        if self._repository is None:
            self._repository = self._open(lambda store: store, fresh)
        return self._repository

    def _of_volumes(self, wrap: Callable[[Store], Store] | None) -> Repository:
        from safehold.cli.volume_sets import of_place

        if self.volumes is None:
            self.volumes = of_place(self, self.place, self.credential)
            self._sessions.append(self.volumes)
        if wrap is not None:
            return self.volumes.repository(wrap)
        if self._repository is None:
            self._repository = self.volumes.repository()
        return self._repository

    def repositories(self, repository: Repository) -> Iterator[Repository]:
        """A repository, or of a volume set each that is here: what is done to all drives is done one by one."""
        if self.volumes is None:
            yield repository
        else:
            yield from self.volumes.all_views()

    def _open(self, wrap: Callable[[Store], Store], fresh: bool) -> Repository:
        from safehold.repo import config
        from safehold.repo.repository import open_repository

        store = wrap(self.store(self.place, fresh=fresh))
        config.read(store)  # before anybody is asked for a passphrase
        return open_repository(store, self.credential(), self.cache, clock=self.clock, report=self.out.report)

    def other_repository(self, wanted: str, password_file: str, key_file: str) -> Repository:
        """A second repository, by place or name.

        Its key is given by options, by variables that begin with SAFEHOLD_TO_, or in the configuration; else the passphrase of
        the first one is tried, where that was given and not typed.
        """
        from safehold.repo import config
        from safehold.repo.repository import open_repository

        place = self.named(wanted)
        store = None if place.location.startswith("volumes:") else self.store(place)
        if store is not None:
            config.read(store)
        prefix = "SAFEHOLD_TO_"
        environ = {f"SAFEHOLD_{name.removeprefix(prefix)}": v for name, v in self.environ.items() if name.startswith(prefix)}
        given = credentials.Given(password_file, key_file)
        if given == credentials.Given() and not environ and not (place.password_file or place.password_command or place.key_file):
            given = credentials.Given(self.values.password_file)
            environ = {name: value for name, value in self.environ.items() if name.startswith("SAFEHOLD_PASSWORD")}
        if store is None:
            from safehold.cli.volume_sets import of_place

            session = of_place(self, place, lambda: credentials.find(given, environ, place), writing=True)
            self._sessions.append(session)
            return session.repository()
        credential = credentials.find(given, environ, place)
        return open_repository(store, credential, self.cache, clock=self.clock, report=self.out.report)
