"""Whatever is read by column is what `ChangeReader`, which reads one by one, says of the same line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.io.pyarrow import schema_to_pyarrow

from cdc.contract import Column, TableContract
from cdc.debezium.decode import PUBLISHER_VERSION
from cdc.debezium.placeholder import placeholders
from cdc.postgres_type import parse_type
from cdc.producer import ProducerModes
from cdc.raw import RawLine
from compactor.change import ChangeReader
from compactor.columns_seen import Seen
from compactor.lake.schema import history_schema
from compactor.plain import Line, PlainReader, PlainRows, block, noted_of_plain
from compactor.watch import Watched, watch

TYPES = (
    "bigint", "smallint", "integer", "oid", "boolean", "double precision", "real", "date", "timestamp", "timestamp(3)",
    "timestamptz", "numeric(12,2)", "numeric(5,0)", "numeric(3,3)", "numeric", "money", "text", "varchar(14)", "uuid",
    "jsonb", "bytea", "text[]", "integer[]", "varbit", "hstore", "time", "interval", "point",
)  # fmt: skip
PARSED_AT_ONCE = tuple(name for name in TYPES if name not in {"integer[]", "point"})
"""A table of these alone is parsed by Arrow, many rows at once, where our publisher wrote them."""
MASKS = {"text": "token", "varchar(14)": "last4", "date": "redact"}
KEY = b"k" * 32
MODES = (
    ProducerModes(),
    ProducerModes("connect", "precise", "base64", "string", "map"),
    ProducerModes("microseconds", "double"),
)


def contract(modes: ProducerModes, types: tuple[str, ...] = TYPES) -> TableContract:
    columns = [Column("id", "id", parsed("bigint"), "internal", "clear")]
    columns += [
        Column(f"c{n}", f"Coluna {n}", parsed(name), "internal", MASKS.get(name, "clear"))
        for n, name in enumerate(types)
    ]
    return TableContract("t", "public", "T", tuple(columns), ("id",), "hold", 120.0, modes)


def parsed(name: str) -> Any:
    type_ = parse_type(name)
    assert type_ is not None
    return type_


FITTING: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "date": st.integers(-800_000, 3_000_000),
    "timestamp": st.integers(-(10**17), 3 * 10**17),
    "timestamptz": st.one_of(
        st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
        st.sampled_from(["2024-02-30T00:00:00Z", "0000-01-01T00:00:00Z", "2024-01-01T24:00:00Z", "2024-01-01", "10000-01-01T00:00:00Z"]),
    ),
    "numeric": st.one_of(
        st.decimals(allow_nan=True, places=2).map(str), st.sampled_from(["1.50", "-0", "0.001", ".5", "5.", "1e3", "+1", "123456789012"])
    ),
    "double precision": st.one_of(st.floats(), st.sampled_from(["NaN", "Infinity"]), st.integers(2**52, 2**54)),
    "bytea": st.sampled_from(["", "AAEC", "!", "_-8="]),
    "text[]": st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=3),
    "integer[]": st.lists(st.one_of(st.none(), st.integers(-5, 2**31)), max_size=3),
}  # fmt: skip
ANY = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**66), 2**66), st.floats(), st.text(max_size=5),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=2), st.text(max_size=2), max_size=2),
)  # fmt: skip
INTEGERS = st.integers(-40_000, 2**33)
HELD = {"apelido": st.one_of(st.text(max_size=4), st.just('x":')), "ação": ANY, 'quoted "': ANY}
"""Columns that the contract does not name, and that are known to be held."""


def fitting(name: str) -> st.SearchStrategy[Any]:
    if name in {"bigint", "smallint", "integer", "oid"}:
        return INTEGERS
    return FITTING.get(name, FITTING.get(name.partition("(")[0], st.text(max_size=8)))


def odd(name: str, modes: ProducerModes) -> st.SearchStrategy[Any]:
    unchanged = st.sampled_from(placeholders(parsed(name), modes))
    return st.one_of(fitting(name), st.none(), ANY, unchanged, unchanged)


ODD_TEXTS = st.sampled_from(
    [
        ("{row}", "null"), ("{row}", "[]"), ("{row}", "7"), ("{row}", " {row}"), ('"id":', '"id" :'), ('"id":', '"\\u0069d":'),
        ('"id":', '"\\u0069d":8,"id":'), ('"id":', '"id":null,"id":'), ('"id":', '"id":1.0,"x":'), ('"id":', '"id":1e2,"x":'),
        ('"id"', '"Id"'), (": null", ': "\\ud800"'), (": null", ': "\\ud83d\\ude00"'), (": null", ': "a\\u0000b"'),
        (": null", ": NaN"), (": null", ': "__debezium_unavailable\\u005fvalue"'), (": null", ": 1.0"), (": null", ": 1e400"),
        (": null", ': "\\u005f_debezium_unavailable_value"'),
        (": null", ": 9007199254740993"), (": null", ": 100000000000000000000"), (": null", ': {"a": 1}'), (": null", ": true"),
        (": null", ': ["__debezium_unavailable_value"]'), (": null", ': [["a"]]'), (": null", ': ["a", null]'), (": null", ":null"),
    ]
)  # fmt: skip
"""What is written of a row, and what may stand there instead."""


SNAPSHOT = st.sampled_from(
    ["false", "false", "False", "none", "", None, False, True, "true", "first", "last", "incremental"]
)


@st.composite
def lines(draw: st.DrawFn, modes: ProducerModes, types: tuple[str, ...] = TYPES) -> list[Line]:
    """Changes of which most have one thing that is odd: a row of nothing but oddities would never be plain."""
    made = []
    names = {"id": "bigint"} | {f"Coluna {n}": name for n, name in enumerate(types)}
    texts = [name for name in names if names[name] in {"text", "jsonb", "uuid"}]
    for number in range(draw(st.integers(1, 6))):
        row: dict[str, Any] = dict.fromkeys(names) | {"Coluna 16": 'a ":" b', "id": number}
        row |= {name: draw(fitting(names[name])) for name in draw(st.lists(st.sampled_from(texts), max_size=2))}
        source: dict[str, Any] = {
            "version": draw(st.sampled_from([PUBLISHER_VERSION, "3.6.3.Final"])), "schema": "public", "table": "T",
            "lsn": 100 + number, "ts_us": 1_710_074_096_789_012 + draw(st.integers(-2, 2)), "ts_ms": 5,
            "snapshot": draw(SNAPSHOT),
        }  # fmt: skip
        what = draw(
            st.sampled_from(
                ["nothing", "value", "value", "value", "text", "key", "source", "missing", "new", "twice", "odd"]
            )
        )
        if what in {"value", "text", "key"}:
            name = {"value": draw(st.sampled_from(sorted(names))), "text": draw(st.sampled_from(texts)), "key": "id"}[
                what
            ]
            row[name] = draw(odd(names[name], modes))
        elif what == "source":
            source |= {"lsn": draw(st.sampled_from([1, 7, None, -1, 0, 2**63]))}
            source |= {"ts_us": draw(st.sampled_from([0, -(10**17), 10**18, None]))}
        elif what == "missing":
            row.pop(draw(st.sampled_from(sorted(row))))
        elif what == "new":
            row["Coluna nova"] = draw(ANY)
        if types == TYPES:
            row |= {name: draw(HELD[name]) for name in draw(st.lists(st.sampled_from(sorted(HELD)), max_size=3))}
        op = draw(st.sampled_from("rcuud"))
        before = row if op == "d" else None
        if op == "u":
            before = draw(st.sampled_from([None, row, row | {"id": 0}, row | {"id": number + 7}]))
        event = {"before": before, "after": None if op == "d" else row, "source": source, "op": op}
        text = json.dumps(event, ensure_ascii=draw(st.booleans()))
        if what == "twice":
            text = text.replace('"id"', '"id":7,"id"', 1)
        elif what == "odd":
            there, instead = draw(ODD_TEXTS)
            body = json.dumps(row)
            times = draw(st.integers(1, 30))
            text = text.replace(
                there.format(row=body) if there == "{row}" else there, instead.replace("{row}", body), times
            )
        made.append(Line("s/0", "b", RawLine("0", str(number), 0, "2024-03-10T15:34:56Z", msgspec.Raw(text.encode("utf-8", "surrogatepass")))))  # fmt: skip
    return made


OF_OUR_TYPES = lines(MODES[0], PARSED_AT_ONCE)
CHANGES = st.sampled_from(MODES).flatmap(lambda modes: st.tuples(st.just(modes), lines(modes)))


@settings(max_examples=300)
@given(CHANGES)
def test_plain_changes_are_those_that_are_read_one_by_one(case: tuple[ProducerModes, list[Line]]) -> None:
    modes, some = case
    table = contract(modes)
    schema = schema_to_pyarrow(history_schema(table), include_field_ids=False)
    assert_as_one_by_one(table, some, *PlainReader(table, schema, KEY).read(some, frozenset(HELD))[:2])


@settings(max_examples=300)
@given(OF_OUR_TYPES, st.sampled_from([1, 2, 100]))
def test_rows_that_arrow_parses_are_those_that_are_read_one_by_one(some: list[Line], block_rows: int) -> None:
    table = contract(MODES[0], PARSED_AT_ONCE)
    schema = schema_to_pyarrow(history_schema(table), include_field_ids=False)
    assert_as_one_by_one(table, some, *PlainReader(table, schema, KEY, block_rows).read(some)[:2])


@settings(max_examples=300)
@given(CHANGES, st.sampled_from([{}, {"s/0": 1_710_074_096_789_012}]), st.sampled_from([1, 100]))
def test_reading_by_column_shows_of_snapshots_what_each_line_shows(
    case: tuple[ProducerModes, list[Line]], streamed: dict[str, int], block_rows: int
) -> None:
    modes, some = case
    table = contract(modes)
    schema = schema_to_pyarrow(history_schema(table), include_field_ids=False)
    read = PlainReader(table, schema, KEY, block_rows).read(some, frozenset(HELD))
    known = Watched(streamed)
    assert watch(some, known, 1, sights=read.sights) == watch(some, known, 1)


def assert_as_one_by_one(table: TableContract, some: list[Line], plain: PlainRows, others: list[int]) -> None:
    schema = plain.rows.schema
    assert sorted([*plain.places.tolist(), *others]) == list(range(len(some)))
    reader = ChangeReader(table, KEY)
    for place, row in zip(plain.places.tolist(), plain.rows.to_pylist(), strict=True):
        changes, rejected = reader.read("s/0", "b", [some[place].raw])
        assert not rejected
        (change,) = changes
        assert (row["cdc_op"], change.unchanged, change.faults) == (change.op, frozenset(), ())
        assert (row["cdc_epoch"], row["cdc_lsn"], row["cdc_ordinal"]) == tuple(change.position)
        assert row["cdc_committed_at"] == change.committed_at
        stated = {column.name: change.values.get(column.name) for column in table.columns}
        expected = pa.Table.from_pylist([stated], pa.schema([schema.field(name) for name in stated])).to_pylist()[0]
        assert repr({name: row[name] for name in stated}) == repr(expected)  # NaN equals NaN here


@settings(max_examples=150)
@given(CHANGES, st.sampled_from(["s/0", "s/1"]), st.sampled_from([1, 2]))
def test_held_columns_are_noted_as_if_each_change_was_read_by_itself(
    case: tuple[ProducerModes, list[Line]], other: str, epoch: int
) -> None:
    modes, some = case
    some = [line._replace(shard=other, epoch=epoch) if place % 2 else line for place, line in enumerate(some)]
    table = contract(modes)
    schema = schema_to_pyarrow(history_schema(table), include_field_ids=False)
    plain, _, _ = PlainReader(table, schema, KEY).read(some, frozenset(HELD))
    known = {name: Seen() for name in HELD} | {"apelido": Seen((1, 3, 0), (1, 101, 0), {"s/1": "2"})}
    together = noted_of_plain(known, HELD, (), plain, some)
    one_by_one = ChangeReader(table, KEY, seen=known)
    positions = (plain.rows[name].to_pylist() for name in ("cdc_epoch", "cdc_lsn"))
    for *_, place in sorted(zip(*positions, plain.places.tolist(), strict=True)):
        line = some[place]
        one_by_one.read(line.shard, "b", [line.raw], line.epoch)
    assert summary(together) == summary(one_by_one.seen)


def summary(seen: Mapping[str, Seen]) -> dict[str, Any]:
    """What was seen, but for where a life that has ended began."""
    return {name: (one.since, one.lacking, dict(one.offsets)) for name, one in seen.items()}


def test_a_column_that_is_known_to_be_held_leaves_a_change_plain() -> None:
    table = contract(MODES[0])
    schema = schema_to_pyarrow(history_schema(table), include_field_ids=False)
    row = {"id": 1, "novo": "x"} | {f"Coluna {n}": None for n in range(len(TYPES))}
    source = {"version": PUBLISHER_VERSION, "schema": "public", "table": "T", "lsn": 5, "ts_us": 0}
    body = json.dumps({"op": "c", "before": None, "after": row, "source": source}).encode()
    some = [Line("s/0", "b", RawLine("0", "7", 0, "", msgspec.Raw(body)))]
    reader = PlainReader(table, schema, KEY)
    assert reader.read(some)[1] == [0]
    plain, others, _ = reader.read(some, frozenset({"novo"}))
    assert others == []
    assert noted_of_plain({"novo": Seen()}, {"novo"}, (), plain, some) == {"novo": Seen((1, 5, 0), None, {"s/0": "6"})}
    assert reader.read(some)[1] == [0]


def test_ordinary_changes_are_plain() -> None:
    table = contract(MODES[0])
    schema = schema_to_pyarrow(history_schema(table), include_field_ids=False)
    row = {"id": 1} | {f"Coluna {n}": None for n in range(len(TYPES))} | {"Coluna 16": "texto", "Coluna 11": "1.50"}
    source = {"version": PUBLISHER_VERSION, "schema": "public", "table": "T", "lsn": 5, "ts_us": 0}
    events = [
        {"op": "c", "before": None, "after": row, "source": source},
        {"op": "d", "before": {"id": 1}, "after": None, "source": source | {"lsn": 6}},
    ]
    some = [
        Line("s/0", "b", RawLine("0", str(n), 0, "", msgspec.Raw(json.dumps(event).encode())))
        for n, event in enumerate(events)
    ]
    plain, others, _ = PlainReader(table, schema, KEY).read(some)
    assert others == []
    assert plain.rows["cdc_op"].to_pylist() == ["c", "d"]


def test_an_odd_row_makes_none_but_its_block_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    table = contract(MODES[0], PARSED_AT_ONCE)
    schema = schema_to_pyarrow(history_schema(table), include_field_ids=False)
    row = {"id": 1} | {f"Coluna {n}": None for n in range(len(PARSED_AT_ONCE))}
    source = {"version": PUBLISHER_VERSION, "schema": "public", "table": "T", "lsn": 5, "ts_us": 0}
    odd = {number: row | {"id": 1.5} for number in (4,)}
    some = [
        Line("s/0", "b", RawLine("0", str(n), 0, "", msgspec.Raw(json.dumps({"op": op, "before": before, "after": after, "source": source}).encode())))
        for n in range(6)
        for op, before, after in [("d", row, None) if n == 5 else ("u", row, odd.get(n, row))]
    ]  # fmt: skip
    parsed: list[bool] = []

    def told(*arguments: Any, **options: Any) -> pa.Table | None:
        rows = block.parse(*arguments, **options)
        parsed.append(rows is not None)
        return rows

    monkeypatch.setattr("compactor.plain.reader.parse", told)
    plain, others, _ = PlainReader(table, schema, KEY, block_rows=3).read(some)
    assert (plain.places.tolist(), others) == ([0, 1, 2, 3, 5], [4])
    assert sorted(parsed) == [False, True, True, True]  # the odd block; rows after and before; the delete


def test_what_came_in_avro_is_read_by_its_schema_and_never_by_stated_modes() -> None:
    table = contract(MODES[0])
    schema = schema_to_pyarrow(history_schema(table), include_field_ids=False)
    row = {"id": 1} | {f"Coluna {n}": None for n in range(len(TYPES))}
    source = {"version": "3.6.3.Final", "schema": "public", "table": "T", "lsn": 5, "ts_us": 0}
    body = msgspec.Raw(json.dumps({"op": "c", "before": None, "after": row, "source": source}).encode())
    reader = PlainReader(table, schema, KEY)
    for schema_id, others in ((None, []), (1, [0])):
        assert reader.read([Line("s/0", "b", RawLine("0", "1", 0, "", body, schema_id))])[1] == others
