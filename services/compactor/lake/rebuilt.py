"""Rebuilt: tables that are made anew beside those of a contract, under names of their own, and put in their place.

`<table>__rebuilt_<time>` is being made or is made, `<table>__before_<time>` is what was replaced by it. The time keeps
the places of files apart too: a table's files stay where they were written when it is renamed.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError
from pyiceberg.table import Table

from cdc.contract import TableContract
from cdc.errors import FatalFault
from cdc.readers import HISTORY_SUFFIX, NAME_LENGTH_MAX
from compactor.lake.faults import reaching
from compactor.lake.pair import TablePair
from compactor.lake.table import LakeTable
from compactor.pii_key import PiiKey
from compactor.progress import HISTORY_SNAPSHOT

_REBUILT: Final = "__rebuilt_"
_BEFORE: Final = "__before_"
_TIME = re.compile(r"\d{8}t\d{6}")


def new_name(table: str, now: datetime) -> str:
    """The name under which a table is made anew.

    Raises:
        FatalFault: when it would be longer than readers take.
    """
    name = f"{table}{_REBUILT}{now:%Y%m%dt%H%M%S}"
    if len(name) + len(HISTORY_SUFFIX) > NAME_LENGTH_MAX:
        raise FatalFault(
            "the table's name leaves no room for that of a rebuilt one", where=table, hint="give it a shorter name"
        )
    return name


def before_name(rebuilt: str) -> str:
    """What the table that a rebuilt one replaces is called afterwards."""
    return _BEFORE.join(rebuilt.rsplit(_REBUILT, 1))


def first_columns(lake: LakeTable) -> frozenset[str]:
    """The columns that a table was made with; those that it has besides were filled later."""
    first = min(lake.table.metadata.schemas, key=lambda schema: schema.schema_id)
    return frozenset(field.name for field in first.fields)


class Namespace:
    """A namespace of a catalog, in which tables are made anew and swapped."""

    def __init__(self, catalog: Catalog, name: str) -> None:
        self._catalog = catalog
        self._name = name

    def unfinished(self, table: str) -> str | None:
        """The newest rebuilt table that is not swapped in yet; None when there is none."""
        with reaching(f"catalog {self._name}"):
            try:
                names = [identifier[-1] for identifier in self._catalog.list_tables(self._name)]
            except NoSuchNamespaceError:
                return None
        prefix = f"{table}{_REBUILT}"
        found = {name.removesuffix(HISTORY_SUFFIX) for name in names if name.startswith(prefix)}
        return max((name for name in found if _TIME.fullmatch(name.removeprefix(prefix))), default=None)

    def is_swap_cut_off(self, rebuilt: str) -> bool:
        """Whether the table that a rebuilt one replaces was moved away, or its history put in place, and not more."""
        table = rebuilt.rsplit(_REBUILT, 1)[0]
        with reaching(f"{self._name}.{table}"):
            return self._load(before_name(rebuilt)) is not None or self._is_moving_in(table, rebuilt)

    def load(self, name: str) -> LakeTable | None:
        """A table as it is now; None when it is not there."""
        with reaching(f"{self._name}.{name}"):
            table = self._load(name)
        return LakeTable(self._catalog, (self._name, name), table) if table is not None else None

    def pair(self, contract: TableContract, pii_key: PiiKey, rebuilt: str) -> TablePair:
        """A rebuilt table and its history, made where they are missing."""
        with reaching(f"{self._name}.{rebuilt}"):
            return TablePair(self._catalog, self._name, contract, *pii_key, name=rebuilt)

    def give_up(self, rebuilt: str) -> None:
        """Remove a rebuilt table and its history, with their files."""
        with reaching(f"{self._name}.{rebuilt}"):
            for name in (rebuilt, rebuilt + HISTORY_SUFFIX):
                if self._load(name) is not None:
                    self._catalog.purge_table((self._name, name))

    def swap(self, table: str, rebuilt: str) -> str:
        """Put a rebuilt table and its history in the place of the present ones; returns what these are called now.

        Readers miss the table for a moment, and never see one of before beside a history of after. A swap that was cut
        off goes on where it was when it is done again.

        Raises:
            FatalFault: when a name is taken by a table that is none of these, which a compactor may have made.
        """
        before = before_name(rebuilt)
        with reaching(f"{self._name}.{table}"):
            if not self._is_moving_in(table, rebuilt):  # else nothing of before has these names any more
                for old, new in ((table, before), (table + HISTORY_SUFFIX, before + HISTORY_SUFFIX)):
                    if self._load(new) is None or self._uuid(old) == self._uuid(new):
                        self._rename(old, new)  # else done by a run that was cut off
            for old, new in ((rebuilt + HISTORY_SUFFIX, table + HISTORY_SUFFIX), (rebuilt, table)):
                self._rename(old, new)
        return before

    def _is_moving_in(self, table: str, rebuilt: str) -> bool:
        """Whether the history of that name is the rebuilt table's already, while this has its own name yet."""
        history, made = self._load(table + HISTORY_SUFFIX), self._load(rebuilt)
        if history is None or made is None:
            return False
        its_uuid = self._uuid(rebuilt + HISTORY_SUFFIX)
        if its_uuid is not None:
            return its_uuid == history.metadata.table_uuid
        # Where making the tables was cut off there is no history of its own either: what was merged tells whose it is.
        merged = made.metadata.properties.get(HISTORY_SNAPSHOT)
        return merged is not None and history.metadata.snapshot_by_id(int(merged)) is not None

    def _rename(self, old: str, new: str) -> None:
        """In two calls, as Glue cannot do it in one: the new name is given first, then the old one taken away."""
        table = self._load(old)
        if table is None:
            return
        if self._load(new) is None:
            self._catalog.register_table((self._name, new), table.metadata_location)
        if self._uuid(new) != table.metadata.table_uuid:
            raise FatalFault(
                f"the name {new} is taken by another table",
                where=f"{self._name}.{old}",
                hint="a compactor may have made it meanwhile: stop it, drop that table, and swap again",
            )
        self._catalog.drop_table((self._name, old))  # its files stay, under its new name

    def _uuid(self, name: str) -> object:
        table = self._load(name)
        return table.metadata.table_uuid if table is not None else None

    def _load(self, name: str) -> Table | None:
        try:
            return self._catalog.load_table((self._name, name))
        except NoSuchTableError:
            return None
