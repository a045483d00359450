"""The placing half of a restore: entries become files in a target folder.

``Placer`` is the one of the running system; all have the same methods.  POSIX systems walk by folder descriptors,
Windows by paths whose every step is checked.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from safehold.sources.files.placing.windows import Folder as Folder
    from safehold.sources.files.placing.windows import Placer as Placer
else:
    from safehold.sources.files.placing.folders import Folder as Folder
    from safehold.sources.files.placing.posix import Placer as Placer
