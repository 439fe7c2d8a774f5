"""Faults of the lake: what the catalog's and the object store's exceptions mean for the program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from cdc.errors import FatalFault, TransientFault

_DENIED = frozenset({
    "AccessDeniedException", "AccessDenied", "UnrecognizedClientException", "InvalidSignatureException",
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "MissingAuthenticationTokenException",
})  # fmt: skip


@contextmanager
def reaching(where: str) -> Iterator[None]:
    """Run calls to the lake; what fails there for now becomes a TransientFault, what is refused a FatalFault."""
    try:
        yield
    except (OSError, BotoCoreError, ClientError) as error:
        raise_if_denied(error, where)
        raise TransientFault(f"the lake does not answer: {type(error).__name__}", where=where) from error


def raise_if_denied(error: Exception, where: str) -> None:
    """Raise a FatalFault when trying again is in vain."""
    code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
    # pyarrow's S3 tells a refusal only in the text of an OSError.
    is_denied = code in _DENIED or isinstance(error, NoCredentialsError) or "ACCESS_DENIED" in str(error).upper()
    if is_denied:
        raise FatalFault(
            f"the lake refuses us: {code or type(error).__name__}",
            where=where,
            hint="check the role's permissions on the catalog and on the lake's bucket",
        ) from error
