"""Current: the present rows of a table out of raw alone, as the compactor would make them, by a shorter way.

Most of raw is passed over: from the newest object to the oldest each line is asked for its key and position only, and
the rows of the newest changes alone are read. What these do not tell (a value that came unchanged, a key change, a
fault, …) is folded change by change, by the law that the compactor has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cdc.contract import TableContract
from cdc.epoch import FIRST_EPOCH
from cdc.errors import FatalFault
from cdc.event import Op
from cdc.objects import ObjectStore
from cdc.position import LSN_OF_BACKFILL, Position
from cdc.raw import schema_path
from compactor.change import Change, ChangeReader
from compactor.collector import collector_paused
from compactor.fold import DELETE
from compactor.index import Entries, Fingerprints, RowIndex
from compactor.lake.schema import history_schema, table_schema
from compactor.plain import Line, PlainReader, PlainRows, noted_of_plain
from compactor.progress import Progress
from compactor.snapshot_end import closed_children
from compactor.state.heads import HeadReader, Mask
from compactor.state.law import Donors, Highs, Law, are_among
from compactor.state.newest import GONE, Changed, Newest
from compactor.state.sights import Sighted, begins_anew, sighted
from compactor.state.together import Chosen, Opened, changed, chosen, together
from compactor.state.zone import FROM_THE_START, Piece, Tell, Zone, open_zone, unrecorded_epoch
from compactor.vanished import is_merged
from compactor.watch import sight

_READ: Final = Op.READ.value
_TRIED_MAX: Final = 64
"""How many lines are read one by one to learn which columns beside the contract's they carry."""


@dataclass(frozen=True, slots=True)
class Current:
    """The present rows in the order of their keys, and what is to be told of them.

    `progress` is how far raw comes, as the lake's table would state it. `lines` is how many raw lines there are;
    `folded` are keys that the law decided; `keys_aside` those whose newest change is set aside, so that their rows are
    of before it, and `aside` these faults by column and reason; `rejected` are records of which not even the key could
    be read.
    """

    rows: pa.Table
    progress: Progress
    lines: int
    folded: int
    keys_aside: int
    aside: Mapping[tuple[str, str], int]
    rejected: int


def current_state(
    contract: TableContract,
    store: ObjectStore,
    pii_key: bytes,
    tell: Tell = lambda _: None,
    begins: Progress = FROM_THE_START,
) -> Current:
    """The present rows of a table, as raw tells them now; nothing is written to it. `begins` is as `open_zone` has it.

    Raises:
        RawFault: when raw lacks something or holds what is not what its batch record says.
        FatalFault: when raw alone does not tell the state; the compactor would wait here, or knows more.
    """
    with collector_paused():
        return _Reading(open_zone(contract, store, begins, tell), pii_key, tell).run()


class _Reading:
    """What is known while raw is read once from its newest object to its oldest."""

    def __init__(self, zone: Zone, pii_key: bytes, tell: Tell) -> None:
        contract = zone.contract
        self._zone = zone
        self._tell = tell
        self._schema = table_schema(contract).as_arrow()
        index = RowIndex([self._schema.field(name).type for name in contract.key])
        self._prints_of = index.prints_of
        self._heads = HeadReader(contract, self._schema, pii_key, index.prints_of)
        self._changes = ChangeReader(contract, pii_key, self._avro_schema)
        self._plain = PlainReader(contract, history_schema(contract).as_arrow(), pii_key)
        self._law = Law(zone, self._schema, self._changes, self._heads, index)
        self._newest = Newest(index.prints_of_keys([]))
        self._parts: list[pa.Table] = []
        self._dead: list[list[npt.NDArray[np.uint32]]] = []
        self._slow: list[Highs] = []
        self._donors = Donors()
        self._reads: list[Highs] = []
        self._sighted: list[tuple[str, int, Sighted]] = []
        self._odd_lines = 0

    def run(self) -> Current:
        if self._changes.watched:
            self._learn_columns()
        pieces = self._zone.pieces
        lines = sum(piece.ref.records for piece in pieces)
        read = 0
        # Each is looked at as soon as it is unpacked, while the processor has it at hand.
        for some in together(self._object(piece, text) for piece, text in self._zone.texts(reversed(pieces))):
            self._read(some[::-1])
            read += sum(one.ref.records for one in some)
            some.clear()  # before the next are unpacked: memory that is used again costs half
            self._tell(f"{read:,} of {lines:,} lines")
        self._check_sights()
        floor = self._floor()
        slow = np.unique(np.concatenate([np.empty(0, np.uint64), *self._slow]))
        if len(slow):
            self._tell(f"{len(slow):,} keys are folded change by change")
            self._law.fold(slow, self._lines_of(len(slow), lines), self._donors, floor)
        told = self._law.told
        self._check_columns(told.aside)
        self._check_reads(told.keys_below)
        rows, progress = self._rows(slow, floor), replace(self._zone.progress, floor=floor)
        return Current(rows, progress, lines, len(slow), told.keys_aside, told.aside, len(told.rejected))

    # Reading

    def _object(self, piece: Piece, text: bytes) -> Opened:
        """Read the heads of an object."""
        text_bytes = len(text)
        heads = self._heads.read(text, piece.ref.records) if piece.epoch is not None else None
        if heads is not None and piece.epoch is not None:
            epochs = np.full(len(heads), piece.epoch, np.int32)
            return Opened(piece.ref, text_bytes, heads, epochs, lambda: self._zone.lines(piece, text))
        lines = self._zone.lines(piece, text)
        self._look(piece, lines)
        heads = self._heads.read_lines(lines)
        epochs = np.array([line.epoch for line in lines], np.int32)[heads.changes.places]
        return Opened(piece.ref, text_bytes, heads, epochs, lambda: lines)

    def _look(self, piece: Piece, lines: Sequence[Line]) -> None:
        """Take note of what tells of a snapshot begun anew; our own publisher says so itself."""
        epochs, shard = self._zone.epochs, piece.batch.shard.id
        if not lines:
            return
        sights = ((sight(bytes(line.raw.event)), line.raw.seq) for line in lines if line.epoch == epochs.newest)
        told = [one for one, seq in sights if one and not (one.is_read and epochs.is_resent(shard, int(seq)))]
        self._sighted.append((shard, int(lines[0].raw.seq), sighted(told)))

    def _read(self, objects: Sequence[Opened]) -> None:
        """Read the rows of the newest changes in some objects, which are in the order in which they came."""
        heads = changed(objects)
        ops = np.concatenate([one.heads.changes.ops for one in objects])
        self._donors.add(heads.lsns[heads.is_delete], heads.prints.high[heads.is_delete])
        self._note_reads_in(objects, heads, (ops == _READ) & (heads.epochs == self._zone.progress.snapshot_epoch))
        self._read_by_law([one for one in objects if one.heads.others])
        found = self._newest.candidates(heads)
        self._give_to_law(found.slow)
        if len(found.which):
            order = np.argsort(found.which)
            self._take(chosen(objects, found.which[order]), found.prints.take(order))

    def _read_by_law(self, objects: Sequence[Opened]) -> None:
        """Read the lines without a head in some objects: of their keys the law decides."""
        self._odd_lines += sum(len(one.heads.others) for one in objects)
        changes, prints = self._law.read_others(objects)
        if not changes:
            return
        self._give_to_law(prints)
        deletes = [place for place, change in enumerate(changes) if change.op == DELETE]
        self._donors.add(np.array([changes[place].position.lsn for place in deletes], np.int64), prints.high[deletes])
        self._note_reads(prints.high, np.array([self._is_read(change) for change in changes], np.bool_))

    def _is_read(self, change: Change) -> bool:
        epoch, lsn, _ = change.position
        return (epoch, lsn) == (self._zone.progress.snapshot_epoch, LSN_OF_BACKFILL) and change.op != DELETE

    def _note_reads_in(self, objects: Sequence[Opened], heads: Changed, is_read: Mask) -> None:
        """Take note of the newest snapshot's reads among some heads: those that can be read whole."""
        which = np.flatnonzero(is_read)
        if self._zone.progress.snapshot_epoch == FIRST_EPOCH or not len(which):
            return
        some, prints = chosen(objects, which), heads.prints.take(which)
        plain, others = self._read_rows(some)
        self._reads.append(np.unique(prints.high[plain.places]))
        told = self._law.read(some.lines(others)) if others else []
        if told:
            self._reads.append(np.unique(self._law.prints_of(told).high))

    def _note_reads(self, highs: Highs, is_read: Mask) -> None:
        """Take note of the keys that the newest snapshot has read, where they must be counted."""
        if self._zone.progress.snapshot_epoch != FIRST_EPOCH and is_read.any():
            self._reads.append(np.unique(highs[is_read]))

    def _take(self, some: Chosen, prints: Fingerprints) -> None:
        """Read the rows of changes that are the newest of their keys as yet; where one is not plain the law decides."""
        plain, others = self._read_rows(some)
        prints_of_rows = prints.take(plain.places)
        order = prints_of_rows.order()
        rows = plain.rows
        is_delete = (rows["cdc_op"].to_numpy(zero_copy_only=False) == DELETE)[order]
        entries = Entries.zeros(len(plain))
        entries.epoch[:] = rows["cdc_epoch"].to_numpy()[order]
        entries.lsn[:] = rows["cdc_lsn"].to_numpy()[order]
        entries.file[:] = np.where(is_delete, GONE, len(self._parts))
        entries.row[:] = order
        self._parts.append(rows.select(self._schema.names))
        self._dead.append([order[is_delete].astype(np.uint32)])
        self._bury(self._newest.put(prints_of_rows.take(order), entries))
        if others:
            self._give_to_law(prints.take(np.array(others, np.intp)))

    def _read_rows(self, some: Chosen) -> tuple[PlainRows, list[int]]:
        """The plain rows of some changes, and the places of those that are not plain."""
        while True:
            held = self._changes.held
            plain, others = self._plain.read_changes(some.changes, some.is_ours, some.epochs, held)
            if others:
                self._law.read(some.lines(others[:_TRIED_MAX]))
            if self._changes.held == held:
                return plain, others

    def _give_to_law(self, prints: Fingerprints) -> None:
        if len(prints):
            self._slow.append(np.unique(prints.high))
            self._bury(self._newest.put_slow(prints))

    def _bury(self, before: Entries) -> None:
        """The rows that were the newest before are so no longer."""
        for part in np.unique(before.file[before.file >= 0]).tolist():
            self._dead[part].append(before.row[before.file == part])

    # What is known once all was read

    def _check_sights(self) -> None:
        by_shard: dict[str, list[Sighted]] = {}
        for shard, _, one in sorted(self._sighted, key=lambda entry: entry[:2]):
            by_shard.setdefault(shard, []).append(one)
        begun = [shard for shard, some in by_shard.items() if begins_anew(some)]
        if begun:
            raise unrecorded_epoch(self._zone.contract.name, begun)

    def _floor(self) -> Position | None:
        """The position below which no row lives: that of the newest truncate, or of the newest snapshot."""
        truncated = self._law.truncated_below
        progress, epochs = self._zone.progress, self._zone.epochs
        if progress.is_snapshot_settled:
            return truncated
        epoch = progress.snapshot_epoch
        start, end = epochs.start(epoch), epochs.ends.get(epoch)
        reads = len(np.unique(np.concatenate([np.empty(0, np.uint64), *self._reads])))
        if start is None or end is None:
            what = f"the snapshot that began epoch {epoch} is not complete"
        elif not is_merged(start, end, progress, self._zone.shards, closed_children(self._zone.store, end.ends)):
            what = f"raw does not have all of the snapshot that began epoch {epoch} yet"
        elif end.reads is not None and reads < end.reads:
            what = f"{end.reads - reads} reads of the snapshot that began epoch {epoch} are missing"
        else:
            return max(truncated or Position(epoch, LSN_OF_BACKFILL), Position(epoch, LSN_OF_BACKFILL))
        raise FatalFault(
            f"{what}: rows of before that it has not found cannot be told from those still to come",
            where=self._zone.contract.name,
            hint="wait for its end, or look into the quarantine; `cdc status` and docs/epochs.md tell more",
        )

    def _lines_of(self, keys: int, lines: int) -> int:
        """About how many lines some keys have that the law decides."""
        return min(lines, self._odd_lines + lines * keys // max(1, len(self._newest)))

    def _check_columns(self, aside: Mapping[tuple[str, str], int]) -> None:
        """Refuse where rows lack a column: the lake may have filled it in old rows, of which raw does not say how."""
        lacking = sorted({column for column, reason in aside if reason == "missing-column"})
        if lacking:
            raise FatalFault(
                f"the newest changes of some rows lack columns of the contract: {', '.join(lacking)}",
                where=self._zone.contract.name,
                hint="if they were added later, state valueBeforeAdded or use `cdc rebuild`; if they were renamed, "
                "state formerNames; if they were dropped, take them out of the contract",
            )

    def _check_reads(self, keys_below: int) -> None:
        """Refuse where rows from before the newest snapshot may be there or gone: what came since is set aside."""
        if keys_below:
            raise FatalFault(
                f"of {keys_below} rows from before the newest snapshot all that came since is set aside",
                where=self._zone.contract.name,
                hint="these rows cannot be told from those that are gone: look into the quarantine; see docs/epochs.md",
            )

    def _rows(self, slow: Highs, floor: Position | None) -> pa.Table:
        """All rows that live, in the order of their keys."""
        of_parts, of_law = self._live(slow), self._law.told.rows
        parts = [part.cast(self._schema) for part in (self._schema.empty_table(), *self._parts, *of_law)]
        rows = pa.concat_tables(parts)
        is_live = np.ones(len(rows), np.bool_)
        is_live[: len(of_parts)] = of_parts
        if floor is not None:
            is_live &= _is_not_below(rows, floor)
        live = pa.array(np.flatnonzero(is_live))
        keys = rows.select(self._zone.contract.key).take(live)
        places = live.take(pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names]))
        columns = rows.columns[::-1]
        del rows
        for some in (parts, self._parts, of_law):
            some.clear()  # each column is let go once its rows are taken: there are never two of all
        return pa.Table.from_arrays([columns.pop().take(places) for _ in self._schema], schema=self._schema)

    def _live(self, slow: Highs) -> Mask:
        """Which rows of the parts are still the newest of their keys; of some keys the law decides. Parts of which few
        are leave the others behind at once.
        """
        told = [np.empty(0, np.bool_)]
        for place, (rows, dead) in enumerate(zip(self._parts, self._dead, strict=True)):
            is_live = np.ones(len(rows), np.bool_)
            is_live[np.concatenate(dead)] = False
            if len(slow):
                prints = self._prints_of([rows[name] for name in self._zone.contract.key])
                is_live &= ~are_among(prints.high, slow)
            if 2 * np.count_nonzero(is_live) < len(rows):
                self._parts[place] = rows.filter(pa.array(is_live))
                is_live = np.ones(len(self._parts[place]), np.bool_)
            told.append(is_live)
        return np.concatenate(told)

    def _learn_columns(self) -> None:
        """Learn where columns begin whose older rows have a stated value: for that all rows are read."""
        for piece, text in self._zone.texts(self._zone.pieces):
            lines = self._zone.lines(piece, text)
            plain, others, _ = self._plain.read(lines, self._changes.held)
            self._changes.seen = noted_of_plain(
                self._changes.seen, self._changes.held, self._changes.watched, plain, lines
            )
            self._law.read(lines[place] for place in others)

    def _avro_schema(self, stream: str, schema_id: int) -> str:
        return self._zone.store.get(schema_path(stream, schema_id)).decode()


def _is_not_below(rows: pa.Table, floor: Position) -> Mask:
    epochs, lsns, ordinals = (rows[name].to_numpy() for name in ("cdc_epoch", "cdc_lsn", "cdc_ordinal"))
    is_same_lsn = (epochs == floor.epoch) & (lsns == floor.lsn)
    is_below = (epochs < floor.epoch) | ((epochs == floor.epoch) & (lsns < floor.lsn))
    return np.asarray(~is_below & ~(is_same_lsn & (ordinals < floor.ordinal)), np.bool_)
