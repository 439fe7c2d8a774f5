"""Object store: the few things asked of S3, with lost answers and races made harmless."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from cdc.errors import FatalFault, TransientFault
from cdc.settings import S3Location

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CONFLICT_TRIES_MAX = 5


class OtherContent(FatalFault):
    """An object that must never change is there with other content; nothing was overwritten."""


class ObjectStore(Protocol):
    """Objects below one place, by path."""

    def put_new(self, path: str, body: bytes) -> None:
        """Write an object that must not change; one that is there already with the same content is a success.

        Raises:
            OtherContent: when it is there with other content.
        """

    def put_if_absent(self, path: str, body: bytes) -> bool:
        """Write an object unless there is one already, whatever that holds; whether it was written."""

    def put(self, path: str, body: bytes) -> None:
        """Write or overwrite an object."""

    def get(self, path: str) -> bytes:
        """The content of an object."""

    def list_after(self, prefix: str, after: str = "") -> Iterator[str]:
        """The paths under a prefix, in order, that sort after a path (not itself included)."""

    def list_folders(self, prefix: str) -> Iterator[str]:
        """The names directly below a prefix that ends with a slash, of things that have more below them."""


class S3Objects:
    """The object store in S3 (real If-None-Match; AWS docs: "Conditional writes")."""

    def __init__(self, client: S3Client, location: S3Location) -> None:
        self._client = client
        self._location = location

    def put_new(self, path: str, body: bytes) -> None:
        """Write once. What is there already is judged by content, since our own earlier try may have landed."""
        if not self.put_if_absent(path, body) and self.get(path) != body:
            raise OtherContent(
                "an object that must never change is there with other content",
                where=self._name(path),
                hint="find out who else writes below this prefix; nothing was overwritten",
            )

    def put_if_absent(self, path: str, body: bytes) -> bool:
        """Write with If-None-Match; 412 says that there is one, 409 is a race: again."""
        for _ in range(_CONFLICT_TRIES_MAX):
            try:
                self._client.put_object(
                    Bucket=self._location.bucket, Key=self._location.key(path), Body=body, IfNoneMatch="*"
                )
            except ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                if status == 412:
                    return False
                if status != 409:
                    raise self._fault("write", path, error) from error
            except BotoCoreError as error:
                raise self._fault("write", path, error) from error
            else:
                return True
        raise TransientFault("another writer keeps racing for this object", where=self._name(path))

    def put(self, path: str, body: bytes) -> None:
        """Overwrite."""
        try:
            self._client.put_object(Bucket=self._location.bucket, Key=self._location.key(path), Body=body)
        except (BotoCoreError, ClientError) as error:
            raise self._fault("write", path, error) from error

    def get(self, path: str) -> bytes:
        """Read whole."""
        try:
            response = self._client.get_object(Bucket=self._location.bucket, Key=self._location.key(path))
            return response["Body"].read()
        except (BotoCoreError, ClientError) as error:
            raise self._fault("read", path, error) from error

    def delete(self, path: str) -> None:
        """Remove; one that is not there is a success."""
        try:
            self._client.delete_object(Bucket=self._location.bucket, Key=self._location.key(path))
        except (BotoCoreError, ClientError) as error:
            raise self._fault("delete", path, error) from error

    def list_after(self, prefix: str, after: str = "") -> Iterator[str]:
        """List with StartAfter, page by page."""
        yield from (path for path, _ in self.sizes(prefix, after))

    def sizes(self, prefix: str, after: str = "") -> Iterator[tuple[str, int]]:
        """The same with each object's size in bytes, which the listing tells anyway."""
        key = self._location.key
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._location.bucket, Prefix=key(prefix), StartAfter=key(after) if after else ""
        )
        strip = len(key(""))
        try:
            for page in pages:
                yield from ((entry["Key"][strip:], entry["Size"]) for entry in page.get("Contents", ()))
        except (BotoCoreError, ClientError) as error:
            raise self._fault("list", prefix, error) from error

    def list_folders(self, prefix: str) -> Iterator[str]:
        """List with a delimiter."""
        key = self._location.key(prefix)
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._location.bucket, Prefix=key, Delimiter="/"
        )
        try:
            for page in pages:
                yield from (entry["Prefix"][len(key) : -1] for entry in page.get("CommonPrefixes", ()))
        except (BotoCoreError, ClientError) as error:
            raise self._fault("list", prefix, error) from error

    def _name(self, path: str) -> str:
        return f"s3://{self._location.bucket}/{self._location.key(path)}"

    def _fault(self, verb: str, path: str, error: Exception) -> FatalFault | TransientFault:
        """Denied or missing will not mend itself; everything else may."""
        if isinstance(error, ClientError):
            code = str(error.response.get("Error", {}).get("Code", "unknown"))
            if code in {"AccessDenied", "NoSuchBucket", "NoSuchKey", "404", "InvalidAccessKeyId"}:
                hint = "check the bucket's name, the object and the role's permissions"
                return FatalFault(f"cannot {verb} an object: {code}", where=self._name(path), hint=hint)
            return TransientFault(f"cannot {verb} an object: {code}", where=self._name(path))
        return TransientFault(f"cannot {verb} an object: {type(error).__name__}", where=self._name(path))
