"""Storage: the files below a table's location, listed page by page and deleted; pyiceberg's file access lists none."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import boto3

from cdc.errors import FatalFault

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PAGE_MAX = 1000
"""How many files S3 lists, or deletes, in one request."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that is there, and when it was written."""

    path: str
    written_at: datetime


class Storage(Protocol):
    """The files below one table's location; paths are whole, as the table's metadata has them."""

    def page(self, after: str) -> list[Stored]:
        """The next files in the order of their paths, those after a path (empty: from the start); none at the end."""

    def delete(self, paths: Collection[str]) -> int:
        """Delete files; one that is gone already is a success. Returns how many could not be deleted."""


def storage_of(location: str, properties: Mapping[str, Any]) -> Storage:
    """The storage of a table; `properties` are those of its file access, which say how S3 is reached.

    Raises:
        FatalFault: when it is of a kind that is not built.
    """
    scheme, bucket, path, *_ = urlsplit(location)
    if scheme in {"s3", "s3a", "s3n"}:
        keys = ("access-key-id", "secret-access-key", "session-token")
        stated = {f"aws_{name.replace('-', '_')}": properties.get(f"s3.{name}") for name in keys}
        client = boto3.Session().client(
            "s3", endpoint_url=properties.get("s3.endpoint"), region_name=properties.get("s3.region"), **stated
        )
        return S3Storage(client, f"{scheme}://{bucket}/", bucket, f"{path.strip('/')}/")
    if scheme in {"", "file"}:
        return LocalStorage(Path(path), f"{scheme}://" if scheme else "")
    raise FatalFault(f"files of scheme {scheme} cannot be listed", where=location, hint="put the lake on S3")


class S3Storage:
    """Files in S3."""

    def __init__(self, client: S3Client, root: str, bucket: str, prefix: str) -> None:
        self._client = client
        self._root = root
        self._bucket = bucket
        self._prefix = prefix

    def page(self, after: str) -> list[Stored]:
        """One request."""
        answer = self._client.list_objects_v2(
            Bucket=self._bucket, Prefix=self._prefix, StartAfter=after.removeprefix(self._root), MaxKeys=PAGE_MAX
        )
        return [Stored(self._root + entry["Key"], entry["LastModified"]) for entry in answer.get("Contents", ())]

    def delete(self, paths: Collection[str]) -> int:
        """One request for a thousand."""
        keys = sorted(path.removeprefix(self._root) for path in paths)
        failed = 0
        for start in range(0, len(keys), PAGE_MAX):
            some = keys[start : start + PAGE_MAX]
            answer = self._client.delete_objects(
                Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in some], "Quiet": True}
            )
            failed += len(answer.get("Errors", ()))
        return failed


class LocalStorage:
    """Files on a disk."""

    def __init__(self, folder: Path, root: str) -> None:
        self._folder = folder
        self._root = root

    def page(self, after: str) -> list[Stored]:
        """The whole folder is looked through for every page, which is bearable where a disk is large enough."""
        paths = sorted(str(Path(folder) / name) for folder, _, names in os.walk(self._folder) for name in names)
        some = [path for path in paths if self._root + path > after][:PAGE_MAX]
        return [Stored(self._root + path, datetime.fromtimestamp(Path(path).stat().st_mtime, UTC)) for path in some]

    def delete(self, paths: Collection[str]) -> int:
        """One by one."""
        for path in paths:
            Path(path.removeprefix(self._root)).unlink(missing_ok=True)
        return 0
