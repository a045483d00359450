"""An object on its way to a disc: cut into frames in memory as it comes, since its key is known only at its end."""

from __future__ import annotations

from collections.abc import Callable

from safehold.core.errors import StoreError
from safehold.storage.keys import check_key
from safehold.storage.store import Buffer
from safehold.storage.volumes.frames import HEAD_SIZE, HEADER

BLOCK = 4 << 20
"""Bytes of frames that are kept, sealed and written together."""
KIND_AT = 8
"""The byte of a pack that says what is in it (``docs/format/packs.md``)."""


_KEPT = 36
"""Blocks that are kept for later: those of four packs."""
_FREE: list[bytearray] = []


def _block() -> bytearray:
    """Room for frames, with anything in it."""
    try:
        return _FREE.pop()
    except IndexError:
        return bytearray(BLOCK)


class Body:
    """The frames of one object, with payloads and without headers."""

    def __init__(self, frame_size: int) -> None:
        self.frame_size = frame_size
        self.payload = frame_size - HEADER
        self.blocks: list[bytearray] = []
        self.length = HEAD_SIZE
        """Bytes of the object's stream: its head, and what came after."""
        self._room = 0
        """Bytes left in the last frame."""
        self._begun = 0
        self._at = 0
        """Where in the last block the next byte goes."""
        self._grow()
        self._at += HEAD_SIZE
        self._room -= HEAD_SIZE

    @property
    def size(self) -> int:
        """Bytes of the object."""
        return self.length - HEAD_SIZE

    @property
    def frames(self) -> int:
        return -(-self.length // self.payload)

    def append(self, data: memoryview) -> None:
        """Take in bytes."""
        self.length += len(data)
        while data:
            if not self._room:
                self._grow()
            here = data[: self._room]
            count = len(here)
            self.blocks[-1][self._at : self._at + count] = here
            self._at += count
            self._room -= count
            data = data[count:]

    def begin(self, head: bytes) -> None:
        """Put the head where it belongs."""
        self.blocks[0][HEADER : HEADER + len(head)] = head

    def byte(self, number: int) -> int:
        """A byte of the object, of its first frame."""
        return self.blocks[0][HEADER + HEAD_SIZE + number]

    def content(self) -> bytes:
        """The object whole."""
        parts = []
        left = self.length
        for block in self.blocks:
            for at in range(0, len(block), self.frame_size):
                take = min(self.payload, left)
                parts.append(memoryview(block)[at + HEADER : at + HEADER + take])
                left -= take
        return b"".join(parts)[HEAD_SIZE:]

    def cut(self, first: int, count: int) -> list[bytearray]:
        """Some of the frames as blocks, of which none crosses a block's end; whole ones without a copy."""
        per_block = BLOCK // self.frame_size
        found = []
        while count:
            number, begin = divmod(first, per_block)
            here = min(count, per_block - begin)
            block = self.blocks[number]
            if begin or here * self.frame_size < len(block):
                block = block[begin * self.frame_size : (begin + here) * self.frame_size]
            found.append(block)
            first, count = first + here, count - here
        return found

    def _grow(self) -> None:
        """Begin the next frame; blocks grow from small to full, as most objects are small."""
        last = self.blocks[-1] if self.blocks else b""
        at = (self._begun % (BLOCK // self.frame_size)) * self.frame_size
        if at == 0:
            self.blocks.append(bytearray(self.frame_size) if not last else _block())
        elif at >= len(last):
            self.blocks[-1].extend(bytes(BLOCK - len(last)))
        self._begun += 1
        self._at = at + HEADER
        self._room = self.payload

    def finish(self) -> None:
        """Cut off what the last block has too much; behind the last byte are zeros."""
        whole = self.frames - (len(self.blocks) - 1) * (BLOCK // self.frame_size)
        del self.blocks[-1][whole * self.frame_size :]
        self.blocks[-1][self._at :] = bytes(len(self.blocks[-1]) - self._at)

    def release(self) -> None:
        """Its memory may serve the next: getting it from the system anew each time is dear."""
        while self.blocks:
            block = self.blocks.pop()
            if len(block) == BLOCK and len(_FREE) < _KEPT:
                _FREE.append(block)


class DiscUpload:
    """``publish(body, key)`` gives the object its place and key."""

    def __init__(self, frame_size: int, publish: Callable[[Body, str], None]) -> None:
        self._body: Body | None = Body(frame_size)
        self._publish = publish

    def write(self, data: Buffer) -> None:
        self._open().append(memoryview(data).cast("B"))

    def commit(self, key: str) -> None:
        body = self._open()
        check_key(key)
        self._body = None
        body.finish()
        self._publish(body, key)

    def abort(self) -> None:
        self._body = None

    def _open(self) -> Body:
        if self._body is None:
            raise StoreError("This upload has ended already.")
        return self._body
