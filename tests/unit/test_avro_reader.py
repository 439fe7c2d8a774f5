"""Values in Avro, framed: which schema they are read by, what is kept of it, and what a registry's silence means."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

import fastavro
import pytest

from cdc.errors import FatalFault, RecordFault, TransientFault
from cdc_consumer.avro import LAG_SECONDS, UNKNOWN_SECONDS, AvroReader, is_avro
from cdc_consumer.routing import LeftOut, ToQuarantine, ToTable, route
from tests.golden_avro import ENVELOPE, STREAM, MemoryRegistry
from tests.raw_zone import MemoryObjects

TABLES = {("public", "Usuários"): "usuarios"}
TEXT = json.dumps(ENVELOPE)
EVENT = {"after": {"id": 7}, "source": {"schema": "public", "table": "Usuários", "lsn": 5, "ts_us": 1}, "op": "c"}


def framed(value: Any, schema_id: int = 1, schema: Any = ENVELOPE) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    return b"\0" + schema_id.to_bytes(4, "big") + stream.getvalue()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def reader(
    registry: MemoryRegistry, store: MemoryObjects | None = None, clock: Callable[[], float] = lambda: 1000.0
) -> AvroReader:
    return AvroReader(registry, MemoryObjects() if store is None else store, clock)


def reason(read: Callable[[], object]) -> str:
    with pytest.raises(RecordFault) as caught:
        read()
    return caught.value.reason


def test_a_value_goes_to_its_table_as_json_with_its_schema_id() -> None:
    found = reader(MemoryRegistry({1: TEXT}))
    routed = route(framed(EVENT), TABLES, lambda data: found.read(data, STREAM))
    assert isinstance(routed, ToTable)
    assert (routed.table, routed.schema_id, json.loads(routed.line)) == ("usuarios", 1, EVENT)


def test_json_has_no_schema_id() -> None:
    routed = route(json.dumps(EVENT).encode(), TABLES)
    assert isinstance(routed, ToTable)
    assert routed.schema_id is None


def test_a_value_of_a_table_without_contract_is_left_out() -> None:
    found = reader(MemoryRegistry({1: TEXT}))
    assert route(framed(EVENT), {}, lambda data: found.read(data, STREAM)) == LeftOut("no-contract")


def test_without_a_registry_the_reason_says_so() -> None:
    data = framed(EVENT)
    assert route(data, TABLES) == ToQuarantine("avro-no-registry", data)


@pytest.mark.parametrize("data", [b"\0", b"\0\0\0\0\1", b"{}", b"\1\0\0\0\1\1"])
def test_what_is_not_framed_is_not_taken_for_avro(data: bytes) -> None:
    assert not is_avro(data)


def test_a_schema_is_in_raw_once_before_its_values_are_handed_out() -> None:
    store = MemoryObjects()
    registry = MemoryRegistry({1: TEXT, 2: TEXT})
    found = reader(registry, store)
    for number in (1, 1, 2):
        found.read(framed(EVENT, number), STREAM)
        assert store.objects[f"_schemas/{STREAM}/{number}.json"] == TEXT.encode()
    assert registry.asked == [1, 2]
    found.read(framed(EVENT), "other-20261121T000000Z")
    reader(registry, store).read(framed(EVENT), STREAM)  # a worker started anew finds it there
    assert sorted(store.objects) == [
        "_schemas/other-20261121T000000Z/1.json", f"_schemas/{STREAM}/1.json", f"_schemas/{STREAM}/2.json",
    ]  # fmt: skip


def test_nothing_is_kept_of_a_schema_by_which_nothing_could_be_read() -> None:
    store = MemoryObjects()
    found = reader(MemoryRegistry({1: TEXT}), store)
    assert reason(lambda: found.read(b"\0\0\0\0\1\xff\xff", STREAM)) == "not-avro"
    assert store.objects == {}


@pytest.mark.parametrize("fault", [TransientFault("down"), FatalFault("refused")])
def test_what_the_registry_meets_is_no_fault_of_the_record(fault: Exception) -> None:
    found = reader(MemoryRegistry({1: TEXT}, [fault]))
    with pytest.raises(type(fault)):
        route(framed(EVENT), TABLES, lambda data: found.read(data, STREAM))
    assert found.read(framed(EVENT), STREAM).schema_id == 1


def test_an_unknown_schema_is_waited_for_and_then_a_fault_of_the_record() -> None:
    clock = Clock()
    registry = MemoryRegistry({})
    found = reader(registry, clock=clock)
    with pytest.raises(TransientFault):
        found.read(framed(EVENT), STREAM)
    clock.now += LAG_SECONDS
    assert reason(lambda: found.read(framed(EVENT), STREAM)) == "avro-unknown-schema"
    # Not asked for again soon, nor is any other unknown one waited for: ids may be nothing but noise.
    asked = len(registry.asked)
    assert reason(lambda: found.read(framed(EVENT), STREAM)) == "avro-unknown-schema"
    assert len(registry.asked) == asked
    assert reason(lambda: found.read(framed(EVENT, 2), STREAM)) == "avro-unknown-schema"
    clock.now += UNKNOWN_SECONDS
    with pytest.raises(TransientFault):
        found.read(framed(EVENT, 3), STREAM)


def test_a_schema_that_a_lagging_registry_learns_of_is_read_by() -> None:
    clock = Clock()
    schemas: dict[int, str] = {}
    found = reader(MemoryRegistry(schemas), clock=clock)
    with pytest.raises(TransientFault):
        found.read(framed(EVENT), STREAM)
    schemas[1] = TEXT
    assert found.read(framed(EVENT), STREAM).schema_id == 1


def test_an_id_that_no_registry_gives_is_not_asked_for() -> None:
    registry = MemoryRegistry({})
    assert reason(lambda: reader(registry).read(framed(EVENT, 2**31), STREAM)) == "avro-unknown-schema"
    assert registry.asked == []
