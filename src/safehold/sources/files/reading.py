"""Reading a file by descriptor and place."""

from __future__ import annotations

from safehold.sources.files.folders import read_at


def read_bytes(descriptor: int, length: int, offset: int) -> bytes:
    """Bytes at an offset, however many calls that takes; fewer at the file's end."""
    data = read_at(descriptor, length, offset)
    while 0 < len(data) < length:
        more = read_at(descriptor, length - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data
