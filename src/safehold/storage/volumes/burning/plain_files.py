"""The plain files of a disc: README.TXT for a person, VOLUME.JSN for programs, RESTORE.PYZ; and the directory that shows them."""

from __future__ import annotations

import msgspec

from safehold.storage.volumes import iso
from safehold.storage.volumes.burning.readme import readme
from safehold.storage.volumes.burning.restore_program import LIMIT, NAME, restore_program
from safehold.storage.volumes.catalogue import Catalogue, Volume, VolumeSet
from safehold.storage.volumes.media.medium import SECTOR, Extent
from safehold.storage.volumes.profiles import profile

README = "README.TXT"
IDENTITY = "VOLUME.JSN"
_README_LIMIT = 8 << 10
_IDENTITY_LIMIT = 2 << 10
_PROGRAM_FROM = 64 << 20
"""Bytes of capacity from which on the restore program is on every volume."""


class DiscIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What anyone may read of a disc: VOLUME.JSN."""

    safehold: str = "volume"
    version: int = 1
    kind: str = "discs"
    set: str
    """The set's id: 16 bytes in hex."""
    name: str
    """The set's name."""
    uuid: str
    """The volume's own: 16 bytes in hex."""
    number: int
    generation: int
    media: str
    capacity: int
    frame: int
    """Bytes of a frame."""
    inner: str
    """Parity inside the volume."""
    parity: str
    """Parity across volumes."""
    holds_parity: bool
    """The volume holds parity across others."""


class PlainFiles:
    """The ``Finisher`` of sets of discs."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._set = catalogue.set
        self._media = profile(self._set.media, self._set.capacity)
        self._program = restore_program() if self._media.optical and self._media.capacity >= _PROGRAM_FROM else b""

    @property
    def extras_bytes(self) -> int:
        return _README_LIMIT + _IDENTITY_LIMIT + (LIMIT if self._program else 0)

    def extras(self, volume: Volume) -> list[tuple[str, bytes]]:
        files = [(README, readme(self._set, volume, self._media, bool(self._program)))]
        files.append((IDENTITY, msgspec.json.format(msgspec.json.encode(self.identity(volume)), indent=2) + b"\n"))
        if self._program:
            files.append((NAME, self._program))
        return files

    def directory(self, volume: Volume, reserved: int, start_sector: int, extents: list[Extent]) -> bytes:
        return iso.directory(title(self._set, volume), start_sector, extents, start_sector + reserved // SECTOR)

    def identity(self, volume: Volume) -> DiscIdentity:
        """What VOLUME.JSN says."""
        kept = self._set
        return DiscIdentity(
            set=kept.id,
            name=kept.name,
            uuid=volume.uuid,
            number=volume.number,
            generation=volume.generation,
            media=kept.media,
            capacity=self._media.capacity,
            frame=self._media.frame,
            inner=kept.inner,
            parity=kept.parity,
            holds_parity=volume.parity,
        )


def title(volume_set: VolumeSet, volume: Volume) -> iso.Title:
    """What a disc is called: not by its label, which is private."""
    return iso.Title(f"{volume_set.name}_{volume.number:03}", volume_set.id, volume.written_ns or volume.seen_ns)
