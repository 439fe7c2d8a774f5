"""Change event: one committed change of one row (or a truncate), whichever producer sent it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from cdc.errors import RecordFault
from cdc.form import Forms
from cdc.position import Position


class Op(Enum):
    """What happened to the row; the values are Debezium's letters."""

    READ = "r"
    CREATE = "c"
    UPDATE = "u"
    DELETE = "d"
    TRUNCATE = "t"


@dataclass(frozen=True, slots=True)
class ChangeEvent:
    """One change as the producer stated it.

    `schema` and `table` are the source's own names. `before` and `after` map source column names to values as the
    message carries them; a column in `unchanged` came without value (an unchanged TOASTed one) and is absent from
    `after`; one in `doubtful` came as null, which from this producer may also mean unchanged. `committed_at` is the
    commit time at the source, aware and in UTC. `forms` tells how the values are rendered; None: as our publisher does.
    There are `faults`, one for each column, when key and position can be told but the change must not be merged, so
    that nothing later is merged as if it had not been. `omits_nulls` says that a column which is missing may as well
    be null.
    """

    schema: str
    table: str
    op: Op
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    unchanged: frozenset[str]
    position: Position
    committed_at: datetime
    faults: tuple[RecordFault, ...] = ()
    forms: Forms | None = None
    doubtful: frozenset[str] = frozenset()
    omits_nulls: bool = False

    @property
    def fault(self) -> RecordFault | None:
        """The first of the faults."""
        return self.faults[0] if self.faults else None

    @property
    def row(self) -> Mapping[str, Any]:
        """The image that names the key: `after`, or `before` of a delete; empty for a truncate."""
        return (self.before if self.op is Op.DELETE else self.after) or {}
