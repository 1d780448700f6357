"""Reaching an object store: its client, and what its refusals mean in words.

The environment's credentials are obstore's to read; this module looks only at the endpoint,
to tell whether plain http is fine. It never shows a request, which may hold a signature.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from obstore.exceptions import (
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import AzureStore, GCSStore, S3Store

from stillhouse.errors import StorageError, UsageError
from stillhouse.storage.paths import checked_prefix

if TYPE_CHECKING:
    # Types only: they do not exist at run time.
    from obstore.store import ClientConfig, RetryConfig

MISSING: Final = (FileNotFoundError, NotFoundError)
FAILURES: Final = (BaseError, OSError)

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

Client = S3Store | GCSStore | AzureStore


def open_client(url: str) -> Client:
    """A client of the bucket and prefix that the address names; bounded in time and retries."""
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    if not bucket or "@" in bucket or "?" in url or "#" in url:
        raise UsageError(
            "is not an address like s3://bucket/prefix",
            where=url,
            way_out="Credentials come from the environment, never from the address.",
        )
    prefix = checked_prefix(prefix, url)
    kinds: dict[str, type[Client]] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
    config: dict[str, Any] = {}
    if scheme.lower() == "s3" and not os.environ.get("AWS_COPY_IF_NOT_EXISTS"):
        # How S3 itself makes a copy only where none is; R2 and others want a header instead.
        config["copy_if_not_exists"] = "multipart"
    client: ClientConfig = {"connect_timeout": "5s", "read_timeout": "20s", "timeout": "5min"}
    if _speaks_http():
        client["allow_http"] = True
    retry: RetryConfig = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}
    try:
        return kinds[scheme.lower()](
            bucket, prefix=prefix or None, client_options=client, retry_config=retry, **config
        )
    except (*FAILURES, ValueError) as error:
        raise refusal(error, "open the lake", url) from None


def _speaks_http() -> bool:
    """True when plain http is fine: a service on this machine, or the user says so."""
    if os.environ.get("AWS_ALLOW_HTTP", "").lower() in {"1", "true", "yes"}:
        return True
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    endpoint = next((os.environ[name] for name in names if os.environ.get(name)), "")
    return urlsplit(endpoint).hostname in _LOOPBACK


def missing(where: str) -> StorageError:
    """There is no such object."""
    return StorageError(
        "cannot read: there is no such object",
        where=where,
        way_out="Check the path; something may have removed it.",
    )


_CODE = re.compile(r"<Code>([^<]+)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]+)</Message>")
_STATUS = re.compile(r"status code: (\d{3})")

_REASONS: Final[tuple[tuple[str, str, str], ...]] = (
    ("NoSuchBucket|ContainerNotFound", "there is no such bucket", "Make it, or check its name."),
    (
        "InvalidAccessKeyId|SignatureDoesNotMatch|AuthenticationFailed|ExpiredToken|InvalidToken",
        "the service does not accept the credentials",
        "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN (or your own).",
    ),
    (
        "169.254.169.254|metadata.google|CredentialsNotLoaded|MissingCredential|credential",
        "no credentials were found",
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or your provider's).",
    ),
    (
        "BadScheme",
        "the endpoint is plain http",
        "Use https, or set AWS_ALLOW_HTTP=true to send your data unencrypted.",
    ),
    (
        "PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraint",
        "the bucket is in another region",
        "Set AWS_REGION to the bucket's region.",
    ),
    (
        "kind: Connect|kind: Timeout|timed out|dns error|kind: Request",
        "the service cannot be reached",
        "Check the network and AWS_ENDPOINT_URL, and run again.",
    ),
    ("InvalidPath", "an object's name is not a plain path", "Rename or remove that object."),
)


def refusal(error: Exception, doing: str, where: str) -> StorageError:
    """A service's refusal as one clear line; never the request, which may hold a signature."""
    text = str(error)
    for pattern, what, way_out in _REASONS:
        if re.search(pattern, text):
            return StorageError(f"cannot {doing}: {what}", where=where, way_out=way_out)
    if isinstance(error, UnauthenticatedError | PermissionDeniedError):
        return StorageError(
            f"cannot {doing}: the service denies access",
            where=where,
            way_out="Check the credentials and what they are allowed to do in this bucket.",
        )
    if isinstance(error, MISSING):
        return StorageError(
            f"cannot {doing}: there is no such object",
            where=where,
            way_out="Check the path; something may have removed it.",
        )
    found = _CODE.search(text), _MESSAGE.search(text), _STATUS.search(text)
    words = ", ".join(match[1] for match in found if match) or text.partition("\n")[0][:200]
    return StorageError(f"cannot {doing}: {words}", where=where, way_out="Run again.")


def version_mark(meta: Any) -> Any:
    """What a conditional put names a version by: ETag, and version where there is one."""
    return {key: meta[key] for key in ("e_tag", "version") if meta[key] is not None}


def past_the_end(error: Exception) -> bool:
    """True when the service said that a range begins after the object's end."""
    status = _STATUS.search(str(error))
    return status is not None and status[1] == "416"
