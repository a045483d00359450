"""From ``s3://bucket/prefix``, ``gs://`` or ``az://`` and the usual variables to a client of that service."""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from safehold.core.errors import UsageError
from safehold.storage.cloud.failures import no_credentials, unusable
from safehold.storage.options import StoreOptions

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

    Client = S3Store | GCSStore | AzureStore

_PLACE = re.compile(r"(s3|gs|az)://([a-zA-Z0-9][a-zA-Z0-9._-]*)(?:/+(.*?))?/*")
_PART = re.compile(r"[A-Za-z0-9._-]+")
CONNECT_SECONDS = 15
REQUEST_SECONDS = 900
"""For the whole of a request: a pack of 32 MiB at 40 kB/s."""
_ELSEWHERE = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
"""Variables that say where credentials are to be had; ``obstore`` asks there itself."""


class Place(NamedTuple):
    """A bucket (Azure: container), and what stands before every key in it: empty, or ends with a slash."""

    kind: str
    bucket: str
    prefix: str

    @property
    def location(self) -> str:
        """As a user writes it."""
        return f"{self.kind}://{self.bucket}/{self.prefix}".rstrip("/")


def parse(location: str) -> Place:
    """The place that ``location`` names.  Raises ``UsageError``."""
    match = _PLACE.fullmatch(location)
    prefix = match[3] or "" if match else ""
    if not match or any(not _PART.fullmatch(part) or part in (".", "..") for part in prefix.split("/") if prefix):
        kind = location.partition(":")[0]
        raise UsageError(
            f"{location} is no place in a bucket.",
            f"Write {kind}://bucket or {kind}://bucket/prefix; a prefix has letters, digits and . _ - only.",
        )
    return Place(match[1], match[2], f"{prefix}/" if prefix else "")


def connect(place: Place, options: StoreOptions) -> Client:
    """The client.  It retries nothing by itself: that is the retry wrapper's.  Raises ``UsageError``, ``StoreRefused``."""
    from obstore.exceptions import BaseError

    try:
        return _client(place, options)
    except (BaseError, ValueError) as error:
        raise unusable(error, place.location) from error


def _client(place: Place, options: StoreOptions) -> Client:
    from obstore.store import AzureStore, GCSStore, S3Store

    address = _address(place, options)
    client: Any = {
        "timeout": timedelta(seconds=REQUEST_SECONDS),
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "allow_http": address.startswith("http://"),
    }
    authorities = options.environ.get("AWS_CA_BUNDLE") or options.environ.get("SSL_CERT_FILE")
    if authorities:
        client["root_certificate"] = _text(authorities)
    retry: Any = {"max_retries": 0}
    if place.kind == "gs":
        base: Any = {"base_url": address} if address else {}
        return GCSStore(place.bucket, config=base, client_options=client, retry_config=retry)
    if place.kind == "az":
        at: Any = {"endpoint": address} if address else {}
        return AzureStore(place.bucket, config=at, client_options=client, retry_config=retry)
    return S3Store(place.bucket, config=s3_settings(place, options), client_options=client, retry_config=retry)


def _address(place: Place, options: StoreOptions) -> str:
    """The address that was set, by option, variable or file; empty for the vendor's own.  Raises ``UsageError``."""
    if place.kind == "s3":
        return str(s3_settings(place, options).get("endpoint", ""))
    return _checked(options.endpoint or (options.environ.get("AZURE_STORAGE_ENDPOINT", "") if place.kind == "az" else ""))


def _checked(endpoint: str) -> str:
    if endpoint and not re.match("https?://", endpoint):
        raise UsageError(f"The endpoint {endpoint} is no address.", "It begins with https:// (or http://).")
    return endpoint.rstrip("/")


def s3_settings(place: Place, options: StoreOptions) -> Any:
    """What ``obstore`` is told of S3: ``region``, ``endpoint``, and keys where a profile has them.  Raises ``UsageError``."""
    environ = options.environ
    profile = {} if environ.get("AWS_ACCESS_KEY_ID") else _profile(environ)
    endpoint = (
        options.endpoint
        or environ.get("AWS_ENDPOINT_URL_S3")
        or environ.get("AWS_ENDPOINT_URL")
        or environ.get("AWS_ENDPOINT")
        or profile.get("endpoint_url", "")
    )
    endpoint = _checked(endpoint)
    region = options.region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or profile.get("region")
    config = {"region": region or "us-east-1"}
    if endpoint:
        config["endpoint"] = endpoint
    if "aws_access_key_id" in profile:
        config["access_key_id"] = profile["aws_access_key_id"]
        config["secret_access_key"] = profile.get("aws_secret_access_key", "")
        if profile.get("aws_session_token"):
            config["session_token"] = profile["aws_session_token"]
    elif endpoint and not environ.get("AWS_ACCESS_KEY_ID") and not any(name in environ for name in _ELSEWHERE):
        raise no_credentials(place.location)
    if not endpoint:
        config["checksum_algorithm"] = "sha256"
    return config


def _profile(environ: Mapping[str, str]) -> dict[str, str]:
    """The keys of a profile from the files that Amazon's own programs share; empty where there is none."""
    home = Path(environ.get("HOME") or Path.home()) / ".aws"
    name = environ.get("AWS_PROFILE") or "default"
    found: dict[str, str] = {}
    for variable, file, section in (
        ("AWS_CONFIG_FILE", "config", name if name == "default" else f"profile {name}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", name),
    ):
        parser = configparser.RawConfigParser()
        path = Path(environ.get(variable) or home / file).expanduser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise UsageError(f"{path} cannot be read: {str(error).splitlines()[0]}.") from error
        if parser.has_section(section):
            found |= parser.items(section)
    return found


def _text(file: str) -> str:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The certificates in {file} cannot be read: {error}.") from error
