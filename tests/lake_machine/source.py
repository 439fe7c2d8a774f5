"""Source: a small model database with transactions, and the events that a producer sends of what it committed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from cdc.debezium.decode import PUBLISHER_VERSION, SPELT
from tests.lake_machine.columns import Added
from tests.raw_zone import PLACEHOLDER, at

Key = tuple[Any, ...]
Row = dict[str, Any]
Identity = tuple[Key, tuple[int, int, int], bool]

TOASTED = ("bio", "nota")
"""The columns whose values come as "unchanged" where a change left them alone."""
NUMBERS = (0, 2**63 - 1, -(2**63), 2**53 + 1, None)
AMOUNTS = (Decimal("9999999999.99"), Decimal("-0.01"), Decimal("0.00"), None)
NAN = Decimal("NaN")
"""A value that the source has and the lake's decimal cannot hold: its change is set aside."""


class Step(NamedTuple):
    """One statement: what it does, to which keys (by their places), with which of the odd values."""

    what: str
    key: int
    other: int = 0
    value: int = 0


@dataclass(frozen=True)
class Sent:
    """One event as the producer sends it: `values` (by the columns' names in the lake) without those that came `unchanged`.

    `is_held` is False where the lake cannot hold one of the values. `lsn` is 0 for a row that a snapshot read.
    """

    op: str
    key: Key
    lsn: int
    committed_at: datetime
    values: Row
    unchanged: frozenset[str]
    body: bytes
    is_held: bool = True
    epoch: int = 1
    ordinal: int = 0

    @property
    def position(self) -> tuple[int, int, int]:
        """Its place in the order: epoch, LSN, ordinal."""
        return self.epoch, self.lsn, self.ordinal

    @property
    def identity(self) -> Identity:
        """What tells it from all other events; a key change deletes and creates at one position."""
        return self.key, self.position, self.op == "d"


@dataclass
class Transaction:
    """An open transaction: what it wrote, as (op, key, LSN, values, unchanged), and how the rows were before it."""

    changes: list[tuple[str, Key, int, Row, frozenset[str]]] = field(default_factory=list)
    before: dict[Key, Row | None] = field(default_factory=dict)


@dataclass
class Source:
    """Rows by key, as after all transactions, open ones too: none touches a row that another one has locked.

    `seconds` is the clock of commits, `states` are the committed rows after each, oldest first. `added` are the columns that
    were added to those of the beginning and are there now, by their names in the lake. `done` counts what statements had an
    effect.
    """

    keys: tuple[Key, ...]
    key_columns: tuple[str, ...]
    done: Counter[str]
    rows: dict[Key, Row] = field(default_factory=dict)
    open: list[Transaction] = field(default_factory=list)
    lsn: int = 990  # soon with a digit more: compared as text, positions would go wrong
    seconds: float = 10.0
    lsn_of_commit: int = 990
    epoch: int = 1
    added: dict[str, Added] = field(default_factory=dict)
    committed: dict[Key, Row] = field(default_factory=dict)
    states: list[tuple[float, dict[Key, Row]]] = field(default_factory=list)

    def fill(self, places: list[int]) -> None:
        """Rows that were there before the stream began."""
        for place in places:
            self.rows[self.keys[place]] = self._new_row(place)
        self._remember(self.rows)

    def snapshot(self) -> list[Sent]:
        """All rows, read by a snapshot. Nobody may have a transaction open with changes in it."""
        return [self._sent("r", key, 0, row, frozenset()) for key, row in self.rows.items()]

    def begin_epoch(self, lsn: int) -> None:
        """All that is read or streamed from now on is of a new epoch, whose LSNs begin anywhere."""
        self.epoch += 1
        self.lsn = self.lsn_of_commit = lsn

    def alter(self, name: str, column: Added | None) -> None:
        """Add a column, give it another name or type, or drop it; nobody may have changes open: ALTER TABLE waits for them."""
        assert not any(one.changes for one in self.open)
        self.lsn += 1
        if column is None:
            del self.added[name]
        for key, row in self.rows.items():
            if column is None:
                self.rows[key] = {other: value for other, value in row.items() if other != name}
            elif name not in self.added:
                self.rows[key] = {**row, name: column.default}
        if column is not None:
            self.added[name] = column
        self._remember(self.rows)

    def begin(self) -> Transaction:
        """Open a transaction."""
        self.open.append(Transaction())
        return self.open[-1]

    def execute(self, transaction: Transaction, step: Step) -> None:
        """One statement; without effect where the rows or locks do not allow it."""
        if any(op == "t" for one in self.open if one is not transaction for op, *_ in one.changes):
            return  # TRUNCATE locks out everybody else until it is committed
        key, other = self.keys[step.key], self.keys[step.other]
        others = {locked for one in self.open if one is not transaction for locked in one.before}
        if step.what == "truncate":
            if not others and self.rows:
                for old in list(self.rows):
                    self._write(transaction, old, None)
                self._log(transaction, "t", (), {}, frozenset())
                self.done["truncate"] += 1
        elif not others & {key, other}:
            getattr(self, f"_{step.what}")(transaction, key, other, step.value)

    def commit(self, transaction: Transaction, seconds: float) -> list[tuple[Sent, ...]]:
        """Its events by record, in the order of its writes."""
        self.open.remove(transaction)
        self.seconds += seconds
        self.lsn += 1
        if transaction.changes:
            overtaken = any(lsn < self.lsn_of_commit for _, _, lsn, _, _ in transaction.changes)
            self.done["a transaction that began before the last commit"] += overtaken
            self.lsn_of_commit = self.lsn
            self._remember(_after(self.committed, transaction))
        return self._records(transaction)

    def roll_back(self, transaction: Transaction) -> None:
        """Nothing of it ever happened."""
        self.open.remove(transaction)
        self.done["rollback"] += bool(transaction.changes)
        for key, row in transaction.before.items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row

    # Statements, by the names that steps have

    def _insert(self, transaction: Transaction, key: Key, other: Key, value: int) -> None:
        if key not in self.rows:
            self._put(transaction, "c", key, self._new_row(value), ())
            self.done["insert"] += 1

    def _copy(self, transaction: Transaction, key: Key, other: Key, value: int) -> None:
        """COPY writes several rows under one LSN."""
        new = [one for one in dict.fromkeys((key, other)) if one not in self.rows]
        for one in new:
            self._put(transaction, "c", one, self._new_row(value), (), lsn=self.lsn + 1 if one is new[0] else self.lsn)
        self.done["several rows at one LSN"] += len(new) > 1

    def _update(self, transaction: Transaction, key: Key, other: Key, value: int) -> None:
        if key in self.rows:
            self._put(transaction, "u", key, self._new_row(value), ())
            self.done["update"] += 1

    def _touch(self, transaction: Transaction, key: Key, other: Key, value: int) -> None:
        """An update that leaves one long value, or both, alone."""
        if key in self.rows:
            kept = (TOASTED, TOASTED[:1], TOASTED[1:])[value % 3] + self._kept_of_added(value)
            new = self._new_row(value)
            self._put(transaction, "u", key, {**new, **{name: self.rows[key][name] for name in kept}}, kept)
            self.done["unchanged"] += 1

    def _spoil(self, transaction: Transaction, key: Key, other: Key, value: int) -> None:
        """An update or insert with a value that the lake cannot hold, perhaps with a new long value beside it."""
        is_new = key not in self.rows
        kept = () if is_new or value % 2 else TOASTED
        row = {**self._new_row(value), **{name: self.rows[key][name] for name in kept}, "saldo": NAN}
        self._put(transaction, "c" if is_new else "u", key, row, kept)
        self.done["a value that is not held"] += 1
        if value % 2:
            self._touch(transaction, key, other, 3 * value)

    def _delete(self, transaction: Transaction, key: Key, other: Key, value: int) -> None:
        if key in self.rows:
            self._write(transaction, key, None)
            self._log(transaction, "d", key, {}, frozenset())
            self.done["delete"] += 1

    def _move(self, transaction: Transaction, key: Key, other: Key, value: int) -> None:
        if key not in self.rows or other in self.rows:
            return
        row, kept = self.rows[key], (TOASTED, TOASTED[:1], ())[value % 3] + self._kept_of_added(value)
        self._write(transaction, key, None)
        self._log(transaction, "d", key, {}, frozenset())
        moved = {**self._new_row(value), **{name: row[name] for name in kept}}
        if row["saldo"] is not None and row["saldo"].is_nan():
            moved["saldo"] = row["saldo"]
        self._put(transaction, "c", other, moved, kept, lsn=self.lsn)
        self.done["move"] += 1

    def _chain(self, transaction: Transaction, key: Key, other: Key, value: int) -> None:
        """A key changes twice in one transaction."""
        third = self._third(transaction, key, other)
        if key in self.rows and other not in self.rows and third is not None:
            self._move(transaction, key, other, value)
            self._move(transaction, other, third, value + 1)
            self.done["chain"] += 1

    def _back(self, transaction: Transaction, key: Key, other: Key, value: int) -> None:
        """A key changes, and back to what it was."""
        if key in self.rows and other not in self.rows:
            self._move(transaction, key, other, value)
            self._move(transaction, other, key, value)
            self.done["back"] += 1

    def _swap(self, transaction: Transaction, key: Key, other: Key, value: int) -> None:
        """Two rows change their keys for each other's, over a third."""
        third = self._third(transaction, key, other)
        if key in self.rows and other in self.rows and key != other and third is not None:
            self._move(transaction, key, third, value)
            self._move(transaction, other, key, value + 1)
            self._move(transaction, third, other, value)
            self.done["swap"] += 1

    def _third(self, transaction: Transaction, *keys: Key) -> Key | None:
        taken = {*self.rows, *keys, *(key for one in self.open if one is not transaction for key in one.before)}
        return next((key for key in self.keys if key not in taken), None)

    def _new_row(self, value: int) -> Row:
        """Values that no other row has, but for the odd ones among them."""
        name = f"n{self.lsn}.{len(self.rows)}"
        return {
            "nome": (name, name, PLACEHOLDER, "", f"{name} \u2028é\U0001f642", None)[value % 6],
            "bio": (f"b{name}", f"b{name}", PLACEHOLDER, None)[value % 4],
            "nota": (f"a{name}", None, f"a{name}")[value % 3],
            "numero": NUMBERS[value % len(NUMBERS)],
            "saldo": AMOUNTS[value % len(AMOUNTS)],
            **{name: column.value(value, self.lsn) for name, column in self.added.items()},
        }

    def _kept_of_added(self, value: int) -> tuple[str, ...]:
        """Long values of columns that were added are left alone at times, too."""
        return tuple(name for name, column in self.added.items() if column.is_long) if value % 2 else ()

    def _remember(self, rows: dict[Key, Row]) -> None:
        self.committed = dict(rows)
        self.states.append((self.seconds, self.committed))

    def _put(
        self,
        transaction: Transaction,
        op: str,
        key: Key,
        row: Row,
        kept: tuple[str, ...],
        *,
        lsn: int | None = None,
    ) -> None:
        self._write(transaction, key, row)
        # What is short or null is never sent as unchanged.
        unchanged = frozenset(name for name in kept if row[name])
        self._log(transaction, op, key, row, unchanged, lsn)

    def _write(self, transaction: Transaction, key: Key, row: Row | None) -> None:
        transaction.before.setdefault(key, self.rows.get(key))
        if row is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = row

    def _log(
        self, transaction: Transaction, op: str, key: Key, row: Row, unchanged: frozenset[str], lsn: int | None = None
    ) -> None:
        self.lsn = self.lsn + 1 if lsn is None else lsn
        transaction.changes.append((op, key, self.lsn, row, unchanged))

    def _records(self, transaction: Transaction) -> list[tuple[Sent, ...]]:
        return [(self._sent(*change),) for change in transaction.changes]

    def _sent(self, op: str, key: Key, lsn: int, row: Row, unchanged: frozenset[str]) -> Sent:
        moment = at(self.seconds)
        shown = dict(zip(self.key_columns, key, strict=True)) if key else {}
        values = {name: value for name, value in row.items() if name not in unchanged}
        saldo = row.get("saldo")
        names = {name: column.source_name for name, column in self.added.items()}
        told = {**shown, **{names.get(name, name): value for name, value in row.items()}}
        body = _body(op, lsn, moment, shown if op == "d" else told, {names.get(name, name) for name in unchanged})
        is_held = saldo is None or not saldo.is_nan()
        return Sent(op, key, lsn, moment, values, unchanged, body, is_held, self.epoch)


def _after(rows: dict[Key, Row], transaction: Transaction) -> dict[Key, Row]:
    """Rows as a transaction leaves them."""
    rows = dict(rows)
    for op, key, _, row, _ in transaction.changes:
        if op == "t":
            rows.clear()
        elif op == "d":
            rows.pop(key, None)
        else:
            rows[key] = row
    return rows


def poison(number: int) -> bytes:
    """A record that no change can be made of."""
    return (
        json.dumps({"no": "event", "number": number}).encode(),
        _body("c", 2**63 + number, at(1), {"id": 1}, frozenset()),
        _body("u", number + 1, at(1), {"nome": "without a key"}, frozenset()),
    )[number % 3]


def _body(op: str, lsn: int, moment: datetime, row: Row, unchanged: AbstractSet[str]) -> bytes:
    """The event as our publisher spells it."""
    real = "a real value that equals the placeholder"
    stated = {name: real if value == PLACEHOLDER else value for name, value in row.items()}
    stated |= dict.fromkeys(unchanged, PLACEHOLDER)
    source = {
        "version": PUBLISHER_VERSION, "schema": "public", "table": "t", "lsn": lsn,
        "ts_us": round(moment.timestamp() * 1e6), "snapshot": "true" if op == "r" else "false",
    }  # fmt: skip
    before, after = (stated, None) if op == "d" else (None, None if op == "t" else stated)
    event = {"before": before, "after": after, "source": source, "op": op}
    return json.dumps(event, ensure_ascii=False, default=str).encode().replace(f'"{real}"'.encode(), SPELT)
