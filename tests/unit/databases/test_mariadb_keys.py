"""Which plugins a private server is told to load for a base."""

from __future__ import annotations

from pathlib import Path

import pytest

from safehold.core.errors import DatabaseFailed
from safehold.sources.mariadb import keys

DEBIAN = "provider_bzip2=provider_bzip2;provider_lz4=provider_lz4"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("provider_bzip2", "provider_lz4", "file_key_management"):
        (tmp_path / f"{name}.so").touch()
    return tmp_path


def test_every_plugin_of_the_server_is_loaded(folder: Path) -> None:
    key = folder / "keys"
    key.touch()
    conf = {"plugin_dir": f'"{folder}"', "plugin_load": f"file_key_management;{DEBIAN}", "file_key_management_filename": str(key)}
    assert keys.options(conf, []) == {
        "plugin_dir": str(folder),
        "plugin_load_add": "file_key_management;provider_bzip2;provider_lz4",
        "file_key_management_filename": str(key),
    }


def test_compression_that_is_not_here_may_not_be_needed(folder: Path) -> None:
    (folder / "provider_lz4.so").unlink()
    assert keys.options({"plugin_load": DEBIAN}, [str(folder)]) == {}
    found = keys.options({"plugin_load": f"{DEBIAN};file_key_management=file_key_management"}, [str(folder)])
    assert found == {"plugin_dir": str(folder), "plugin_load_add": "file_key_management"}


def test_a_plugin_with_keys_must_be_here(folder: Path) -> None:
    with pytest.raises(DatabaseFailed, match="the plugin hashicorp_key_management, which is not"):
        keys.options({"plugin_load": f"{DEBIAN};hashicorp_key_management"}, [str(folder)])
    assert keys.options({}, []) == {}
