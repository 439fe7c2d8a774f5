"""Added: columns that are shown though no contract names them, because it says `onNewColumn: add`.

Nobody has stated their type, so the lake has their values as the producer sent them, as text. When the contract comes
to name one, it is taken out and filled anew in the stated type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cdc.contract import RESERVED_PREFIX, Column, TableContract
from cdc.lake_name import lake_name
from cdc.postgres_type import AS_SENT
from compactor.columns_seen import ColumnsSeen


def with_added(contract: TableContract, added: Mapping[str, str]) -> TableContract:
    """The contract with the columns that were added beside it, by source name; those that it now names itself left out.

    With `hold`, and of columns that are left out on purpose, nothing is added.
    """
    named = _named(contract)
    columns = tuple(
        Column(name, source, AS_SENT, "internal", "clear", value_before=contract.new_value_before)
        for source, name in sorted(added.items())
        if contract.on_new_column == "add" and source not in named and not contract.has(name)
    )
    return replace(contract, columns=(*contract.columns, *columns))


def new_columns(contract: TableContract, columns: ColumnsSeen) -> tuple[dict[str, str], tuple[str, ...]]:
    """Columns that were seen and can be added, as source name → lake name, and those whose lake name is taken."""
    if contract.on_new_column != "add":
        return {}, ()
    taken = {column.name for column in contract.columns} | set(columns.added.values())
    named = _named(contract)
    new: dict[str, str] = {}
    clashing: list[str] = []
    for source, seen in sorted(columns.seen.items()):
        if source in named or source in columns.added or not seen.offsets:
            continue
        name = lake_name(source)
        if name in taken or name.startswith(RESERVED_PREFIX):
            clashing.append(source)
        else:
            new[source] = name
            taken.add(name)
    return new, tuple(clashing)


def _named(contract: TableContract) -> set[str]:
    return {name for column in contract.columns for name in (column.source_name, *column.former_names)} | set(
        contract.left_out
    )
