"""Reconcile's outcome: what was found, for people, for machines, and as the table states it; no value of a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from cdc.lake_name import shown
from cdc_ops.reconcile_recheck import Difference


class Outcome(msgspec.Struct, frozen=True):
    """What came of comparing one table.

    `began_at` is the source's time when the first row was read: what was committed before is what is proven.
    `rows_at_source` were read (of a sample: some of them), `rows_in_lake` is all that the table had then.
    `differences` counts by kind, `columns` those that differ or are not held. `rechecked` rows looked different at
    first, `undecided` ones still did when it was given up. `is_sample`: not all was read, so nothing is proven.
    """

    table: str
    began_at: datetime
    ended_at: datetime
    rows_at_source: int
    rows_in_lake: int
    differences: Mapping[str, int]
    columns: Mapping[str, int]
    rechecked: int
    undecided: int
    is_sample: bool

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs, and nothing is undecided."""
        return not self.differences and not self.undecided

    @property
    def difference_count(self) -> int:
        """How many rows differ."""
        return sum(self.differences.values())


def counted(found: Sequence[Difference], unreadable_keys: int) -> tuple[dict[str, int], dict[str, int]]:
    """The differences by kind and by column."""
    kinds = Counter(one.kind for one in found)
    kinds["not-held"] += unreadable_keys
    columns = Counter(column for one in found for column in one.columns)
    return {kind: count for kind, count in sorted(kinds.items()) if count}, dict(sorted(columns.items()))


def as_json(outcomes: Sequence[Outcome]) -> str:
    """One document."""
    tables = [{**msgspec.to_builtins(one), "is_equal": one.is_equal} for one in outcomes]
    whole = {"version": 1, "is_equal": all(one.is_equal for one in outcomes), "tables": tables}
    return msgspec.json.encode(whole).decode() + "\n"


def as_text(outcome: Outcome) -> str:
    """The outcome for people; its last line is the verdict."""
    lines = [f"  {kind}: {count:,} rows" for kind, count in outcome.differences.items()]
    lines += [f"  column {shown(column)}: in {count:,} rows" for column, count in outcome.columns.items()]
    if outcome.undecided:
        lines.append(f"  undecided: {outcome.undecided:,} rows, which change too often or whose changes do not come")
    scope = "a sample of the source" if outcome.is_sample else "source"
    verdict = "equals" if outcome.is_equal else "does not equal"
    counts = f"{outcome.rows_at_source:,} rows, {outcome.difference_count:,} differences"
    moment = outcome.began_at.strftime("%Y-%m-%d %H:%M:%S UTC")
    return "".join(f"{line}\n" for line in [*lines, f"{outcome.table} {verdict} {scope} of {moment}: {counts}"])
