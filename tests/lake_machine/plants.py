"""Plants: known bugs of this kind of pipeline, each put into the code by a patch, to prove that something catches it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from cdc import dms
from cdc_consumer.shard import ShardReader
from cdc_publisher.outbox import Outbox
from compactor import compactor, epochs, fold, holds, merge, progress, refill
from compactor.change import SET_ASIDE, Change
from compactor.index import RowIndex
from compactor.lake import commit, landing, pair
from compactor.lake.pair import TablePair
from compactor.plain import block, dialect, winners
from compactor.plain import reader as plain_reader
from compactor.snapshot_end import SnapshotEnd

Plant = Callable[[pytest.MonkeyPatch], None]
_decode = importlib.import_module("cdc.debezium.decode")  # the package has a function of that name


def one_change_of_a_position(patches: pytest.MonkeyPatch) -> None:
    """Row 3: several events share one LSN, and all but one are taken for doubles."""
    patches.setattr(Change, "identity", property(lambda change: (None, change.position, change.op == "d")))


def positions_as_text(patches: pytest.MonkeyPatch) -> None:
    """Row 4: "999" is greater than "1000"."""

    def is_late(change: Change, index: RowIndex, floor: Any) -> bool:
        newest = index.newest(change.key)
        return newest is not None and str(change.position.lsn) <= str(newest.lsn)

    patches.setattr(merge, "_is_late", is_late)


def placeholder_is_a_value(patches: pytest.MonkeyPatch) -> None:
    """Row 8: what stands for an unchanged value is written over the value."""
    for module in (_decode, dialect):
        patches.setattr(module, "placeholders", lambda *_: ())


def no_text_is_spelt_out(patches: pytest.MonkeyPatch) -> None:
    """Row 9: a real value that equals the placeholder is taken for unchanged."""
    for module in (_decode, plain_reader, block):
        patches.setattr(module, "SPELT", b"\x00 never")


def old_row_of_a_key_change_stays(patches: pytest.MonkeyPatch) -> None:
    """Row 10: of a key change only the new row is applied."""
    real = fold.fold

    def without_their_deletes(changes: Iterable[Change], *others: Any) -> Any:
        changes = list(changes)
        created = {change.position for change in changes if change.op == "c"}
        return real([c for c in changes if not (c.op == "d" and c.position in created)], *others)

    patches.setattr(merge, "fold", without_their_deletes)


def arrival_is_the_order(patches: pytest.MonkeyPatch) -> None:
    """Row 13: what came last wins."""
    patches.setattr(fold, "sorted", lambda some, key=None: list(some) if key else sorted(some), raising=False)


def offsets_pass_what_is_held(patches: pytest.MonkeyPatch) -> None:
    """Row 18: the offset is ahead of what was merged."""
    real = progress.advanced
    patches.setattr(
        compactor,
        "advanced",
        lambda before, batches, table, _, *others: real(before, batches, table, {}, *others),
    )


def deletes_are_forgotten(patches: pytest.MonkeyPatch) -> None:
    """Row 28: after a restart nothing is known of deletes, and a late update brings the row back."""
    patches.setattr(RowIndex, "mark", lambda *_: None)


def replays_are_news(patches: pytest.MonkeyPatch) -> None:
    """Row 29: history is not asked whether it has a change already."""
    patches.setattr(merge, "_from_history", lambda *_: [])


def no_answer_is_a_success(patches: pytest.MonkeyPatch) -> None:
    """Row 30: a commit without an answer is taken for one that landed."""

    real = landing.until_landed

    class UnansweredError(BaseException):
        """Passes by what catches the faults of a commit."""

    def until_answered(lake: Any, base: Any, attempt: Callable[[], Any], *others: Any) -> None:
        def once() -> Any:
            try:
                return attempt()
            except ConnectionError:
                raise UnansweredError from None

        try:
            real(lake, base, once, *others)
        except UnansweredError:
            lake.refresh()

    patches.setattr(commit, "until_landed", until_answered)


def a_late_change_is_dropped(patches: pytest.MonkeyPatch) -> None:
    """Row 46: what is older than the row is not folded in."""
    real = merge.merge

    def without_late(
        changes: Iterable[Change], index: RowIndex, lake: Any, contract: Any, floor: Any, *others: Any
    ) -> Any:
        on_time = [c for c in changes if c.op == "t" or not merge._is_late(c, index, floor)]
        return real(on_time, index, lake, contract, floor, *others)

    patches.setattr("compactor.round.merge", without_late)


def a_truncate_leaves_no_floor(patches: pytest.MonkeyPatch) -> None:
    """Row 48: an old change of an absent key comes late from another shard, and the row is back."""
    real = progress.advanced
    patches.setattr(compactor, "advanced", lambda *arguments: replace(real(*arguments), floor=None))


def the_old_key_is_not_looked_for(patches: pytest.MonkeyPatch) -> None:
    """Row 51: the delete of a key change was committed before its create arrives."""
    patches.setattr(merge, "_donors_in_history", lambda *_: set())


def a_cut_off_merge_is_left(patches: pytest.MonkeyPatch) -> None:
    """Row 52: after a crash between the tables, the table is not brought to what history says."""
    patches.setattr(TablePair, "is_cut_off", lambda _: False)


def late_is_not_noticed_by_column(patches: pytest.MonkeyPatch) -> None:
    """The plain way alone: changes that are not newer than the row are merged as if they were."""
    real = winners.separate
    patches.setattr("compactor.round.separate", lambda *arguments: real(*arguments) & False)


def heartbeats_prove_too_much(patches: pytest.MonkeyPatch) -> None:
    """Row 47: one shard's heartbeat counts for all."""

    def furthest_ahead(evidence: Iterable[progress.ShardEvidence]) -> progress.ShardEvidence | None:
        told = [(one.committed_at, one) for one in evidence if one.committed_at is not None]
        return max(told, key=lambda pair: pair[0])[1] if told else None

    patches.setattr(progress, "furthest_behind", furthest_ahead)


def marks_are_filled_across(patches: pytest.MonkeyPatch) -> None:
    """A value is filled from before a change that was set aside."""
    real = fold._apply

    def apply(change: Change, before: Any, *others: Any) -> Any:
        return (before, change) if change.op == SET_ASIDE else real(change, before, *others)

    patches.setattr(fold, "_apply", apply)


def history_lacks_what_a_key_change_took_over(patches: pytest.MonkeyPatch) -> None:
    """The table is right; history has null in the place of what the new row took from the old one."""
    real = pair._history_row

    def row(change: Change, *others: Any) -> dict[str, Any]:
        return real(change, *others) | (dict.fromkeys(change.unchanged) if change.op == "c" else {})

    patches.setattr(pair, "_history_row", row)


def nothing_is_waited_for(patches: pytest.MonkeyPatch) -> None:
    """A key change whose old row is still on its way is given up at once."""
    patches.setattr(holds, "_is_overdue", lambda *_: True)


def slot_is_confirmed_before_the_stream_has_it(patches: pytest.MonkeyPatch) -> None:
    """Row 1: what was sent counts as safe."""
    real = Outbox.add

    def add(outbox: Outbox, record: Any) -> None:
        if record.entry is not None:
            record.entry.open -= 1
        real(outbox, record._replace(entry=None))

    patches.setattr(Outbox, "add", add)


def refused_records_are_overtaken(patches: pytest.MonkeyPatch) -> None:
    """Row 13: records of one key share a call, of which a part may fail and come later."""

    def add(outbox: Outbox, record: Any) -> None:
        outbox.records += 1
        outbox.bytes += record.size
        outbox._lanes.setdefault(record.lane, None)
        outbox._ready.append(record)

    def done(outbox: Outbox, record: Any) -> None:
        outbox.records -= 1
        outbox.bytes -= record.size
        outbox._attempts.pop(record.lane, None)
        if record.entry is not None:
            record.entry.open -= 1

    patches.setattr(Outbox, "add", add)
    patches.setattr(Outbox, "_done", done)


def checkpoint_before_the_batch(patches: pytest.MonkeyPatch) -> None:
    """Row 18: the checkpoint is written before the records that it covers."""

    def write_batch(reader: Any, arrived_at: Any) -> None:
        batch = reader._build()
        reader._checkpoint(lambda: reader._lease.checkpoint(batch.record.upto, arrived_at))
        reader._count(reader._writer.write(batch))

    patches.setattr(ShardReader, "_write_batch", write_batch)


def new_columns_are_shown_unfilled(patches: pytest.MonkeyPatch) -> None:
    """Row 50: ADD COLUMN with a default: old rows show null as soon as the contract names the column."""
    patches.setattr(refill.Values, "at", lambda *_: None)


def values_are_filled_across_epochs(patches: pytest.MonkeyPatch) -> None:
    """Row 6: a value that came unchanged is taken from before changes were lost."""
    patches.setattr(fold, "_is_of_lost_epoch", lambda *_: False)


def vanished_rows_are_left(patches: pytest.MonkeyPatch) -> None:
    """Row 6: what a new snapshot did not find stays."""
    sweep, below = RowIndex.sweep, RowIndex.rows_below
    patches.setattr(compactor, "deletes", lambda *_: None)
    patches.setattr(SnapshotEnd, "spares", lambda *_: False)
    patches.setattr(RowIndex, "rows_below", lambda index, floor, but: below(index, floor, but) if floor.lsn else {})
    patches.setattr(RowIndex, "sweep", lambda index, floor, but: sweep(index, floor, but) if floor.lsn else None)


def children_do_not_wait_with_their_parents(patches: pytest.MonkeyPatch) -> None:
    """Row 15: a child's records count as of the old epoch, since its parent's mark is not looked at."""
    patches.setattr(epochs, "descendants", lambda *_: set())


def one_parent_proves_for_both(patches: pytest.MonkeyPatch) -> None:
    """Row 15: the child of two shards is taken to be as far as the one that was closed first."""
    real = progress.advanced

    def advanced(before: Any, batches: Iterable[Any], *others: Any) -> Any:
        batches = list(batches)
        after = real(before, batches, *others)
        evidence = dict(after.evidence)
        for batch in batches:
            for child in batch.record.children:
                name = f"{batch.shard.stream}/{child}"
                if evidence[name].committed_at is None:
                    evidence[name] = progress.evidence_of_child(evidence[name], evidence[batch.shard.id])
        return replace(after, evidence=evidence)

    patches.setattr(compactor, "advanced", advanced)


def ordinals_are_ignored(patches: pytest.MonkeyPatch) -> None:
    """Changes of one transaction of DMS have one position."""
    real = dms._position
    patches.setattr(dms, "_position", lambda *arguments: real(*arguments)._replace(ordinal=0))


BY_SUBPROCESS: Mapping[str, Plant] = {
    plant.__name__: plant
    for plant in (
        slot_is_confirmed_before_the_stream_has_it,
        refused_records_are_overtaken,
        checkpoint_before_the_batch,
        values_are_filled_across_epochs,
        children_do_not_wait_with_their_parents,
        one_parent_proves_for_both,
    )
}
PLANTED = "PLANTED_BUG"


def pytest_configure() -> None:
    """As a plugin: plant the bug that the environment names."""
    BY_SUBPROCESS[os.environ[PLANTED]](pytest.MonkeyPatch())
