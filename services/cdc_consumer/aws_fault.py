"""AWS errors as faults: what may mend itself is transient, what will not is fatal and says what to do.

Source of the codes: the API models of Kinesis and DynamoDB in botocore, and AWS docs "Common errors".
"""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)

from cdc.errors import FatalFault, TransientFault

AwsError = (BotoCoreError, ClientError)
_TRANSIENT = frozenset({
    "ProvisionedThroughputExceededException", "LimitExceededException", "KMSThrottlingException",
    "ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException", "RequestTimeout",
    "RequestTimeoutException", "InternalFailure", "InternalServerError", "ServiceUnavailable", "ResourceInUseException",
    "TransactionConflictException", "ExpiredToken", "ExpiredTokenException", "RequestExpired",
})  # fmt: skip
"""Credentials that expired are among them: boto3 fetches new ones where it can."""
_MISCONFIGURED = (NoCredentialsError, NoRegionError, PartialCredentialsError, ProfileNotFound)


def error_code(error: BotoCoreError | ClientError) -> str:
    """AWS's code of an error, or the kind of error when no answer came."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "unknown"))
    return type(error).__name__


def aws_fault(verb: str, where: str, error: BotoCoreError | ClientError, hint: str) -> FatalFault | TransientFault:
    """The fault that an AWS error means; its text is left out, since it may quote the request."""
    code = error_code(error)
    what = f"cannot {verb}: {code}"
    if isinstance(error, ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in _TRANSIENT or status >= 500:
            return TransientFault(what, where=where)
        return FatalFault(what, where=where, hint=hint)
    if isinstance(error, _MISCONFIGURED):
        return FatalFault(what, where=where, hint="give region and credentials in AWS_* as boto3 reads them")
    return TransientFault(what, where=where)
