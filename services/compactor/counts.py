"""Counts: what was ever set aside of a table, kept in the table's own properties by the commit that moves the offsets.

So they are exact: a merge that is tried again, or cut off between its two commits, counts nothing twice. They tell what
was ever set aside; a replay that brings changes back later does not lower them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import msgspec

from cdc.errors import RecordFault

SET_ASIDE_VALUES, QUARANTINED = "cdc.set-aside", "cdc.quarantined"


@dataclass(frozen=True, slots=True)
class Counts:
    """`values`: by lake column and reason, the changes that this column kept out. `records`: by reason, all of them.

    A change with several columns at fault counts once for each column in `values`, and once in `records` under the
    first one's reason, which is also where it lies in the quarantine. A record without a readable key has no column.
    """

    values: Mapping[str, Mapping[str, int]] = field(default_factory=lambda: MappingProxyType({}))
    records: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def plus(self, set_aside: Iterable[Sequence[RecordFault]], columns: Collection[str]) -> Counts:
        """These counts and some more records, each with its faults; only a contract's columns are counted by name."""
        values = {column: Counter(reasons) for column, reasons in self.values.items()}
        records = Counter(self.records)
        for faults in set_aside:
            records[faults[0].reason] += 1
            for column, reason in {(fault.where, fault.reason) for fault in faults if fault.where in columns}:
                values.setdefault(column, Counter())[reason] += 1
        return Counts({column: dict(reasons) for column, reasons in values.items()}, dict(records))

    def properties(self) -> dict[str, str]:
        """The table properties that state them."""
        return {
            SET_ASIDE_VALUES: msgspec.json.encode(dict(self.values), order="sorted").decode(),
            QUARANTINED: msgspec.json.encode(dict(self.records), order="sorted").decode(),
        }


def parse_counts(properties: Mapping[str, str]) -> Counts:
    """The counts that a table's properties state; none when they state none.

    Raises:
        msgspec.DecodeError: when they cannot be read.
    """
    return Counts(
        msgspec.json.decode(properties.get(SET_ASIDE_VALUES) or "{}", type=dict[str, dict[str, int]]),
        msgspec.json.decode(properties.get(QUARANTINED) or "{}", type=dict[str, int]),
    )
