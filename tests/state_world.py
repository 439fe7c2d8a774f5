"""A source whose changes are scattered over a raw zone in any order, to ask raw alone for the rows that the source has."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any

import msgspec

from cdc.contract import TableContract, parse_contract
from cdc.raw import RawLine
from compactor.index import RowIndex
from compactor.lake.schema import table_schema
from compactor.plain import Line
from compactor.state import Current, current_state
from compactor.state.heads import HeadReader
from tests.raw_zone import PLACEHOLDER, MemoryObjects, ShardWriter

KEY = b"k" * 32
COLUMNS = ("nome", "bio", "cpf")
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: urn:test
version: 1.0.0
status: active
schema:
  - name: t
    customProperties: [{property: sourceTable, value: public.t}]
    properties:
      - {name: id, physicalType: ID, primaryKey: true, classification: internal}
      - {name: nome, physicalType: text, classification: internal}
      - {name: bio, physicalType: text, classification: internal}
      - name: cpf
        physicalType: text
        classification: restricted
        customProperties: [{property: mask, value: last4}]
slaProperties: [{property: latency, value: 60, unit: s}]
"""
SHARD = "usuarios-20261121T000000Z/shardId-000000000000"


def contract(key_type: str = "bigint") -> TableContract:
    """A table with a key of that type."""
    return parse_contract(CONTRACT.replace("ID", key_type))


def contract_of_tokens() -> TableContract:
    """A table whose key is a text, of which the lake has a token."""
    key = "physicalType: ID, primaryKey: true, classification: "
    mask = "restricted, customProperties: [{property: mask, value: token}]"
    return parse_contract(CONTRACT.replace(f"{key}internal", f"{key}{mask}").replace("ID", "text"))


TABLE = contract()


def row(key: Any, nome: str = "n", bio: str = "b") -> dict[str, Any]:
    """A row of the source."""
    return {"id": key, "nome": nome, "bio": bio, "cpf": "12345678901"}


def zone(*batches: list[bytes], evidence: datetime | None = None) -> MemoryObjects:
    """A raw zone of one shard with some batches of events, and evidence from the source in each."""
    store = MemoryObjects()
    shard = ShardWriter(store)
    for events in batches:
        shard.batch(events, table="t", evidence=evidence)
    return store


def event(op: str, lsn: int, before: Any, after: Any, version: str = "3.6.3.usuarios-cdc") -> bytes:
    """An event of our publisher, or of another version of Debezium."""
    source = {"version": version, "schema": "public", "table": "t", "lsn": lsn, "ts_us": 1_795_262_403_000_000 + lsn}
    return json.dumps({"before": before, "after": after, "source": source, "op": op}).encode()


def with_schema(told: bytes) -> bytes:
    """The same event with its schema inline, as Kafka Connect has it."""
    payload = json.loads(told)
    is_text = isinstance((payload["after"] or payload["before"] or {}).get("id"), str)
    columns = [{"field": "id", "type": "string" if is_text else "int64"}]
    columns += [{"field": name, "type": "string"} for name in COLUMNS]
    images = [{"field": image, "type": "struct", "fields": columns} for image in ("before", "after")]
    return json.dumps({"schema": {"type": "struct", "fields": images}, "payload": payload}).encode()


@dataclass
class Source:
    """Rows by key, and the events of all that happened to them; `is_ours` says how many of the events our publisher
    wrote, `with_schema` how many have their schema inline, so that only the law reads them.
    """

    chance: Random
    is_ours: float = 1.0
    with_schema: float = 0.0
    rows: dict[Any, dict[str, Any]] = field(default_factory=dict)
    positions: dict[Any, int] = field(default_factory=dict)
    events: list[bytes] = field(default_factory=list)
    lsn: int = 100

    def happen(self, keys: Sequence[Any]) -> None:
        """One thing happens to one of some keys."""
        key = self.chance.choice(keys)
        self.lsn += self.chance.randrange(1, 9)
        what = self.chance.choice(["u", "u", "toast", "toast", "full", "move", "d", "t"] if key in self.rows else ["c"])
        if what == "t" and self.chance.random() < 0.8:
            what = "u"
        if what == "c":
            self._write("c", key, None, self._row(key))
        elif what == "d":
            self._tell("d", {"id": key}, None)
            del self.rows[key]
        elif what == "t":
            self._tell("t", None, None)
            self.rows.clear()
        elif what == "move":
            self._move(key, self.chance.choice(keys))
        else:
            row = self._row(key)
            told = dict(row)
            if what == "toast":
                row["bio"], told["bio"] = self.rows[key]["bio"], PLACEHOLDER
            self._write("u", key, self.rows[key] if what == "full" else None, row, told)

    def _move(self, key: Any, other: Any) -> None:
        """The key changes, and the long value comes unchanged; a key that is taken is not moved to."""
        if other in self.rows:
            return
        row = {**self._row(other), "bio": self.rows.pop(key)["bio"]}
        self._tell("d", {"id": key}, None)
        self._write("c", other, None, row, {**row, "bio": PLACEHOLDER})

    def _row(self, key: Any) -> dict[str, Any]:
        return {"id": key, "nome": f"n{self.lsn}", "bio": f"b{self.lsn}", "cpf": f"12345{self.lsn}"}

    def _write(self, op: str, key: Any, before: Any, row: dict[str, Any], told: dict[str, Any] | None = None) -> None:
        self._tell(op, before, row if told is None else told)
        self.rows[key], self.positions[key] = row, self.lsn

    def _tell(self, op: str, before: Any, after: Any) -> None:
        version = "3.6.3.usuarios-cdc" if self.chance.random() < self.is_ours else "3.6.3.Final"
        told = event(op, self.lsn, before, after, version)
        self.events.append(with_schema(told) if self.chance.random() < self.with_schema else told)

    def expected(self) -> dict[Any, tuple[Any, ...]]:
        """The rows as an export shows them: nome, bio, the CPF's last digits, the LSN."""
        return {
            key: (row["nome"], row["bio"], "*" * (len(row["cpf"]) - 4) + row["cpf"][-4:], self.positions[key])
            for key, row in self.rows.items()
        }


def scatter(events: Iterable[bytes], chance: Random, shards: int = 2, *, disorder: int = 3) -> MemoryObjects:
    """A raw zone of these events, near their order: some come twice, some late, in any shard and cut into batches anywhere."""
    places = list(enumerate(events))
    places += [(place + chance.randrange(6), one) for place, one in places if chance.random() < 0.2]
    places.sort(key=lambda entry: entry[0] + chance.randrange(disorder + 1))
    store = MemoryObjects()
    writers = [ShardWriter(store, f"shardId-{number:012}") for number in range(shards)]
    waiting: list[list[bytes]] = [[] for _ in writers]
    for _, one in places:
        number = chance.randrange(shards)
        waiting[number].append(one)
        if chance.random() < 0.3:
            writers[number].batch(waiting[number], table="t")
            waiting[number] = []
    for writer, some in zip(writers, waiting, strict=True):
        if some:
            writer.batch(some, table="t")
    return store


def head_reader(table: TableContract) -> tuple[HeadReader, RowIndex]:
    """The reader of a table's heads, and the index that makes its fingerprints."""
    schema = table_schema(table).as_arrow()
    index = RowIndex([schema.field(name).type for name in table.key])
    return HeadReader(table, schema, KEY, index.prints_of), index


def as_lines(events: Iterable[bytes], epoch: int = 1) -> list[Line]:
    """Some events as the lines of a raw object."""
    return [
        Line("s/0", "b", RawLine("0", str(number), 0, "2026-11-21T12:00:00Z", msgspec.Raw(one)), epoch)
        for number, one in enumerate(events)
    ]


def as_text(lines: Iterable[Line]) -> bytes:
    """Some lines as a raw object has them."""
    return b"".join(msgspec.json.encode(line.raw) + b"\n" for line in lines)


def export_of(store: MemoryObjects, table: TableContract) -> Current:
    """What raw tells of a table."""
    return current_state(table, store, KEY)


def rows_of(current: Current) -> dict[Any, tuple[Any, ...]]:
    """The rows by key, as `Source.expected` has them, after they were found to be in order."""
    rows = current.rows.to_pylist()
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    found = {row["id"]: (row["nome"], row["bio"], row["cpf"], row["cdc_lsn"]) for row in rows}
    assert len(found) == len(rows)
    return found


def names(store: MemoryObjects, table: TableContract = TABLE) -> dict[Any, str]:
    """What raw tells of the column `nome`, by key."""
    return {key: values[0] for key, values in rows_of(export_of(store, table)).items()}
