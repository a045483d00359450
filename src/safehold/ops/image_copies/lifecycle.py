"""An image copy from its making to its end: what is the same for every engine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from safehold.core.errors import ImageError, TargetError
from safehold.ops.image_copies import engines
from safehold.ops.image_copies.cloning import cloned
from safehold.ops.image_copies.images import DATA, STATE, Given, Image, Registry, State


class Running(Protocol):
    """A database that is open."""

    @property
    def url(self) -> str:
        """How to reach it."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which the engine's own programs find it."""


def create(registry: Registry, name: str, source: str, folder: Path, facts: dict[str, str], given: Given) -> State:
    """Make an image copy in a folder that is empty, or where the making of one was interrupted."""
    engine = engines.of_source(source)
    image = Image(folder.absolute())
    try:
        image.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise TargetError(f"{folder} cannot be made: {error.strerror}.", "Choose another folder.") from error
    with image.held():
        _clear(image)
        state = State(
            name=name, engine=engine, source=engines.module(engine).public(source), made_ns=given.clock.now_ns(), facts=facts
        )
        image.save(state)
        registry.add(name, image.folder)
        made: State = engines.module(engine).create(image, state, source, given)
        return made


def update(image: Image, source: str, given: Given) -> State:
    """Roll an image copy forward to now."""
    with image.held():
        state = _whole(image)
        rolled: State = engines.module(state.engine).update(image, state, source or state.source, given)
        return rolled


@contextmanager
def read_only(image: Image) -> Iterator[Running]:
    """An image copy, open for reading; the next roll goes on from where it was."""
    with image.held():
        state = _whole(image)
        with engines.module(state.engine).opened(image, state) as server:
            yield server


@contextmanager
def read_write(image: Image, clone: Path) -> Iterator[Running]:
    """A clone of an image copy, open for writing; the image itself is not touched."""
    with image.held():
        state = _ready(image)
        copy = cloned(image, clone)
    with engines.module(state.engine).promoted(copy, state) as server:
        yield server


def verify(image: Image, *, deep: bool) -> None:
    """Check an image copy.  Raises ``ImageError`` that names what is wrong."""
    with image.held():
        state = _ready(image)
        engine = engines.module(state.engine)
        if not deep:
            engine.verify(image, state)
            return
        if not engine.DEEP_ON_CLONE:
            engine.verify_deep(image, state)
            return
        scratch = image.folder / "verify"
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            engine.verify_deep(cloned(image, scratch), state)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def remove(registry: Registry, name: str, image: Image, source: str) -> None:
    """Give up an image copy, and what the original keeps for it."""
    with image.held():
        state = image.load()
        engines.module(state.engine).give_up(source or state.source, state)
        for path in image.folder.iterdir():
            if path.name in OWN:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    registry.drop(name)


OWN = frozenset(
    {DATA, STATE, "wal", "tablespaces", "verify", "log", "lock", "journal", "scratch"}
    | {"delta", "delta.d", "checkpoints", "reading"}
)
"""What an image copy's folder holds; nothing else in it is ever removed."""


def _whole(image: Image) -> State:
    state = image.load()
    if state.phase == "creating":
        raise ImageError(f"{state.name} was never finished.", "Run `safehold image-copy create` again.")
    return state


def _ready(image: Image) -> State:
    state = _whole(image)
    if state.phase == "rolling":
        raise ImageError(
            f"{state.name} is in the middle of a roll that was interrupted.", "`safehold image-copy update` goes on with it."
        )
    return state


def _clear(image: Image) -> None:
    """Make room: what an interrupted making left goes, anything else is refused."""
    found = {path.name for path in image.folder.iterdir()} - {"lock"}
    if not found:
        return
    if STATE not in found or image.load().phase != "creating" or not found <= OWN:
        raise TargetError(f"{image.folder} is not empty.", "Name a folder that is empty, or is not there yet.")
    for name in found - {STATE}:
        path = image.folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
