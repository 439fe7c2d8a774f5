"""Columns: those that ALTER TABLE adds to the source's table, widens, renames and drops while the machine runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from cdc.contract import Column, TableContract, value_before
from cdc.postgres_type import parse_type
from tests.raw_zone import PLACEHOLDER

DEFAULTS = {"text": (None, "de antes"), "integer": (None, 7)}
"""What ADD COLUMN gives to the rows that are there, by the column's type."""
_NUMBERS = (0, -1, 2**31 - 1, None)
_WIDE_NUMBERS = (2**31, -(2**63), 5, None)


@dataclass(frozen=True)
class Added:
    """A column that was added: its `name` in the lake stays, what the source calls it may change.

    `default` is what ADD COLUMN gave to the rows that were there: no event ever says it.
    """

    name: str
    type: str
    default: Any
    source_name: str
    former_names: tuple[str, ...] = ()

    @property
    def is_long(self) -> bool:
        """Whether its values come as "unchanged" where a change left them alone."""
        return self.type == "text"

    def value(self, value: int, lsn: int) -> Any:
        """A value that a row may have."""
        if self.type == "text":
            return (f"{self.name}.{lsn}", PLACEHOLDER, f"{self.name}.{lsn}", None)[value % 4]
        return (_NUMBERS if self.type == "integer" else _WIDE_NUMBERS)[value % 4]

    def widened(self) -> Added:
        """The same column of a type that holds more."""
        return replace(self, type="bigint")

    def renamed(self, name: str) -> Added:
        """The same column under another name at the source."""
        return replace(self, source_name=name, former_names=(*self.former_names, self.source_name))

    def contracted(self) -> Column:
        """As a contract names it: with what it is in rows from before it was added."""
        kind = parse_type(self.type)
        assert kind is not None
        before = value_before(kind, self.default)
        return Column(self.name, self.source_name, kind, "internal", "clear", self.former_names, before)


def with_added(contract: TableContract, columns: list[Added]) -> TableContract:
    """A version of a contract that names these columns as well."""
    return replace(contract, columns=(*contract.columns, *(column.contracted() for column in columns)))
