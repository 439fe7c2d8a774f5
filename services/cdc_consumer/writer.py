"""Writing a micro-batch: objects and quarantine first, the batch record last; each try may be repeated.

A crash anywhere in between leaves objects that no batch record names, which nobody reads.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from cdc.objects import ObjectStore
from cdc.raw import Tip, tip_path
from cdc.telemetry import get_log
from cdc_consumer.backoff import FaultReport, persist
from cdc_consumer.batch import Batch, Place
from cdc_consumer.halt import Halt
from cdc_consumer.metrics import PUT_SECONDS

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

    def write(self, batch: Batch) -> None:
        """Make a batch durable.

        Raises:
            LeaseLost: when another worker owns the shard; what was written until then is harmless.
            TransientFault: when the time to stop came before success.
        """
        for lost in batch.quarantine:
            self._put(self._quarantine.put_new, lost.path, lost.body)
            _log.warning(
                "quarantined",
                reason=lost.reason,
                records=lost.records,
                stream=batch.record.stream,
                shard=batch.record.shard,
                seq_first=lost.seq_first,
                path=lost.path,
            )
        for path, body in batch.objects:
            self._put(self._raw.put_new, path, body)
        self._put(self._raw.put_new, batch.path, batch.body)

    def write_tip(self, place: Place, tip: Tip) -> None:
        """Note that the shard is read to its tip, and all of it durable."""
        self._put(self._raw.put, tip_path(place.stream, place.shard), msgspec.json.encode(tip))

    def _put(self, put: Callable[[str, bytes], None], path: str, body: bytes) -> None:
        def put_once() -> None:
            self._halt.check()
            put(path, body)

        with PUT_SECONDS.time():
            persist("write an object", put_once, rest=self._halt.rest_writing, chance=self._chance, report=self._report)
