"""Where a record goes: real events of Debezium and DMS, housekeeping, and garbage."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdc_consumer.routing import DEPTH_MAX, Commit, Empty, LeftOut, ToQuarantine, ToTable, route
from tests.conftest import ROOT

TABLES = {("public", "Usuários"): "usuarios", ("public", "pedidos"): "pedidos"}


def debezium(op: str = "u", table: object = "Usuários", **source: object) -> dict[str, object]:
    base = {"schema": "public", "table": table, "lsn": 7, "ts_us": 1_700_000_000_000_001, "snapshot": "false"}
    return {"before": None, "after": {"id": 1, "nome": "José"}, "source": base | source, "op": op, "ts_ms": 1}


def encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def test_an_event_goes_to_its_table_with_its_payload_untouched() -> None:
    payload = encoded(debezium())
    assert route(payload, TABLES) == ToTable("usuarios", payload)


def test_a_pretty_printed_payload_comes_on_one_line_and_says_the_same() -> None:
    payload = json.dumps(debezium(), indent=2).replace("\n", "\r\n").encode() + b"\n"
    found = route(payload, TABLES)
    assert isinstance(found, ToTable)
    assert b"\n" not in found.line
    assert b"\r" not in found.line
    assert json.loads(found.line) == debezium()


def test_the_wrapper_of_schemas_is_looked_through() -> None:
    payload = encoded({"schema": {"type": "struct", "fields": []}, "payload": debezium()})
    assert route(payload, TABLES) == ToTable("usuarios", payload)


def test_a_dms_record_goes_to_its_table() -> None:
    metadata = {
        "operation": "update",
        "record-type": "data",
        "schema-name": "public",
        "table-name": "pedidos",
        "commit-timestamp": "2024-07-29T00:59:07.678294Z",
        "stream-position": "00000002/7C0073F8.2.00000002/7C0073F8",
    }
    payload = encoded({"data": {"id": 1}, "metadata": metadata})
    assert route(payload, TABLES) == ToTable("pedidos", payload)


def test_the_recorded_dms_records_go_to_their_table_and_the_control_records_nowhere() -> None:
    lines = (ROOT / "tests/golden/dms_postgres_field_samples.jsonl").read_text(encoding="utf-8").splitlines()
    payloads = [json.dumps(json.loads(line)["record"], indent=4).encode() for line in lines]  # MessageFormat JSON
    routes = [route(payload, {("public", "foo"): "foo"}) for payload in payloads]
    control = LeftOut("control")
    for position in (0, 1, 7):
        assert routes[position] == control
    for payload, to in zip(payloads[2:7], routes[2:7], strict=True):
        assert isinstance(to, ToTable)
        assert to.table == "foo"
        assert b"\n" not in to.line
        assert json.loads(to.line) == json.loads(payload)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"ts_ms": 1795252014174}, "heartbeat"),
        ({"schema": {}, "payload": {"ts_ms": 1795252014174}}, "heartbeat"),
        (
            {"status": "BEGIN", "id": "930:141925992", "event_count": None, "data_collections": None, "ts_ms": 1},
            "transaction",
        ),
        ({"status": "END", "id": "9:1", "event_count": 3, "data_collections": [{}], "ts_ms": 1}, "transaction"),
        ({"control": {}, "metadata": {"record-type": "control", "schema-name": "", "table-name": ""}}, "control"),
        (
            {
                "control": {},
                "metadata": {"record-type": "control", "schema-name": "", "table-name": "awsdms_apply_exceptions"},
            },
            "control",
        ),
        (
            {
                "data": {"c_key": 1},
                "metadata": {"record-type": "data", "schema-name": "public", "table-name": "awsdms_ddl_audit"},
            },
            "dms-own-table",
        ),
    ],
)
def test_housekeeping_is_left_out_and_is_no_evidence(value: object, reason: str) -> None:
    assert route(encoded(value), TABLES) == LeftOut(reason)


@pytest.mark.parametrize(
    "row", [{"id": "a", "status": "BEGIN"}, {"id": "a", "status": "novo", "ts_ms": 1}, {"op": "m"}]
)
def test_a_flattened_row_does_not_pass_for_housekeeping(row: dict[str, object]) -> None:
    assert route(encoded(row), TABLES) == ToQuarantine("no-table", encoded(row))


@pytest.mark.parametrize(
    "own", [{"source": "s"}, {"op": "m"}, {"metadata": "m"}, {"payload": "p"}, {"message": 5}, {"source": {"table": 5}}]
)
def test_a_flattened_row_may_have_columns_named_like_the_parts_of_an_envelope(own: dict[str, object]) -> None:
    row = {"id": 1, **own, "__op": "u", "__table": "Usuários", "__schema": "public", "__lsn": 7}
    for value in (row, {"schema": {}, "payload": row}):
        found = route(encoded(value), TABLES)
        assert isinstance(found, ToTable)
        assert json.loads(found.line) == value


def test_a_table_without_a_contract_is_left_out() -> None:
    assert route(encoded(debezium(table="sessões")), TABLES) == LeftOut("no-contract")


def heartbeat(**source: object) -> dict[str, object]:
    message = {"prefix": "cdc.heartbeat", "content": ""}
    return debezium("m", **{"table": "", "schema": "", **source}) | {"message": message}


def test_the_publishers_heartbeat_is_evidence() -> None:
    assert route(encoded(heartbeat()), TABLES) == LeftOut("heartbeat", Commit(1_700_000_000_000_001, 7))
    in_milliseconds = heartbeat(ts_us=None, ts_ms=1_700_000_000_123)
    assert route(encoded(in_milliseconds), TABLES) == LeftOut("heartbeat", Commit(1_700_000_000_123_000, 7))


@pytest.mark.parametrize(
    "source", [{"lsn": None}, {"lsn": 0}, {"lsn": 2**64}, {"ts_us": None}, {"ts_us": -1}, {"ts_us": 10**30}]
)
def test_a_heartbeat_without_time_or_place_in_the_log_is_no_evidence(source: dict[str, object]) -> None:
    assert route(encoded(heartbeat(**source)), TABLES) == LeftOut("heartbeat")


def test_the_message_of_another_application_is_no_evidence() -> None:
    value = heartbeat() | {"message": {"prefix": "app", "content": ""}}
    assert route(encoded(value), TABLES) == LeftOut("message")


def test_an_empty_record_is_a_tombstone() -> None:
    assert route(b"", TABLES) == Empty()


def nested(depth: int) -> bytes:
    event = debezium()
    return encoded(event).replace(b'"Jos', b"[" * depth + b"]" * depth + b',"x":"Jos')


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xff\xfe\x00", "not-utf8"),
        (encoded(debezium()).replace("é".encode(), b"\xe9"), "not-utf8"),
        (b'{"op":"u","source":{"schema":"public","table":"pedidos"},"after":{"x":"\xed\xa0\x80"}}', "not-utf8"),
        (b"\xf3\x89\x9a\xc2\x0a\x00", "not-utf8"),
        (b" ", "not-json"),
        (b"\x00", "not-json"),
        (b"\x00" + encoded(debezium()), "avro-no-registry"),
        (encoded(debezium())[:-1], "not-json"),
        (encoded(debezium()) + b"}", "not-json"),
        (encoded(debezium()) * 2, "not-json"),
        (b"[", "not-json"),
        (b'{"op":1,', "not-json"),
        (b"\xef\xbb\xbf" + encoded(debezium()), "not-json"),
        (b'{"source":{"schema":"public","table":"pedidos"},"after":{"x":"a\nb"}}', "not-json"),
        (b'{"source":{"schema":"public","table":"pedidos"},"after":{"x":"\\ud800"}}', "not-json"),
        (b'{"source":{"schema":"public","table":"pedidos"},"after":{"x":NaN}}', "not-json"),
        (b'{"source":{"schema":"public","table":"pedidos"},"after":{"x":01}}', "not-json"),
        (b"[]", "not-routable"),
        (b"null", "not-routable"),
        (b'"text"', "not-routable"),
        (b'{"op":1}', "not-routable"),
        (b'{"op":"u","source":"x"}', "not-routable"),
        (encoded(debezium()).replace(b'"lsn": 7', b'"lsn": "7"'), "not-routable"),
        (b"{}", "no-table"),
        (b'{"id":1,"nome":"x"}', "no-table"),
        (b'{"id":1,"ts_ms":5}', "no-table"),
        (b'{"schema":null,"payload":null}', "no-table"),
        (b'{"op":"u","source":{}}', "no-table"),
        (b'{"op":"u","source":{"schema":"public","table":""}}', "no-table"),
        (b'{"data":{},"metadata":{"record-type":"data"}}', "no-table"),
        (nested(DEPTH_MAX), "too-deep"),
        (b"[" * 1_000_000, "too-deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too-deep"),
    ],
)
def test_what_cannot_be_read_goes_to_quarantine_as_it_came(payload: bytes, reason: str) -> None:
    assert route(payload, TABLES) == ToQuarantine(reason, payload)


def test_deep_but_bearable_json_passes() -> None:
    assert isinstance(route(nested(DEPTH_MAX - 2), TABLES), ToTable)


def test_brackets_in_strings_are_no_depth() -> None:
    value = debezium() | {"after": {"x": '["\\{' * 1000}}
    assert isinstance(route(encoded(value), TABLES), ToTable)


def test_a_string_that_never_ends_costs_no_more_than_its_length() -> None:
    payload = b"[" * (DEPTH_MAX + 1) + b'"' + b'\\"' * 500_000
    assert route(payload, TABLES) == ToQuarantine("too-deep", payload)


def test_a_number_of_many_digits_is_no_way_out_of_the_loop() -> None:
    payload = encoded(debezium()).replace(b'"lsn": 7', b'"lsn": ' + b"9" * 10_000)
    assert isinstance(route(payload, TABLES), ToQuarantine | ToTable)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["op", "source", "payload", "metadata", "schema", "table", "ts_ms", "status", "id"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
@example(b'{"source":{"schema":"public","table":"pedidos"},"source":null}')
def test_garbage_never_raises_and_never_leaves_bytes_behind(payload: bytes) -> None:
    found = route(payload, TABLES)
    if isinstance(found, ToQuarantine):
        assert found.payload == payload


@given(st.data())
def test_a_damaged_event_never_raises(data: st.DataObject) -> None:
    payload = bytearray(encoded(debezium()))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    found = route(bytes(payload), TABLES)
    if isinstance(found, ToTable):
        json.loads(found.line)


FLAT = {"id": 1, "__op": "u", "__lsn": 5, "__table": "Usuários"}


def test_a_flattened_event_goes_to_the_table_that_it_names() -> None:
    for body in (FLAT, FLAT | {"__source_schema": "public"}, {"schema": {"type": "struct"}, "payload": FLAT}):
        assert route(encoded(body), TABLES) == ToTable("usuarios", encoded(body))
    assert route(encoded(FLAT | {"__table": "outra"}), TABLES) == LeftOut("no-contract")
    assert route(encoded(FLAT | {"__schema": "other"}), TABLES) == LeftOut("no-contract")


def test_a_flattened_event_that_does_not_name_its_table_is_set_aside() -> None:
    for body in ({"id": 1, "__deleted": "false"}, {"id": 1, "__op": "u", "__lsn": 5}):
        assert route(encoded(body), TABLES) == ToQuarantine("flattened", encoded(body))
    doubled = TABLES | {("other", "Usuários"): "outros"}
    assert route(encoded(FLAT), doubled) == ToQuarantine("flattened", encoded(FLAT))


def test_a_notification_is_left_out_and_counted() -> None:
    body = {"id": "x", "aggregate_type": "Initial Snapshot", "type": "STARTED", "additional_data": {}, "timestamp": 5}
    assert route(encoded(body), TABLES) == LeftOut("notification")
