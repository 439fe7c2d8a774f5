"""A table and its history, as the merge reads and commits them: history first, then the table, each atomically."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from pyiceberg.catalog import Catalog

from cdc.contract import TableContract
from cdc.errors import FatalFault
from cdc.position import LSN_OF_BACKFILL, Position
from compactor.added import with_added
from compactor.change import SET_ASIDE, Change, Key
from compactor.columns_seen import ColumnsSeen, parse_columns, taken_out
from compactor.fold import DELETE, State, stamped, table_row
from compactor.index import Entries, Fingerprints, Located, Mark, Positions, RowIndex, entries_of
from compactor.lake.catalog import evolutions, open_tables, shown_of
from compactor.lake.commit import Changes, Committed, Written, commit, commit_properties, commit_schema, land, write
from compactor.lake.evolve import Evolution, identity, source_names
from compactor.lake.fill import fill
from compactor.lake.table import LiveFile, brought_since
from compactor.progress import HISTORY_SNAPSHOT, Progress, parse_progress
from compactor.refill import Place, Values

_POSITION = ("cdc_epoch", "cdc_lsn", "cdc_ordinal")


class TablePair:
    """One contract's tables in the lake, at the snapshots that were current when they were loaded.

    `name` is the table's where it is not the contract's: one that is made anew beside it.
    """

    def __init__(
        self,
        catalog: Catalog,
        namespace: str,
        contract: TableContract,
        pii_key: bytes,
        pii_key_version: str = "",
        name: str = "",
    ) -> None:
        self._contract = contract
        self._pii_key = (pii_key, pii_key_version)
        self.table, self.history = open_tables(catalog, namespace, contract, pii_key, pii_key_version, name)

    @property
    def shown(self) -> TableContract:
        """The contract without the columns that the lake does not show yet."""
        return shown_of(self.wanted(parse_columns(self.table.properties)), self.table, self.history)

    def wanted(self, columns: ColumnsSeen) -> TableContract:
        """The contract with the columns that were added beside it."""
        return with_added(self._contract, columns)

    def refresh(self) -> None:
        """Load both tables anew."""
        self.table.refresh()
        self.history.refresh()

    def follow_contract(self) -> tuple[Evolution, Evolution]:
        """Bring both schemas to the contract's, columns that are to be filled first left out; what that did by table.

        Each table follows in one commit, history first. A crash between the two leaves the rest to the next load; of
        two compactors one has the other's commit for a conflict and loads anew.

        Raises:
            FatalFault: when a table cannot follow; nothing was touched.
        """
        present = self.table_progress().columns
        wanted, anew = self.wanted(present), self._named_now(present)
        planned = evolutions(self.table, self.history, wanted, *self._pii_key, anew)
        was_cut_off = self.is_cut_off()
        progress = None if was_cut_off else self.table_progress()
        gone = source_names(self.table.properties, planned[0].dropped)
        for lake, its in ((self.history, planned[1]), (self.table, planned[0])):
            stated = progress or parse_progress(lake.properties, lake.name)
            stated = replace(stated, columns=taken_out(stated.columns, gone))
            properties = {**its.properties, **(stated.properties() if its.schema != lake.table.schema() else {})}
            if lake is self.table and not was_cut_off and self.history.snapshot_id is not None:
                # History has a new snapshot and no new change.
                properties[HISTORY_SNAPSHOT] = str(self.history.snapshot_id)
            if its.schema != lake.table.schema():
                commit_schema(lake, Changes(schema=its.schema, properties=properties))
            elif not properties.items() <= lake.properties.items():
                commit_properties(lake, properties)
        return planned

    def _named_now(self, columns: ColumnsSeen) -> frozenset[str]:
        """Columns that were added and that the contract now names: they are taken out, to be made anew."""
        return frozenset(name for name in columns.added.values() if self._contract.has(name))

    def show(self, values: Sequence[Values], progress: Progress) -> None:
        """Show new columns, their values in every row: history first, then the table, each at once.

        Until both are done neither's is taken for shown: a crash between the two starts again.
        """
        names = {column.name for column in self.shown.columns} | {one.column.name for one in values}
        wanted = self.wanted(progress.columns)
        columns = tuple(column for column in wanted.columns if column.name in names)
        made_of = identity(replace(wanted, columns=columns), *self._pii_key)
        stated = progress.properties()
        fill(self.history, values, self._contract.key, stated, stated | made_of, is_history=True)
        fill(self.table, values, self._contract.key, {}, self._properties(progress) | made_of, is_history=False)

    def table_progress(self) -> Progress:
        """How far the table is merged."""
        return parse_progress(self.table.properties, self.table.name)

    def history_progress(self) -> Progress:
        """How far history is written."""
        return parse_progress(self.history.properties, self.history.name)

    def is_cut_off(self) -> bool:
        """Whether history is ahead of the table: a merge was cut off between its two commits."""
        merged = self.table.properties.get(HISTORY_SNAPSHOT)
        # A snapshot of maintenance holds no change that was not there before.
        return brought_since(self.history.table.metadata, int(merged) if merged else None) != frozenset()

    def keys_ahead(self) -> set[Key]:
        """The keys with changes that are in history, but not yet in the table."""
        merged = self.table.properties.get(HISTORY_SNAPSHOT)
        rows = self.history.added_since(int(merged) if merged else None, self._contract.key)
        keys = zip(*(rows[name].to_pylist() for name in self._contract.key), strict=True)
        return {key for key in keys if None not in key}

    def empty_index(self) -> RowIndex:
        """An index for this table's keys that knows nothing yet."""
        schema = self.table.arrow_schema
        return RowIndex([schema.field(name).type for name in self._contract.key])

    def build_index(self) -> RowIndex:
        """The index of the table's live rows, and of the deletes and set-aside changes that history remembers."""
        index, files = self.empty_index(), self.table.live_files()
        for file in files:
            index.add_file(file.path, file.records, file.deleted)
        count = sum(file.records - len(file.deleted) for file in files)
        if not index.load((self._entries(index, file) for file in files), count):
            raise FatalFault(
                "a key has two live rows",
                where=self.table.name,
                hint="another writer has added rows, or the table is damaged: rebuild it from raw",
            )
        marked = self.history.find_rows("cdc_op", [DELETE, SET_ASIDE], (*self._contract.key, *_POSITION, "cdc_op"))
        index.mark(index.prints_of([marked[name] for name in self._contract.key]), _marked(marked))
        return index

    def _entries(self, index: RowIndex, file: LiveFile) -> tuple[Fingerprints, Entries]:
        """What the index is to know of the live rows of a file."""
        rows = self.table.read(file.path, [*self._contract.key, *_POSITION])
        alive = np.arange(file.records)
        if len(file.deleted):
            alive = np.delete(alive, file.deleted)
            rows = rows.take(pa.array(alive))
        return index.prints_of([rows[name] for name in self._contract.key]), entries_of(index, file.path, alive, rows)

    def live_rows(self) -> Iterator[Place]:
        """The key and position of every live row, read from the files."""
        for file in self.table.live_files():
            rows = self.table.read(file.path, [*self._contract.key, *_POSITION])
            if len(file.deleted):
                rows = rows.take(pa.array(np.delete(np.arange(file.records), file.deleted)))
            keys = zip(*(rows[name].to_pylist() for name in self._contract.key), strict=True)
            positions = zip(*(rows[name].to_pylist() for name in _POSITION), strict=True)
            yield from ((key, Position(*position)) for key, position in zip(keys, positions, strict=True))

    def rows_at(self, located: Mapping[Key, Located]) -> dict[Key, dict[str, Any]]:
        """Rows of the table by their places, as the fold wants them."""
        by_file: dict[str, list[tuple[int, Key]]] = {}
        for key, place in located.items():
            by_file.setdefault(place.path, []).append((place.row, key))
        columns = [*(column.name for column in self.shown.columns), "cdc_committed_at"]
        rows: dict[Key, dict[str, Any]] = {}
        for path, places in by_file.items():
            places.sort()
            read = self.table.read(path, columns, np.asarray([row for row, _ in places], np.int64)).to_pylist()
            for (_, key), row in zip(places, read, strict=True):
                if _key(row, self._contract) != key:
                    raise FatalFault(
                        "a row is not where the index has it", where=path, hint="restart, so that it is built anew"
                    )
                rows[key] = row
        return rows

    def history_of(self, column: str, values: Sequence[Any]) -> list[dict[str, Any]]:
        """Rows of the history whose column has one of some values."""
        return self.history.find(column, values)

    def count_reads(self, epoch: int) -> int:
        """How many rows of the snapshot of an epoch history has, those that were set aside counted in."""
        rows = self.history.find_rows("cdc_epoch", [epoch], ("cdc_op", "cdc_lsn"))
        ops = rows["cdc_op"].to_numpy(zero_copy_only=False)
        return int(((rows["cdc_lsn"].to_numpy() == LSN_OF_BACKFILL) & (ops != DELETE)).sum())

    def commit_history(self, changes: Sequence[Change], plain: pa.Table, progress: Progress) -> None:
        """Append changes to history, with the offsets that they come up to; `plain` has those merged by column."""
        schema = self.history.arrow_schema
        rows = pa.Table.from_pylist([_history_row(change, self._contract) for change in changes], schema)
        if len(plain):
            unchanged = pa.nulls(len(plain), schema.field("cdc_unchanged").type)
            plain = plain.append_column(schema.field("cdc_unchanged"), unchanged).select(schema.names).cast(schema)
            rows = pa.concat_tables([rows, plain])
        commit(self.history, Changes(rows, properties=progress.properties()))

    def sorted_rows(self, states: Iterable[State], plain: pa.Table | None) -> pa.Table:
        """Rows for the table, in the order of their keys; `plain` has those merged by column."""
        schema = self.table.arrow_schema
        rows = pa.Table.from_pylist([table_row(state) for state in states], schema)
        if plain is not None and len(plain):
            rows = pa.concat_tables([rows, plain.select(schema.names).cast(schema)])
        return rows.sort_by([(name, "ascending") for name in self._contract.key]).combine_chunks()

    def write_table(self, rows: pa.Table, dead: Mapping[str, Positions], dropped: frozenset[str]) -> Written:
        """Write the files by which rows of the table are replaced; rows keep the order given. Nothing shows yet."""
        return write(self.table, Changes(rows, dead, dropped))

    def commit_table(self, written: Written, progress: Progress) -> Committed:
        """Replace rows of the table by what was written, with the offsets that they come up to."""
        return land(self.table, written, self._properties(progress))

    def commit_progress(self, progress: Progress) -> None:
        """State new progress where no row changed."""
        commit_properties(self.table, self._properties(progress))

    def _properties(self, progress: Progress) -> dict[str, str]:
        # An empty history has no snapshot; the property is then left out, and all that history ever gets is ahead.
        snapshot = self.history.snapshot_id
        return progress.properties() | ({HISTORY_SNAPSHOT: str(snapshot)} if snapshot is not None else {})


def _key(row: Mapping[str, Any], contract: TableContract) -> Key:
    return tuple(row[name] for name in contract.key)


def _marked(rows: pa.Table) -> Entries:
    ops = rows["cdc_op"].to_numpy(zero_copy_only=False)
    ordinal = rows["cdc_ordinal"].to_numpy()
    return Entries(
        np.where(ops == SET_ASIDE, Mark.SET_ASIDE, Mark.DELETED).astype(np.int32),
        np.zeros(len(rows), np.uint32),
        rows["cdc_epoch"].to_numpy().astype(np.uint16),
        rows["cdc_lsn"].to_numpy().astype(np.int64),
        ordinal if ordinal.any() else None,
    )


def _history_row(change: Change, contract: TableContract) -> dict[str, Any]:
    key = dict(zip(contract.key, change.key, strict=True)) if change.key else {}
    stamp = stamped(change.position, change.committed_at)
    return {**key, **change.values, **stamp, "cdc_op": change.op, "cdc_unchanged": sorted(change.unchanged) or None}
