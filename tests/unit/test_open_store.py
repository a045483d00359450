"""From a place to a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from safehold.core.errors import StoreUnreachable, UsageError
from safehold.storage.open import open_store


def test_a_path_is_a_local_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreUnreachable):
        open_store(str(tmp_path / "new"))
    open_store(str(tmp_path / "new"), create=True).put("a", b"x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for location in ("new", "./new", "~/new"):
        store = open_store(location)
        assert store.location == str(tmp_path / "new") and store.get("a") == b"x"
    open_store("./s3:odd", create=True)
    open_store("odd:name", create=True)
    assert (tmp_path / "s3:odd").is_dir() and (tmp_path / "odd:name").is_dir()


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("s3:///folder", "no place in a bucket"),
        ("S3:bucket", "no place in a bucket"),
        ("sftp://host", "by SFTP"),
        ("https://example.org/", "online"),
        ("volumes:usb", "volume sets"),
        ("gopher://host", "gopher"),
        ("", "empty"),
    ],
)
def test_what_cannot_be_reached_is_told_and_nothing_is_made(
    location: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=told) as caught:
        open_store(location, create=True)
    assert caught.value.hint and list(tmp_path.iterdir()) == []
