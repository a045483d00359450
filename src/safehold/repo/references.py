"""What an entry's content refers to: the chunks that have to live as long as it does."""

from __future__ import annotations

from collections.abc import Iterator

from safehold.core.entries import Entry
from safehold.core.errors import FormatError
from safehold.repo import contents
from safehold.repo.reader import ChunkReader
from safehold.repo.seals import ID_SIZE, MAP


def direct_chunks(entry: Entry) -> bytes:
    """The ids of the chunks that an entry lists itself, in a row.  Raises ``FormatError``."""
    if len(entry.content) % ID_SIZE:
        raise FormatError(f"The entry {entry.name!r} does not list whole chunk ids.")
    return entry.content


def mapped_chunks(reader: ChunkReader, entry: Entry) -> Iterator[bytes]:
    """The ids of every chunk below an entry's map, the map's own chunks too, many in a row.  Raises ``DamageError``."""
    assert entry.more is not None and entry.more.map is not None
    if entry.more.paged:
        raise FormatError(f"The entry {entry.name!r} is a paged file, which this program cannot follow.")
    yield entry.more.map
    for part in contents.map_ids(reader, entry.more.map):
        yield part
        yield b"".join(name for name, _ in contents.ROW.iter_unpack(reader.read(MAP, part)))
