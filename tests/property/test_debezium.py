"""Any event round-trips; any bytes at all give an event or a fault of the record, and soon."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.debezium import PLACEHOLDER, Decoder
from cdc.errors import RecordFault
from cdc_consumer.routing import route
from tests.golden_debezium import contract_of, read

TABLE = contract_of(
    "t",
    "id bigint, nome text, n numeric, n2 numeric(12,2), b boolean, d double precision, js jsonb, a text[], by bytea, "
    "ts timestamp, ti time, dt date, iv interval, hs hstore, pt point, vb varbit, b8 bit(8), a_n numeric[], x bytea[]",
)
DECODER = Decoder(TABLE)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ROWS = st.fixed_dictionaries(
    {
        "id": st.integers(-(2**63), 2**63 - 1),
        "nome": TEXT | st.none(),
        "n": st.decimals(allow_nan=False, allow_infinity=False).map(lambda n: f"{n:f}") | st.none(),
        "n2": st.decimals(-9999999999, 9999999999, places=2).map(str) | st.none(),
        "b": st.booleans() | st.none(),
        "d": st.floats(allow_nan=False, allow_infinity=False) | st.none(),
        "js": st.dictionaries(TEXT, TEXT, max_size=2).map(json.dumps),
        "a": st.lists(TEXT, max_size=3),
    }
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
SOURCE = {"schema": "public", "table": "t", "lsn": 5, "ts_us": 1, "version": "3.6.3.usuarios-cdc"}
NAMES = ("id", "nome", "n", "n2", "b", "d", "js", "a")


@given(op=st.sampled_from("rcu"), row=ROWS, is_wrapped=st.booleans(), indent=st.sampled_from([None, 1]))
def test_any_event_round_trips(op: str, row: dict[str, Any], indent: int | None, *, is_wrapped: bool) -> None:
    envelope: dict[str, Any] = {"before": None, "after": row, "source": SOURCE, "op": op}
    if is_wrapped:
        envelope = {"schema": None, "payload": envelope}
    contract = contract_of(
        "t", "id bigint, nome text, n numeric, n2 numeric(12,2), b boolean, d double precision, js jsonb, a text[]"
    )
    (change,), rejected = read([json.dumps(envelope, indent=indent).encode()], contract)
    assert rejected == []
    if change.fault is not None:
        assert len(row["n"]) > 16_000
        return
    for name in NAMES:
        value = change.values.get(name, PLACEHOLDER)
        exact = Decimal(row[name]) if name == "n2" and row[name] is not None else row[name]
        if name == "n" and value is not None:
            assert Decimal(value) == Decimal(exact)
        else:
            assert value == exact


@given(st.binary(max_size=300))
def test_any_bytes_are_a_fault(payload: bytes) -> None:
    with pytest.raises(RecordFault):
        DECODER.decode(payload, 1)


@given(row=st.dictionaries(st.sampled_from([c.name for c in TABLE.columns]), JSON), op=st.sampled_from("rcudtmx"))
def test_any_json_in_a_row_is_a_change_or_a_fault(row: dict[str, Any], op: str) -> None:
    source = SOURCE | {"version": "3.6.3.Final"}
    body = {"before": row, "after": row, "source": source, "op": op}
    changes, rejected = read([json.dumps(body).encode()], TABLE)
    assert len(changes) + len(rejected) == 1


@given(JSON, JSON, JSON, JSON)
def test_any_json_in_the_envelope_is_a_change_or_a_fault(op: Any, source: Any, schema: Any, payload: Any) -> None:
    for body in (
        {"op": op, "source": source, "after": payload},
        {"schema": schema, "payload": payload},
        {"schema": {"type": "struct", "fields": schema}, "payload": {"op": "c", "source": SOURCE, "after": {"id": 1}}},
        {"id": 1, "__op": op, "__lsn": source, "__table": schema, "__source_ts_ms": payload},
    ):
        changes, rejected = read([json.dumps(body).encode()], TABLE)
        assert len(changes) + len(rejected) == 1
        route(json.dumps(body).encode(), {("public", "t"): "t"})


def _event(after: bytes) -> bytes:
    return b'{"op":"c","source":' + json.dumps(SOURCE).encode() + b',"after":' + after + b"}"


HUGE = 10_000_000


@pytest.mark.parametrize(
    "payload",
    [
        _event(b'{"id":1,"js":' + b"[" * HUGE + b"]" * HUGE + b"}"),
        _event(b'{"id":1,"nome":"' + b"x" * HUGE + b'"}'),
        _event(b'{"id":1,"n":"' + b"9" * HUGE + b'"}'),
        _event(b'{"id":1,"n2":"' + b"A" * HUGE + b'"}'),
        _event(b'{"id":1,"n":{"scale":0,"value":"' + b"A" * HUGE + b'"}}'),
        _event(b'{"id":1,"n":' + b"9" * HUGE + b"}"),
        _event(b'{"id":1,"b8":"' + b"A" * HUGE + b'"}'),
        _event(b'{"id":1,"vb":"' + b"/" * HUGE + b'"}'),
        _event(b"{" + b'"id":1,' * 100_000 + b'"id":2}'),
        _event(b'{"id":1,"nome":"\\ud800"}'),
        _event(b'{"id":1,"nome":"\xff"}'),
        _event(b'{"id":1,"nome":"\\u0000"}'),
        _event(b'{"id":1,"hs":"' + b"{" * HUGE + b'"}'),
        b'{"schema":' + b'{"type":"array","items":' * 100_000 + b"1" + b"}" * 100_000 + b',"payload":{"op":"c"}}',
    ],
)  # fmt: skip
def test_monsters_are_a_change_or_a_fault_in_bounded_time(payload: bytes) -> None:
    began = time.process_time()
    changes, rejected = read([payload], TABLE)
    assert len(changes) + len(rejected) == 1
    assert time.process_time() - began < 5
