"""Rebuild's comparison: a rebuilt table with the present one, row by row, positions included; no values."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cdc_ops.reconcile_digest import LakeDigests, digests
from cdc_ops.reconcile_recheck import is_same
from compactor.lake.evolve import KEY, MASKS, PII_KEY_CHECK
from compactor.lake.table import LakeTable

NAMED_MAX: Final = 10_000
"""Of so many rows that differ it is told in which columns."""


class Compared(msgspec.Struct, frozen=True):
    """How a rebuilt table differs from the present one: rows by kind, and the columns that differ (of at most 10,000
    rows). `left_out` are columns that cannot be compared, since their type, mask or masking key is another now. With
    one of the key among them no row can be told from another: then rows are only counted, and `is_comparable` is false.
    """

    rows_present: int
    rows_rebuilt: int
    only_present: int
    only_rebuilt: int
    differing: int
    columns: Mapping[str, int]
    left_out: tuple[str, ...]
    is_comparable: bool = True

    @property
    def is_equal(self) -> bool:
        """Whether rows were compared, and all that can be compared is the same."""
        return self.is_comparable and not (self.only_present or self.only_rebuilt or self.differing)


def compare(present: LakeTable, rebuilt: LakeTable) -> Compared:
    """Compare two tables of one contract, at the snapshots that were loaded."""
    columns, left_out = _comparable(present, rebuilt)
    key = [name for name in present.properties[KEY].split(",") if name in columns]
    if len(key) < len(present.properties[KEY].split(",")):
        before, now = (sum(len(rows) for rows in lake.live_rows(["cdc_epoch"])) for lake in (present, rebuilt))
        everything = tuple(sorted((*left_out, *columns)))
        return Compared(before, now, 0, 0, 0, {}, everything, is_comparable=False)
    salt = secrets.token_bytes(16)
    known = LakeDigests((digests(rows, key, salt), digests(rows, columns, salt)) for rows in present.live_rows(columns))
    differing: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    count = only_rebuilt = both = 0
    for rows in rebuilt.live_rows(columns):
        keys = digests(rows, key, salt)
        is_other, is_known = ~known.found(keys, digests(rows, columns, salt)), known.has(keys)
        count += len(rows)
        only_rebuilt += int((is_other & ~is_known).sum())
        both += int((is_other & is_known).sum())
        some = rows.filter(is_other & is_known).slice(0, NAMED_MAX - len(differing))
        differing |= {tuple(row[name] for name in key): row for row in some.to_pylist()}
    by_column: Counter[str] = Counter()
    for rows in present.live_rows(columns) if differing else ():
        for row in rows.to_pylist():
            other = differing.get(tuple(row[name] for name in key))
            if other is not None:
                by_column.update(name for name in columns if not is_same(row[name], other[name]))
    named = dict(sorted(by_column.items()))
    return Compared(len(known), count, known.unseen_count, only_rebuilt, both, named, left_out)


def history_counts(present: LakeTable, rebuilt: LakeTable) -> dict[str, tuple[int, int]]:
    """How many changes of each kind (`cdc_op`) the histories have: the present one, and the rebuilt one."""
    before, now = (_changes_by_op(lake) for lake in (present, rebuilt))
    return {op: (before[op], now[op]) for op in sorted(before.keys() | now.keys())}


def _changes_by_op(lake: LakeTable) -> Counter[str]:
    counts: Counter[str] = Counter()
    for rows in lake.live_rows(["cdc_op"]):
        for found in rows["cdc_op"].value_counts().to_pylist():
            counts[found["values"]] += found["counts"]
    return counts


def _comparable(present: LakeTable, rebuilt: LakeTable) -> tuple[list[str], tuple[str, ...]]:
    types = [dict(zip(lake.arrow_schema.names, lake.arrow_schema.types, strict=True)) for lake in (present, rebuilt)]
    masks = [_masks(lake.properties.get(MASKS, "")) for lake in (present, rebuilt)]
    is_same_key = present.properties.get(PII_KEY_CHECK) == rebuilt.properties.get(PII_KEY_CHECK)
    compared: list[str] = []
    left_out: list[str] = []
    for name in {**types[0], **types[1]}:
        mask = masks[0].get(name)
        is_alike = types[0].get(name) == types[1].get(name) and mask == masks[1].get(name)
        (compared if is_alike and (mask != "token" or is_same_key) else left_out).append(name)
    return compared, tuple(sorted(left_out))


def _masks(stated: str) -> dict[str, str]:
    return dict(entry.split("=", 1) for entry in stated.split(",") if "=" in entry)


def verdict(found: Compared) -> str:
    """The comparison in a word or two."""
    if not found.is_comparable:
        return "cannot be compared with"
    return "equals" if found.is_equal else "does not equal"


def told(found: Compared, present: str, rebuilt: str) -> str:
    """The comparison for people."""
    only = f"only in {present}: {found.only_present:,}; only in {rebuilt}: {found.only_rebuilt:,}"
    lines = [f"rows in {present}: {found.rows_present:,}, in {rebuilt}: {found.rows_rebuilt:,}"]
    lines += [f"{only}; differing: {found.differing:,}"] if found.is_comparable else []
    lines += [f"  column {name}: in {count:,} rows" for name, count in found.columns.items()]
    lines += [f"not compared: {', '.join(found.left_out)}"] if found.left_out else []
    return "".join(f"{line}\n" for line in lines)
