"""Writing a micro-batch: objects and quarantine first, the batch record last; each try may be repeated.

A crash anywhere in between leaves objects that no batch record names, which nobody reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import msgspec

from cdc.gzip_lines import same_lines
from cdc.objects import ObjectStore, OtherContent
from cdc.raw import BatchRecord, Tip, tip_path
from cdc.telemetry import get_log
from cdc_consumer.backoff import FaultReport, persist
from cdc_consumer.batch import Batch, Place, with_bodies
from cdc_consumer.halt import Halt
from cdc_consumer.metrics import PUT_SECONDS

T = TypeVar("T")
_RECORD = msgspec.json.Decoder(BatchRecord)

_log = get_log(__name__)


class BatchWriter:
    """Writes the batches of one shard; a transient fault is answered by trying again while the lease holds."""

    def __init__(
        self, raw: ObjectStore, quarantine: ObjectStore, halt: Halt, chance: Callable[[], float], report: FaultReport
    ) -> None:
        self._raw = raw
        self._quarantine = quarantine
        self._halt = halt
        self._chance = chance
        self._report = report

    def write(self, batch: Batch) -> Batch:
        """Make a batch durable; returns it as it was written.

        An object that another try wrote before us may hold the same lines in other bytes, since what a compressor makes
        of them depends on its version and the processor. Then that object stays, and the batch record names it.

        A batch record that is there for the same range stays too, and is returned: another worker covered these records
        before us, and what it says besides may differ. It may have seen the shard's end or not, or another listing of
        its children, or have been started with other table contracts.

        Raises:
            LeaseLost: when another worker owns the shard; what was written until then is harmless.
            OtherContent: when what is there is neither the same nor a batch record of these records.
            TransientFault: when the time to stop came before success.
        """
        for lost in batch.quarantine:
            self._put_lines(self._quarantine, lost.path, lost.body)
            _log.warning(
                "quarantined",
                reason=lost.reason,
                records=lost.records,
                stream=batch.record.stream,
                shard=batch.record.shard,
                seq_first=lost.seq_first,
                path=lost.path,
            )
        bodies = [self._put_lines(self._raw, path, body) for path, body in batch.objects]
        if any(there is not ours for there, (_, ours) in zip(bodies, batch.objects, strict=True)):
            batch = with_bodies(batch, bodies)
        return self._put_record(batch)

    def write_tip(self, place: Place, tip: Tip) -> None:
        """Note that the shard is read to its tip, and all of it durable."""
        self._put(lambda: self._raw.put(tip_path(place.stream, place.shard), msgspec.json.encode(tip)))

    def _put_record(self, batch: Batch) -> Batch:
        """Write the batch record, unless another worker's for the same records is there; returns what is there then."""

        def put() -> Batch:
            try:
                self._raw.put_new(batch.path, batch.body)
            except OtherContent:
                there = self._raw.get(batch.path)
                record = _same_range(there, batch.record)
                if record is None:
                    raise
                return replace(batch, record=record, body=there)
            return batch

        written = self._put(put)
        if written is not batch:
            _log.warning("another worker wrote this batch before us", stream=batch.record.stream, path=batch.path)
        return written

    def _put_lines(self, store: ObjectStore, path: str, body: bytes) -> bytes:
        """Write an object of lines, unless it is there with the same lines; returns what is there then."""

        def put() -> bytes:
            try:
                store.put_new(path, body)
            except OtherContent:
                there = store.get(path)
                if not same_lines(there, body):
                    raise
                return there
            return body

        return self._put(put)

    def _put(self, put: Callable[[], T]) -> T:
        def put_once() -> T:
            self._halt.check()
            return put()

        with PUT_SECONDS.time():
            return persist(
                "write an object", put_once, rest=self._halt.rest_writing, chance=self._chance, report=self._report
            )


def _same_range(body: bytes, ours: BatchRecord) -> BatchRecord | None:
    """The batch record in these bytes if it covers what ours does."""
    try:
        there = _RECORD.decode(body)
        return there if _range(there) == _range(ours) else None
    except (msgspec.MsgspecError, ValueError):
        return None


def _range(record: BatchRecord) -> tuple[int, str, str, int, int]:
    return record.version, record.stream, record.shard, int(record.after), int(record.upto)
