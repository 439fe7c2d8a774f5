"""DMS: the machine with AWS DMS as the producer, which sends every row whole and tells a transaction's changes by their ordinals."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, ClassVar

from tests.dms_records import metadata
from tests.lake_machine.effects import EFFECTS
from tests.lake_machine.machine import STATEMENTS, LakeMachine
from tests.lake_machine.source import Key, Row, Sent, Source, Transaction

_OPERATIONS = {"r": "load", "c": "insert", "u": "update", "d": "delete"}
_ANOTHER_KEY = "several changes of one key at one LSN"
EFFECTS_OF_DMS = (EFFECTS - {"truncate", "unchanged"}) | {_ANOTHER_KEY}


class DmsSource(Source):
    """All changes of a transaction have one LSN; a key change is one record, an update with the old key beside it."""

    def snapshot(self) -> list[Sent]:
        """Loads."""
        return [self._dms((sent,)) for sent in super().snapshot()]

    def _records(self, transaction: Transaction) -> list[tuple[Sent, ...]]:
        records: list[tuple[Sent, ...]] = []
        by_lsn: dict[int, list[Sent]] = {}
        for op, key, lsn, row, unchanged in transaction.changes:
            sent = self._sent(op, key, self.lsn, row, unchanged)
            # What a key change deletes and creates has one LSN; so has what COPY creates, each in a record of its own.
            pair = by_lsn.setdefault(lsn, [])
            is_new_key = bool(pair) and pair[-1].op == "d" and op == "c"
            told = replace(sent, ordinal=len(records) if is_new_key else len(records) + 1)
            pair.append(told)
            if is_new_key:
                records[-1] = (*records[-1], told)
            else:
                records.append((told,))
        keys = [sent.key for record in records for sent in record]
        self.done[_ANOTHER_KEY] += len(set(keys)) < len(keys)
        return [tuple(replace(sent, body=self._dms(record).body) for sent in record) for record in records]

    def _log(
        self, transaction: Transaction, op: str, key: Key, row: Row, unchanged: frozenset[str], lsn: int | None = None
    ) -> None:
        super()._log(transaction, op, key, row, frozenset(), lsn)

    def _dms(self, record: tuple[Sent, ...]) -> Sent:
        """The event that a record ends with, in DMS's form."""
        sent = record[-1]
        operation = "update" if len(record) > 1 else _OPERATIONS[sent.op]
        moment = f"{sent.committed_at:%Y-%m-%dT%H:%M:%S.%f}Z"
        told = metadata(operation, sent.lsn, sent.ordinal) | {"timestamp": moment}
        if operation != "load":
            told["commit-timestamp"] = moment
        data = self._key_of(sent) | sent.values
        event: dict[str, Any] = {"data": data, "metadata": told}
        if len(record) > 1:
            event["before-image"] = self._key_of(record[0])
        return replace(sent, body=json.dumps(event, ensure_ascii=False, default=str).encode())

    def _key_of(self, sent: Sent) -> Row:
        return dict(zip(self.key_columns, sent.key, strict=True))


class DmsMachine(LakeMachine):
    """DMS does not tell of a truncate."""

    statements: ClassVar[tuple[str, ...]] = STATEMENTS
    rare_statements: ClassVar[tuple[str, ...]] = ("spoil",)
    stated: ClassVar[str] = ", {property: dms.fullImages, value: true}"

    def new_source(self) -> Source:
        """DMS."""
        return DmsSource(self.keys, tuple(self.key_names), self.done)
