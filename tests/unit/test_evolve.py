"""What becomes of a table's schema when its contract changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdc.contract import Column, TableContract
from cdc.postgres_type import parse_type
from compactor.lake.evolve import MASKS, PII_KEY_VERSION, SOURCE_COLUMNS, Evolution, evolution, identity
from compactor.lake.schema import history_schema, table_schema

KEY = b"k" * 32


def contract(**columns: str) -> TableContract:
    """A contract whose columns have these types; `type/mask` states a mask too."""
    made = []
    for name, stated in columns.items():
        type_, _, mask = stated.partition("/")
        kind = parse_type(type_)
        assert kind is not None
        made.append(Column(name, name, kind, "internal", mask or "clear"))
    return TableContract("t", "public", "t", tuple(made), ("id",), "hold", 60.0)


def followed(before: TableContract, now: TableContract, key: bytes = KEY) -> Evolution:
    return evolution(table_schema(before), table_schema(now), identity(before, KEY), now, key)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("integer", "bigint"),
        ("smallint", "bigint"),
        ("real", "double precision"),
        ("numeric(12,2)", "numeric(18,2)"),
        ("integer[]", "bigint[]"),
    ],
)
def test_what_iceberg_reads_exactly_is_widened_and_keeps_its_field_id(before: str, now: str) -> None:
    its = followed(contract(id="bigint", a=before), contract(id="bigint", a=now))
    assert (its.problems, its.widened, its.dropped) == ((), ("a",), ())
    old, new = table_schema(contract(id="bigint", a=before)), table_schema(contract(id="bigint", a=now))
    assert its.schema.find_field("a").field_id == old.find_field("a").field_id
    assert its.schema.find_field("a").field_type == new.find_field("a").field_type


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("numeric(12,2)", "numeric(18,4)"),
        ("numeric(12,2)", "numeric(10,2)"),
        ("text", "integer"),
        ("bigint", "integer"),
        ("double precision", "real"),
        ("integer", "integer[]"),
        ("date", "timestamp"),
        ("integer", "double precision"),
    ],
)
def test_what_old_files_do_not_hold_is_refused(before: str, now: str) -> None:
    its = followed(contract(id="bigint", a=before), contract(id="bigint", a=now))
    assert len(its.problems) == 1
    assert "a is" in its.problems[0]


@pytest.mark.parametrize(("before", "now"), [("smallint", "integer"), ("varchar(14)", "text"), ("text", "varchar(3)")])
def test_what_is_the_same_in_the_lake_is_no_change(before: str, now: str) -> None:
    old = contract(id="bigint", a=before)
    its = followed(old, contract(id="bigint", a=now))
    assert (its.problems, its.widened, its.schema) == ((), (), table_schema(old))
    assert its.properties == {}


def test_a_column_that_is_no_longer_named_is_taken_out_with_its_mask() -> None:
    its = followed(contract(id="bigint", a="text/token", b="text/last4"), contract(id="bigint", b="text/last4"))
    assert (its.problems, its.dropped) == ((), ("a",))
    assert [field.name for field in its.schema.fields][:2] == ["id", "b"]
    assert its.properties == {MASKS: "b=last4", SOURCE_COLUMNS: '{"id": "id", "b": "b"}'}


def test_a_changed_mask_key_source_or_masking_key_is_refused() -> None:
    old = contract(id="bigint", a="text/token")
    assert followed(old, contract(id="bigint", a="text")).problems
    assert followed(contract(id="bigint", a="text"), old).problems
    assert followed(old, replace(old, key=("a",))).problems
    assert followed(old, replace(old, source_table="other")).problems
    assert followed(old, old, b"another masking key, long enough").problems
    assert followed(old, old).problems == ()


def test_the_version_of_the_masking_key_follows_while_the_key_is_the_same() -> None:
    masked, clear = contract(id="bigint", a="text/token"), contract(id="bigint")
    schema, before = table_schema(masked), identity(masked, KEY, "1")
    assert evolution(schema, schema, before, masked, KEY, "2").properties == {PII_KEY_VERSION: "2"}
    (problem,) = evolution(schema, schema, before, masked, b"another masking key, long enough", "2").problems
    assert "version 1" in problem
    assert "version 2" in problem
    its = evolution(schema, table_schema(clear), before, clear, KEY, "2")
    assert PII_KEY_VERSION not in its.properties, "a table remembers the key of the tokens that its old files have"


def test_history_follows_as_the_table_does() -> None:
    before, now = contract(id="integer", a="real", b="text"), contract(id="bigint", a="double precision")
    its = evolution(history_schema(before), history_schema(now), identity(before, KEY), now, KEY)
    assert (its.problems, its.widened, its.dropped) == ((), ("id", "a"), ("b",))
    assert its.schema.find_field("cdc_unchanged") == history_schema(before).find_field("cdc_unchanged")
