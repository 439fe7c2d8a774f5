"""Proof: a lake table as it is read to be compared with its source, and what came of that, stated on the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError

from cdc.contract import TableContract
from cdc.errors import FatalFault, TransientFault
from cdc.readers import HISTORY_SUFFIX
from compactor.added import with_added
from compactor.change import Key
from compactor.columns_seen import parse_columns
from compactor.lake.catalog import evolutions, shown_of
from compactor.lake.commit import commit_properties
from compactor.lake.faults import reaching
from compactor.lake.landing import CommitConflict
from compactor.lake.table import LakeTable
from compactor.pii_key import PiiKey
from compactor.progress import Progress, parse_progress

_TRIES_MAX: Final = 20
_KEYS_MAX: Final = 1000
"""Keys asked for in one scan; more literals make a scan's filter slower than the scan."""
COMMITTED_AT: Final = "cdc_committed_at"


class ComparedTable:
    """One contract's table, only read but for its property; `shown` is the contract without columns it does not show.

    Raises:
        FatalFault: when it is not made yet, or was made for another contract or masking key.
    """

    def __init__(self, catalog: Catalog, namespace: str, contract: TableContract, pii_key: PiiKey) -> None:
        with reaching(f"{namespace}.{contract.name}"):
            self._table, history = (
                _load(catalog, (namespace, name)) for name in (contract.name, contract.name + HISTORY_SUFFIX)
            )
            columns = parse_columns(self._table.properties)
            evolutions(self._table, history, with_added(contract, columns), *pii_key)
            self.shown = shown_of(contract, self._table, history)

    @property
    def name(self) -> str:
        """Namespace and name."""
        return self._table.name

    @property
    def progress(self) -> Progress:
        """How far the table is merged, as it was last loaded."""
        return parse_progress(self._table.properties, self._table.name)

    @property
    def schema(self) -> pa.Schema:
        """The columns that are compared, in the contract's order."""
        types = self._table.arrow_schema
        return pa.schema([types.field(column.name).with_nullable(True) for column in self.shown.columns])

    def refresh(self) -> None:
        """Load the table as it is now."""
        with reaching(self.name):
            self._table.refresh()

    def live_rows(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The live rows, file by file, at the snapshot that was loaded."""
        with reaching(self.name):
            yield from self._table.live_rows(columns)

    def find(self, keys: Sequence[Key]) -> dict[Key, list[dict[str, Any]]]:
        """The rows of some keys, with the time of their newest change; one that stands twice is there twice."""
        key, ordered = self.shown.key, sorted(set(keys))
        names = (*(column.name for column in self.shown.columns), COMMITTED_AT)
        found: dict[Key, list[dict[str, Any]]] = {}
        with reaching(self.name):
            for start in range(0, len(ordered), _KEYS_MAX):
                wanted = set(ordered[start : start + _KEYS_MAX])
                # By every column of the key: the first alone may be that of a tenant with half of the table's rows.
                parts = {name: {one[at] for one in wanted} for at, name in enumerate(key)}
                for row in self._table.find_where(parts, names):
                    its = tuple(row[name] for name in key)
                    if its in wanted:
                        found.setdefault(its, []).append(row)
        return found

    def state(self, properties: Mapping[str, str]) -> None:
        """State some properties, beside whatever the compactor commits meanwhile.

        Raises:
            TransientFault: when the catalog does not let us.
        """
        for _ in range(_TRIES_MAX):
            self.refresh()
            try:
                with reaching(self.name):
                    commit_properties(self._table, properties)
            except CommitConflict:
                continue  # the compactor's commit came between; ours may have landed all the same
            return
        raise TransientFault("the outcome could not be stated on the table", where=self.name, hint="run it again")


def _load(catalog: Catalog, identifier: tuple[str, str]) -> LakeTable:
    try:
        return LakeTable(catalog, identifier, catalog.load_table(identifier))
    except NoSuchTableError:
        raise FatalFault(
            "the table is not in the catalog",
            where=".".join(identifier),
            hint="has the compactor run with this contract?",
        ) from None
