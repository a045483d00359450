"""Buckets on S3 servers of the tests."""

from __future__ import annotations

from contextlib import suppress

import obstore
from obstore.exceptions import GenericError
from obstore.store import S3Store


def make_bucket(endpoint: str, name: str, key: str, secret: str) -> None:
    """Make a bucket, or find it made."""
    store = S3Store(
        name,
        config={"endpoint": endpoint, "region": "us-east-1", "access_key_id": key, "secret_access_key": secret},
        client_options={"allow_http": True},
    )
    with suppress(GenericError):  # it is made, and answers without the tag that an object would have
        obstore.put(store, "", b"", use_multipart=False)
    list(obstore.list(store))
