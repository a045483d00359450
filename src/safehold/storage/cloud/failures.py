"""What a cloud service answers when it fails, as what a user should know of the store.

``obstore`` has a few classes of exceptions and puts everything else, such as the HTTP status and the service's own code, into the
text; so the text is read here, and in no other place.
"""

from __future__ import annotations

import re

from safehold.core.errors import ObjectExists, ObjectMissing, StoreError, StoreFull, StoreRefused, StoreUnreachable, UsageError

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>\s*(\w+)\s*</Code>|\"(?:reason|code)\": ?\"(\w+)\"")
_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "InvalidBucketName"}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "StorageQuotaExceeded", "XMinioAdminBucketQuotaExceeded"}
_BUSY = {408, 409, 425, 429, 500, 502, 503, 504}
"""HTTP statuses (RFC 9110) of what may go well the next time; 409 is what S3 says to two creators at the same instant."""
_HINTS = {
    "SignatureDoesNotMatch": "The secret key is wrong: check AWS_SECRET_ACCESS_KEY.",
    "InvalidAccessKeyId": "The service does not know this access key: check AWS_ACCESS_KEY_ID.",
    "ExpiredToken": "The credentials have run out; get new ones.",
    "RequestTimeTooSkewed": "This machine's clock is wrong by more than a quarter of an hour: set it right.",
    "AuthorizationFailure": "The account's key is wrong, or does not allow that: check AZURE_STORAGE_ACCOUNT_KEY.",
    "AuthenticationFailed": "The account's key is wrong, or has run out: check AZURE_STORAGE_ACCOUNT_KEY.",
    "AuthorizationHeaderMalformed": "The bucket is in another region: set `region` in the configuration, or AWS_REGION.",
    "PermanentRedirect": "The bucket is in another region: set `region` in the configuration, or AWS_REGION.",
    "AccessDenied": "The credentials do not allow that there: check the bucket's name and the policy of the key.",
}
_METADATA_SERVICES = ("169.254.169.254", "metadata.google.internal", "169.254.170.2")
"""Where a virtual machine of a vendor gets credentials; asked as the last resort."""

_VARIABLES = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


def status_of(error: Exception) -> int:
    """The HTTP status of an answer; 0 where there was none."""
    match = _STATUS.search(str(error))
    return int(match[1]) if match else 0


def is_unsupported(error: Exception) -> bool:
    """Whether the service says that it does not know a condition such as ``If-None-Match``."""
    return status_of(error) == 501 or "NotImplemented" in _code(str(error)) or type(error).__name__ == "NotSupportedError"


def is_taken(error: Exception) -> bool:
    """Whether a creation was refused because the object is there."""
    return type(error).__name__ in ("AlreadyExistsError", "PreconditionError") or status_of(error) == 412


def explained(error: Exception, key: str, location: str) -> StoreError:
    """The error to raise for ``error``, an exception of ``obstore`` met at the object ``key`` of a store."""
    text = str(error)
    code, status = _code(text), status_of(error)
    if any(service in text for service in _METADATA_SERVICES):
        return no_credentials(location)
    if code in _NO_BUCKET:
        return StoreError(f"There is no bucket for {location}.", "Check its name and the endpoint; Safehold makes no buckets.")
    if code in _FULL or status == 507:
        return StoreFull(f"The store {location} is full, or over its quota; {key} could not be stored.", "Free some space there.")
    if is_taken(error):
        return ObjectExists(f"{key} already exists in the store {location}.")
    if isinstance(error, FileNotFoundError) or type(error).__name__ == "NotFoundError" or status == 404:
        return ObjectMissing(f"{key} is missing in the store {location}.")
    if status in (401, 403) or code in _HINTS:
        hint = _HINTS.get(code, "Check the credentials, and what they allow.")
        return StoreRefused(f"The store {location} refuses access{f' ({code})' if code else ''}.", hint)
    if status in _BUSY or not status:
        return _unreachable(text, status, location)
    return StoreError(f"{key} in the store {location}: the service answered {status}{f' {code}' if code else ''}.")


def no_credentials(location: str) -> StoreRefused:
    """Nobody said who asks."""
    variables = _VARIABLES[location.partition(":")[0]]
    hint = f"Set them as docs/stores.md says, such as {variables}."
    return StoreRefused(f"There are no credentials for the store {location}.", hint)


def unusable(error: Exception, location: str) -> StoreError | UsageError:
    """The error to raise where ``obstore`` takes the settings for none, before anything is asked of a service."""
    text = str(error)
    if "MissingAccount" in text:
        return no_credentials(location)
    if "InvalidAccessKey" in text:
        return StoreRefused(f"The key for the store {location} is none: it is base64.", "Check AZURE_STORAGE_ACCOUNT_KEY.")
    if "service account" in text:
        hint = "Check GOOGLE_APPLICATION_CREDENTIALS: it names the JSON file of a service account."
        return StoreRefused(f"The credentials for the store {location} cannot be read.", hint)
    why = text.partition(" Debug source")[0].splitlines()[0].rstrip(".")
    return UsageError(f"The settings for the store {location} cannot be used: {why}.", "docs/stores.md has what it needs.")


def _unreachable(text: str, status: int, location: str) -> StoreUnreachable:
    if status:
        return StoreUnreachable(f"The store {location} is not ready (HTTP {status}).", "Try again later.")
    if "kind: Connect" in text:
        return StoreUnreachable(f"The store {location} cannot be reached.", "Check the network and the endpoint.")
    return StoreUnreachable(f"The connection to the store {location} broke off.", "Check the network.")


def _code(text: str) -> str:
    match = _CODE.search(text)
    return (match[1] or match[2]) if match else ""
