"""Targets: where a replay puts records, a stream or a file. What a target cannot take is told before it is put."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Protocol

from cdc.errors import FatalFault
from cdc_ops.replay_record import Record, encode_line

FROM_AVRO = "from-avro"
"""The payload is JSON made of Avro: on a stream it would be read as another producer's, its schema lost."""


class Target(Protocol):
    """Takes records; what was put is durable once `flush` has returned."""

    def obstacle(self, record: Record) -> str | None:
        """Why a record cannot be put here, in a short fixed word; None when it can."""

    def put(self, record: Record, partition_key: str) -> None:
        """Take a record, behind all earlier ones of its partition key."""

    def flush(self) -> None:
        """Return when everything that was put is there."""

    def close(self, *, is_whole: bool) -> None:
        """Give up what is held; `is_whole` says that nothing is missing."""


class Nowhere:
    """The target of a dry run; takes what a stream takes."""

    def obstacle(self, record: Record) -> str | None:
        """What no stream can take."""
        return None if record.schema_id is None else FROM_AVRO

    def put(self, record: Record, partition_key: str) -> None:
        """Forget it."""

    def flush(self) -> None:
        """Nothing is held."""

    def close(self, *, is_whole: bool) -> None:
        """Nothing is held."""


class FileTarget:
    """A new file of JSON Lines, readable by its owner alone; it has its name once it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        if path.exists():
            raise FatalFault(
                "the file exists already", where=str(path), hint="name another one; nothing is overwritten"
            )
        try:
            opened = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as error:
            raise self._fault(error) from None
        self._raw = os.fdopen(opened, "wb")
        self._gzip = gzip.GzipFile("", "wb", fileobj=self._raw, mtime=0) if path.suffix == ".gz" else None

    def obstacle(self, record: Record) -> str | None:  # noqa: ARG002 - what a stream cannot take, a file can
        """A file takes everything."""
        return None

    def put(self, record: Record, partition_key: str) -> None:  # noqa: ARG002 - it is found anew from the payload
        """Write a line."""
        try:
            (self._gzip or self._raw).write(encode_line(record) + b"\n")
        except OSError as error:
            raise self._fault(error) from None

    def flush(self) -> None:
        """What is not whole has not got its name yet, so there is nothing to wait for."""

    def close(self, *, is_whole: bool) -> None:
        """Give the file its name, or remove it where something is missing."""
        try:
            if self._gzip is not None:
                self._gzip.close()
            self._raw.flush()
            os.fsync(self._raw.fileno())
            self._raw.close()
            if is_whole:
                self._part.rename(self._path)
            else:
                self._part.unlink()
        except OSError as error:
            raise self._fault(error) from None

    def _fault(self, error: OSError) -> FatalFault:
        what = f"the file cannot be written: {type(error).__name__}"
        return FatalFault(what, where=str(self._path), hint="check the folder, its permissions and the space left")
