"""Confluent's real client against a registry on this machine: what each of its answers means."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from cdc.errors import FatalFault, RecordFault, TransientFault
from cdc_consumer.schema_registry import ConfluentRegistry
from cdc_consumer.settings import RegistryLocation
from tests.schema_registry import NO_SUCH_PATH, RegistryDouble, schema_registry

SCHEMA = '{"type":"record","name":"r","fields":[{"name":"id","type":"long"}]}'


@pytest.fixture
def double() -> Iterator[RegistryDouble]:
    with schema_registry() as running:
        yield running


def client(double: RegistryDouble, login: str | None = None) -> ConfluentRegistry:
    return ConfluentRegistry(RegistryLocation(double.url, SecretStr(login) if login else None))


def test_a_schema_is_fetched_as_the_registry_has_it(double: RegistryDouble) -> None:
    number = double.add(SCHEMA)
    assert client(double).schema(number) == SCHEMA
    assert double.requests[0].startswith(f"GET /schemas/ids/{number}")


def test_a_schema_that_the_registry_itself_does_not_know_is_none(double: RegistryDouble) -> None:
    assert client(double).schema(7) is None


@pytest.mark.parametrize("answer", [NO_SUCH_PATH, (404, {}), (500, {}), (503, {"error_code": 50003}), (429, {})])
def test_any_other_answer_says_nothing_of_the_schema(
    double: RegistryDouble, answer: tuple[int, dict[str, int]]
) -> None:
    double.add(SCHEMA)
    double.answers.append(answer)
    registry = client(double)
    with pytest.raises(TransientFault, match=str(answer[0])):
        registry.schema(1)
    assert len(double.requests) == 1  # our own backing off knows of leases and SIGTERM, the client's does not
    assert registry.schema(1) == SCHEMA


def test_a_registry_that_is_down_is_transient(double: RegistryDouble) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        location = RegistryLocation(f"http://127.0.0.1:{bound.getsockname()[1]}", None)
        with pytest.raises(TransientFault, match="no answer"):
            ConfluentRegistry(location).schema(1)


def test_credentials_are_sent_and_a_refusal_is_fatal(double: RegistryDouble) -> None:
    double.add(SCHEMA)
    double.login = "ana:p@ss:word"
    assert client(double, "ana:p@ss:word").schema(1) == SCHEMA
    with pytest.raises(FatalFault) as caught:
        client(double, "ana:wrong-secret").schema(1)
    assert "wrong-secret" not in str(caught.value)
    assert "CDC_SCHEMA_REGISTRY" in str(caught.value)


@pytest.mark.parametrize(
    "more", [{"schemaType": "JSON"}, {"references": [{"name": "a", "subject": "a", "version": 1}]}]
)
def test_what_is_no_avro_schema_that_stands_alone_is_a_fault_of_the_record(
    double: RegistryDouble, more: dict[str, Any]
) -> None:
    double.add(SCHEMA, **more)
    with pytest.raises(RecordFault) as caught:
        client(double).schema(1)
    assert caught.value.reason == "avro-schema"
