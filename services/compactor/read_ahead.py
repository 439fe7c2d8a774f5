"""Read ahead: batches are read from raw and taken apart by column, those of the next round while one is committed.

Reading holds the interpreter most of the time and committing hardly ever, so that both keep a core each busy. What was
read ahead counts only where it is exactly what would be read now: the same batches, epochs and held columns.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from cdc.epoch import Epochs
from cdc.objects import ObjectStore
from cdc.telemetry import get_log
from compactor import metrics
from compactor.chain import Batch, read_lines
from compactor.plain import Line
from compactor.round import Reading, RoundReader

_LOG = get_log(__name__)
_READ_AT_ONCE = 4
"""How many batches are read from raw at once."""


@dataclass(frozen=True, slots=True)
class _Ahead:
    """What was read of some batches under some epochs; `left_out` counts the records of another database."""

    batches: list[Batch]
    epochs: Epochs
    reading: Reading
    left_out: int


class BatchReader:
    """Reads the batches of one table, one round ahead where it is told to."""

    def __init__(self, store: ObjectStore, table: str, rounds: RoundReader) -> None:
        self._store = store
        self._table = table
        self._rounds = rounds
        self._begun: Future[_Ahead] | None = None

    def read(self, batches: list[Batch], epochs: Epochs) -> Reading:
        """The table's records in some batches; those of another database are left out, and that is told."""
        read = self._take(batches, epochs) or self._read(batches, epochs)
        if read.left_out:
            metrics.DISCARDED.labels(self._table).inc(read.left_out)
            _LOG.warning("records of another database are left out", table=self._table, records=read.left_out)
        return read.reading

    def begin(self, find: Callable[[], list[Batch]], epochs: Epochs) -> None:
        """Begin to read the batches that `find` finds."""
        self._drop()
        pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._begun = pool.submit(lambda: self._read(find(), epochs))
        pool.shutdown(wait=False)

    def _take(self, batches: list[Batch], epochs: Epochs) -> _Ahead | None:
        """What was read ahead, if it is what is wanted now; whatever went wrong shows when it is read again."""
        begun, self._begun = self._begun, None
        if begun is None or begun.exception() is not None:
            return None
        ahead = begun.result()
        is_wanted = (ahead.batches, ahead.epochs, ahead.reading.held) == (batches, epochs, self._rounds.held)
        return ahead if is_wanted else None

    def _drop(self) -> None:
        """Wait for a reading that nobody wants any more: two at once would share a reader, and memory."""
        if self._begun is not None:
            self._begun.exception()
            self._begun = None

    def _read(self, batches: list[Batch], epochs: Epochs) -> _Ahead:
        lines: list[Line] = []
        count = 0
        # Several at a time: most of it is waiting for S3 and unpacking, and neither holds the interpreter.
        with ThreadPoolExecutor(_READ_AT_ONCE, thread_name_prefix="raw") as pool:
            for some in pool.map(lambda batch: self._lines_of(batch, epochs), batches):
                lines += [line for line in some if line.epoch not in epochs.discarded] if epochs.discarded else some
                count += len(some)
        return _Ahead(batches, epochs, self._rounds.read(lines), count - len(lines))

    def _lines_of(self, batch: Batch, epochs: Epochs) -> list[Line]:
        """The table's records in a batch; nearly every batch is of one epoch whole."""
        shard, name = batch.shard.id, batch.name
        lines = read_lines(self._store, batch, self._table)
        epoch = epochs.of(shard, batch.upto)
        if epochs.of(shard, batch.after + 1) == epoch:
            return [Line(shard, name, line, epoch) for line in lines]
        return [Line(shard, name, line, epochs.of(shard, int(line.seq))) for line in lines]
