"""Added: columns that are shown though no contract names them, because it says `onNewColumn: add`.

Their type is the one that the producer told; where it told none, the lake has their values as they were sent, as text.
When the contract comes to name one, it is taken out and filled anew in the stated type.
"""

from __future__ import annotations

from dataclasses import replace

from cdc.contract import Column, TableContract, ValueBefore
from cdc.lake_name import lake_name
from cdc.postgres_type import AS_SENT, parse_type
from cdc.readers import column_name_faults
from compactor.columns_seen import ColumnsSeen, Seen


def with_added(contract: TableContract, columns: ColumnsSeen) -> TableContract:
    """The contract with the columns that were added beside it; those that it now names itself left out.

    With `hold`, and of columns that are left out on purpose, nothing is added.
    """
    named = contract.source_columns
    more = tuple(
        _column(contract, name, source, columns.seen.get(source, Seen()))
        for source, name in sorted(columns.added.items())
        if contract.on_new_column == "add" and source not in named and not contract.has(name)
    )
    return replace(contract, columns=(*contract.columns, *more))


def _column(contract: TableContract, name: str, source: str, seen: Seen) -> Column:
    type_ = parse_type(seen.type) if seen.type is not None else None
    before = contract.new_value_before
    if seen.before is not None:  # a value other than null stands in raw, and is looked for there
        before = ValueBefore(None) if seen.before == "null" else None
    return Column(name, source, type_ or AS_SENT, "internal", "clear", value_before=before)


def new_columns(contract: TableContract, columns: ColumnsSeen) -> tuple[dict[str, str], tuple[str, ...]]:
    """Columns that were seen and can be added, as source name → lake name, and those whose lake name is taken."""
    if contract.on_new_column != "add":
        return {}, ()
    taken = {column.name for column in contract.columns} | set(columns.added.values())
    named = contract.source_columns
    new: dict[str, str] = {}
    clashing: list[str] = []
    for source, seen in sorted(columns.seen.items()):
        if source in named or source in columns.added or not seen.offsets:
            continue
        name = lake_name(source)
        if name in taken or column_name_faults(name):
            clashing.append(source)
        else:
            new[source] = name
            taken.add(name)
    return new, tuple(clashing)
