"""The compactor of a table: list new batches, check them, merge, commit history, commit the table."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from cdc.contract import TableContract
from cdc.errors import RawFault
from cdc.objects import ObjectStore
from cdc.raw import schema_path
from cdc.telemetry import get_log
from compactor import metrics
from compactor.added import new_columns, with_added
from compactor.ages import Ages
from compactor.chain import Batch, known_shards, new_batches
from compactor.change import ChangeReader, Rejected
from compactor.collector import collector_paused
from compactor.columns_seen import ColumnsSeen, Seen, made_anew, still_watched
from compactor.epochs import EpochKeeper
from compactor.holds import is_held
from compactor.index import RowIndex
from compactor.keeper import Keeper
from compactor.lake.faults import reaching
from compactor.lake.landing import CommitConflict
from compactor.lake.pair import TablePair
from compactor.maintenance import Limits
from compactor.memory import release_memory
from compactor.merge import Merged, fold_anew
from compactor.plain import PlainMerge, PlainReader
from compactor.progress import Progress, advanced, restarted, with_known
from compactor.quarantine import Record, quarantine
from compactor.refill import Refill, ready_and_waiting, rest_seconds
from compactor.round import RoundReader
from compactor.snapshot_end import SnapshotEnd
from compactor.statement import Statement, last_proof, statement
from compactor.table_plan import index_committed, plan
from compactor.vanished import VANISHED_ROWS_MAX, deletes, settled
from compactor.watch import watch

RECORDS_MAX = 100_000
"""About how many records one merge takes; what is more waits for the next, so that memory stays bounded."""
WRITTEN_AT_ONCE_ROWS_MIN = 10_000
"""From how many rows on both tables' files are written at once: what few rows cost is the interpreter's own work."""
BYTES_MAX = 128 * 1024 * 1024
"""About how many bytes of lines, before compression, one merge takes."""

_LOG = get_log(__name__)


@dataclass(frozen=True, slots=True)
class Step:
    """What one merge did: whether the offsets moved, and whether more is waiting already."""

    has_moved: bool
    is_behind: bool


class TableCompactor:
    """Merges one table; knows of it only what the tables themselves say, so that it can start anew at any time."""

    def __init__(
        self,
        contract: TableContract,
        pair: TablePair,
        raw: ObjectStore,
        quarantined: ObjectStore,
        pii_key: bytes,
        limits: Limits | None = None,
    ) -> None:
        self._contract = contract
        self._pair = pair
        self._raw = raw
        self._quarantine = quarantined
        self._pii_key = pii_key
        self._index = pair.empty_index()
        self._shown = pair.shown
        self._set_readers({})
        self._progress = Progress()
        self._new_columns: set[str] = set()
        self._looks_again = 0.0
        self._epochs = EpochKeeper(contract, raw)
        self._snapshot_end = SnapshotEnd(contract.name, raw, self._epochs, pair)
        self._is_loaded = self._was_behind = False
        self._keeper = Keeper(contract, pair, limits or Limits())
        self._ages = Ages(contract.name, contract.latency_seconds_max, lambda: datetime.now(UTC))

    @property
    def name(self) -> str:
        """The table's name in the lake."""
        return self._contract.name

    def step(self) -> Step:
        """Merge some of what is new."""
        done = self._step()
        self._ages.merged(self._progress.valid_through, last_proof(self._pair.table.properties))
        return done

    def _step(self) -> Step:
        try:
            with reaching(self._contract.name), metrics.MERGE_SECONDS.labels(self._contract.name).time():
                self._epochs.refresh()
                if not self._is_loaded:
                    self._load()
                if self._follow_epochs():
                    return Step(has_moved=True, is_behind=True)
                if self._epochs.is_waiting(self._progress):
                    return Step(has_moved=False, is_behind=False)
                # Shards first: one that appears after this listing has nothing that these batches depend on.
                known = known_shards(self._raw)
                batches, is_behind = new_batches(self._raw, self._progress.offsets, RECORDS_MAX, BYTES_MAX)
                is_new = self._pair.history.snapshot_id is None
                admitted = self._epochs.admitted(batches, self._progress, known, is_new=is_new)
                if self._follow_epochs():
                    return Step(has_moved=True, is_behind=True)
                with collector_paused():
                    has_moved = bool(admitted) and self._merge(admitted, known)
                if not self._is_loaded:
                    return Step(has_moved, is_behind=True)  # a column is another one now
                if has_moved and self._has_new_columns() and self._is_time_to_look():
                    self._show_new_columns()
                self._release(is_behind=is_behind)
                has_deleted = self._delete_vanished(known)
                return Step(has_moved or has_deleted, is_behind or has_deleted)
        except CommitConflict as conflict:
            self._tell_conflict(conflict)
            return Step(has_moved=True, is_behind=True)
        except RawFault:
            metrics.CHAIN_FAULTS.inc()
            raise
        except BaseException:
            self._is_loaded = False  # whatever is in memory may not be what is in the lake
            raise

    def maintain(self, now: datetime) -> bool:
        """Take one small step of maintenance; False when there is nothing to do. The tables' rows stay as they are."""
        if not self._is_loaded:
            return False
        try:
            with reaching(self._contract.name):
                is_busy = self._keeper.step(self._index, now)
        except CommitConflict as conflict:
            self._tell_conflict(conflict)
            return False
        except BaseException:
            self._is_loaded = False  # whether the step landed shows when the tables are loaded anew
            raise
        if not is_busy:
            self._ages.maintained()
        return is_busy

    def statement(self, now: datetime) -> Statement | None:
        """What can be said of the table now; None while it is not loaded."""
        if not self._is_loaded:
            return None
        properties = self._pair.table.properties
        return statement(self._contract, self._progress, len(self._index), self._held_columns(), properties, now)

    def _tell_conflict(self, conflict: CommitConflict) -> None:
        """Say that another writer was there; what is in memory is not what is in the lake any more."""
        metrics.CONFLICTS.labels(self._contract.name).inc()
        hint = "one compactor alone writes the lake's tables: look who else does (docs/runbook.md, foreign-commits)"
        _LOG.warning("conflict", where=conflict.where, what=conflict.what, hint=hint)
        self._is_loaded = False

    def _set_readers(self, seen: Mapping[str, Seen]) -> None:
        self._reader = ChangeReader(self._shown, self._pii_key, self._avro_schema, seen)
        plain = PlainReader(self._shown, self._pair.history.arrow_schema, self._pii_key)
        self._rounds = RoundReader(self._shown, self._reader, plain)

    def _held_columns(self) -> set[str]:
        """Columns that arrive and that the contract neither names nor leaves out on purpose, by their source names."""
        named = self._contract.source_columns | self._progress.columns.added.keys()
        return {source for source, seen in self._progress.columns.seen.items() if seen.offsets} - named

    def _load(self) -> None:
        self._pair.refresh()
        self._follow_contract()
        if self._pair.is_cut_off():
            self._finish_cut_off_merge()
        self._progress = self._pair.table_progress()
        self._index = self._pair.build_index()
        self._show_new_columns()
        release_memory()
        self._is_loaded = True
        self._show_state()
        _LOG.info("loaded", table=self._contract.name, rows=len(self._index))

    def _follow_contract(self) -> None:
        for place, its in zip(("table", "history"), self._pair.follow_contract(), strict=True):
            for column in its.widened:
                _LOG.info("a column was widened", table=self._contract.name, place=place, column=column)
            for column in its.dropped:
                _LOG.warning(
                    "a column was taken out of the lake, for the contract no longer names it",
                    table=self._contract.name,
                    place=place,
                    column=column,
                    hint="older snapshots and raw still have it; name it again to have it filled from raw",
                )
        self._shown = self._pair.shown

    def _has_new_columns(self) -> bool:
        columns = self._progress.columns
        return bool(columns.waiting) or bool(new_columns(self._contract, columns)[0])

    def _is_time_to_look(self) -> bool:
        """Whether to look again if waiting columns can be shown: reading raw again for a large table takes its time."""
        return time.monotonic() >= self._looks_again

    def _show_new_columns(self) -> None:
        """Show the columns that the contract names and the lake does not have, as far as all their values are known."""
        began = time.monotonic()
        name, shown = self._contract.name, {column.name for column in self._shown.columns}
        new, clashing = new_columns(self._contract, self._progress.columns)
        added = {**self._progress.columns.added, **new}
        wanted = with_added(self._contract, replace(self._progress.columns, added=added))
        reader = ChangeReader(wanted, self._pii_key, self._avro_schema)
        refill = Refill(self._shown, reader, self._raw, self._pair, self._pair.live_rows, self._epochs.epochs)
        outcomes = [refill.values(column, self._progress) for column in wanted.columns if column.name not in shown]
        ready, waiting = ready_and_waiting(outcomes)
        names = shown | {one.column.name for one in ready}
        seen = still_watched(self._progress.columns.seen, [c for c in wanted.columns if c.name in names], added)
        columns = ColumnsSeen(seen, {one.column.name: one.why for one in waiting}, added)
        progress = replace(self._progress, columns=columns)
        if ready:
            self._pair.show(ready, progress)
            self._shown = self._pair.shown
            self._index = self._pair.build_index()
        elif progress != self._progress:
            self._pair.commit_progress(progress)
        self._progress = progress
        self._set_readers(seen)
        ended = time.monotonic()
        self._looks_again = ended + rest_seconds(ended - began, len(self._index))
        for source in clashing:
            hint = "its name in the lake is taken: name it in the contract with another name, or under leftOut"
            _LOG.warning("a new column cannot be added", table=name, column=source, hint=hint)
        for values in ready:
            _LOG.info("a new column is shown", table=name, column=values.column.name)
        for one in waiting:
            _LOG.warning("a new column waits", table=name, column=one.column.name, hint=one.why)
        metrics.WAITING_COLUMNS.labels(name).set(len(waiting))

    def _finish_cut_off_merge(self) -> None:
        """History has changes that the table has not: bring their keys to what history says."""
        index, progress = self._pair.build_index(), self._pair.history_progress()
        keys = self._pair.keys_ahead()
        _LOG.info("finishing a merge that was cut off between its commits", table=self._contract.name, keys=len(keys))
        self._commit_table(fold_anew(keys, index, self._pair, self._shown, progress.floor), None, index, progress)

    def _follow_epochs(self) -> bool:
        """Take account of epochs recorded since; whether there were any."""
        followed = self._epochs.followed(self._progress)
        if followed is None:
            return False
        self._pair.commit_progress(followed)
        self._progress = followed
        return True

    def _delete_vanished(self, known: set[str]) -> bool:
        """Delete some of the rows that the newest snapshot did not find, once it is merged whole; whether it did."""
        before, name = self._progress, self._contract.name
        end = self._snapshot_end.due(before, known)
        if end is None:
            return False
        schema, read = self._pair.history.arrow_schema, self._pair.table.read
        plain = deletes(self._shown, schema, self._index, read, end, VANISHED_ROWS_MAX)
        if plain is not None:
            self._commit_both(Merged([], {}, {}, [], 0, before.floor), plain, before)
            _LOG.info("vanished rows deleted", table=name, epoch=end.epoch, rows=len(plain.history))
            metrics.VANISHED.labels(name).inc(len(plain.history))
            return True
        if self._snapshot_end.spares(end, self._index):
            return False
        progress = settled(before)
        swept = Merged([], {}, {}, [], 0, progress.floor, is_truncated=progress.floor != before.floor)
        self._commit_table(swept, None, self._index, progress)
        self._progress = progress
        self._report(0, 0, 0, progress.holds)
        _LOG.info("the snapshot is settled", table=name, epoch=end.epoch)
        return True

    def _wait_for_epoch(self, begun: dict[str, int]) -> bool:
        """Merge nothing more before an operator has recorded the epoch that seems to begin."""
        self._progress = replace(self._progress, waits=begun)
        self._pair.commit_progress(self._progress)
        self._epochs.is_waiting(self._progress)
        return False

    def _merge(self, batches: list[Batch], known: set[str]) -> bool:
        before = with_known(self._progress, known)
        reading = self._rounds.read(self._epochs.lines(batches))
        is_resent = self._epochs.epochs.is_resent
        watched, begun = watch(reading.lines, before.watched, before.epoch, is_resent, reading.sights)
        begun |= restarted(batches, before.evidence, self._epochs.epochs)
        if begun:
            return self._wait_for_epoch(begun)
        before = replace(before, watched=watched)
        floor = self._progress.floor
        evidence = advanced(before, batches, self._contract.name, {}, floor, self._epochs.epochs).evidence
        done = self._rounds.merge(reading, self._index, self._pair, floor, evidence, self._epochs.epochs.continued)
        columns = made_anew(before.columns, self._reader.seen)
        if columns.added != before.columns.added:
            # A column is another one now: it is taken out, and all of this is read again without it.
            self._pair.commit_progress(replace(self._progress, columns=columns))
            self._is_loaded = False
            return True
        merged, plain, holds = done.merged, done.plain, done.holds
        progress = advanced(before, batches, self._contract.name, holds, merged.floor, self._epochs.epochs)
        aside = _set_aside(merged, [record for record in done.rejected if not is_held(record.origin, holds)])
        # Quarantine before the commit: the offsets must not pass a record that is nowhere.
        quarantine(self._quarantine, self._contract.name, aside)
        shown = {column.name for column in self._shown.columns}
        progress = replace(progress, columns=replace(progress.columns, seen=self._reader.seen))
        progress = replace(progress, counts=before.counts.plus((faults for _, faults in aside), shown))
        if merged.history or len(plain.history):
            self._commit_both(merged, plain, progress)
        elif merged.rows or merged.gone:
            self._commit_table(merged, plain, self._index, progress)
        elif progress != self._progress:
            self._pair.commit_progress(progress)
        moved = progress.offsets != self._progress.offsets
        self._progress = progress
        self._report(
            len(merged.history) + len(plain.history), merged.duplicates + plain.duplicates, merged.healed, holds
        )
        return moved

    def _avro_schema(self, stream: str, schema_id: int) -> str:
        return self._raw.get(schema_path(stream, schema_id)).decode()

    def _commit_table(self, merged: Merged, plain: PlainMerge | None, index: RowIndex, progress: Progress) -> None:
        planned = plan(merged, plain, index, self._pair)
        written = self._pair.write_table(planned.rows, planned.dead, planned.dropped)
        index_committed(planned, self._pair.commit_table(written, progress).added, index, self._contract.key)

    def _commit_both(self, merged: Merged, plain: PlainMerge, progress: Progress) -> None:
        """Commit history, then the table; when there is much to write, the table's files are written meanwhile.

        Nothing names these before the table is committed: where it is not, the search for orphans removes them.
        """
        planned = plan(merged, plain, self._index, self._pair)
        with ThreadPoolExecutor(1, thread_name_prefix="table") as pool:
            write = partial(self._pair.write_table, planned.rows, planned.dead, planned.dropped)
            writing = pool.submit(write) if len(planned.rows) >= WRITTEN_AT_ONCE_ROWS_MIN else None
            self._pair.commit_history(merged.history, plain.history, progress)
            written = writing.result() if writing is not None else write()
        index_committed(planned, self._pair.commit_table(written, progress).added, self._index, self._contract.key)

    def _report(self, changes: int, duplicates: int, healed: int, holds: Mapping[str, int]) -> None:
        name = self._contract.name
        metrics.CHANGES.labels(name).inc(changes)
        metrics.DUPLICATES.labels(name).inc(duplicates)
        metrics.HEALED.labels(name).inc(healed)
        valid_through = self._progress.valid_through
        self._show_state()
        if holds:
            _LOG.warning("held back", table=name, shards=sorted(holds), hint="a change waits for one of another shard")
        _LOG.info(
            "merged",
            table=name,
            changes=changes,
            duplicates=duplicates,
            healed=healed,
            rows=len(self._index),
            held_shards=sorted(holds),
            valid_through=valid_through.isoformat() if valid_through else None,
        )

    def _release(self, *, is_behind: bool) -> None:
        """Give memory back once all is caught up with: rounds are small from then on."""
        if self._was_behind and not is_behind:
            release_memory()
        self._was_behind = is_behind

    def _show_state(self) -> None:
        """Show what holds of the table now."""
        name, valid_through = self._contract.name, self._progress.valid_through
        metrics.ROWS.labels(name).set(len(self._index))
        metrics.INDEX_BYTES.labels(name).set(self._index.bytes)
        metrics.HELD_SHARDS.labels(name).set(len(self._progress.holds))
        metrics.VALID_THROUGH.labels(name).set(valid_through.timestamp() if valid_through else 0)
        held = self._held_columns()
        for column in sorted(held - self._new_columns):
            _LOG.warning("a new column is held back", table=name, column=column, hint="name it in the contract")
        self._new_columns = held
        metrics.HELD_COLUMNS.labels(name).set(len(held))


def _set_aside(merged: Merged, rejected: Sequence[Rejected]) -> list[Record]:
    """What a merge keeps out of the lake, each with its faults."""
    changes: list[Record] = [
        (change.origin, change.faults) for change in merged.history if change.origin and change.faults
    ]
    return changes + [(record.origin, (record.fault,)) for record in rejected]
