"""One range of an object, as HTTP asks for it."""

from __future__ import annotations

import re

from safehold.server.errors import Refusal

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class RangeNotSatisfiable(Refusal):
    """The range lies outside the object."""

    status, code = 416, "range"


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """Offset and length of the one range that a header asks for; None: the whole object.

    What is not understood is ignored (RFC 9110, 14.2).  Raises ``RangeNotSatisfiable``.
    """
    match = _RANGE.fullmatch(header.strip())
    if not match or not (match[1] or match[2]):
        return None
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
        if match[2] and int(match[2]) < start:
            return None
    if start >= size or end <= start:
        raise RangeNotSatisfiable(f"The object has {size} bytes.", headers={"Content-Range": f"bytes */{size}"})
    return start, end - start
