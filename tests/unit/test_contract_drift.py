"""How a live table differs from its contract."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdc.contract import Column, TableContract
from cdc.postgres_type import PostgresType, parse_type
from cdc_ops.drift import Drift, drifts, type_drift
from cdc_ops.live_table import Identity, LiveColumn, LiveTable, NoTable

BIGINT, TEXT = PostgresType("bigint"), PostgresType("text")
CONTRACT = TableContract(
    "t", "public", "T",
    (
        Column("id", "id", BIGINT, "internal", "clear"),
        Column("pais", "País", TEXT, "internal", "clear"),
        Column("nome", "nome", TEXT, "confidential", "token"),
    ),
    ("id", "pais"), "hold", 60,
)  # fmt: skip
LIVE = LiveTable(
    "public",
    "T",
    (LiveColumn("id", "bigint", BIGINT), LiveColumn("País", "text", TEXT), LiveColumn("nome", "text", TEXT)),
    ("id", "País"),
)


def only(found: tuple[Drift, ...]) -> Drift:
    (drift,) = found
    return drift


def with_column(column: LiveColumn) -> LiveTable:
    return replace(LIVE, columns=(*LIVE.columns, column))


def with_nome(column: LiveColumn) -> LiveTable:
    return replace(LIVE, columns=(*LIVE.columns[:2], column))


@pytest.mark.parametrize(
    ("contract", "live", "expected"),
    [
        ("integer", "bigint", "type-widened"), ("bigint", "smallint", "type-narrowed"), ("real", "double precision", "type-widened"),
        ("varchar(5)", "varchar(9)", "type-widened"), ("varchar(5)", "text", "type-widened"), ("text", "varchar(5)", "type-narrowed"),
        ("text", "varchar", None), ("text", "text", None), ("char(5)", "varchar(5)", "type-widened"), ("varchar(5)", "char(5)", "type-narrowed"),
        ("char(5)", "varchar(3)", "type-changed"), ("numeric(12,2)", "numeric(14,2)", "type-widened"), ("numeric(12,2)", "numeric(18,4)", "type-widened"),
        ("numeric(12,2)", "numeric(10,2)", "type-narrowed"), ("numeric(12,2)", "numeric(12,4)", "type-changed"), ("integer", "numeric(10,0)", "type-changed"),
        ("timestamp(3)", "timestamp", "type-widened"), ("timestamp", "timestamp(6)", None), ("time(6)", "time", None), ("interval", "interval(3)", "type-narrowed"), ("timetz(0)", "timetz", "type-widened"),
        ("timestamptz", "timestamptz(0)", "type-narrowed"),
        ("timestamp", "timestamptz", "type-changed"), ("date", "timestamp", "type-changed"), ("text", "jsonb", "type-changed"),
        ("json", "jsonb", "type-changed"), ("bigint", "text", "type-changed"), ("integer[]", "bigint[]", "type-widened"),
        ("integer[]", "integer", "type-changed"), ("bytea", "bytea", None), ("integer", "real", "type-changed"),
    ],
)  # fmt: skip
def test_a_type_is_widened_narrowed_or_changed_in_kind(contract: str, live: str, expected: str | None) -> None:
    before, now = parse_type(contract), parse_type(live)
    assert before is not None
    assert now is not None
    assert type_drift(before, now) == expected


def test_a_table_like_its_contract_has_no_drift() -> None:
    assert drifts(CONTRACT, LIVE) == ()


def test_an_added_column_is_drift_unless_it_is_left_out_or_generated() -> None:
    added = with_column(LiveColumn("apelido", "text", TEXT))
    drift = only(drifts(CONTRACT, added))
    assert (drift.kind, drift.column, drift.database_says) == ("column-added", "apelido", "text")
    assert drifts(replace(CONTRACT, left_out=("apelido",)), added) == ()
    assert drifts(CONTRACT, with_column(LiveColumn("g", "integer", None, generated=True))) == ()
    assert "leftOut" in only(drifts(CONTRACT, with_column(LiveColumn("rede", "inet", None)))).hint


def test_a_dropped_column_is_drift_and_a_new_one_of_its_type_may_be_its_new_name() -> None:
    drift = only(drifts(CONTRACT, replace(LIVE, columns=LIVE.columns[:2])))
    assert (drift.kind, drift.column) == ("column-dropped", "nome")
    dropped, added = drifts(CONTRACT, with_nome(LiveColumn("nome_completo", "text", TEXT)))
    assert (dropped.kind, added.kind) == ("column-dropped", "column-added")
    assert "renamed to nome_completo" in dropped.hint


def test_a_type_that_the_lake_cannot_hold_or_the_log_does_not_carry_is_drift() -> None:
    assert only(drifts(CONTRACT, with_nome(LiveColumn("nome", "inet", None)))).kind == "type-changed"
    generated = LiveColumn("nome", "text", TEXT, generated=True)
    assert only(drifts(CONTRACT, with_nome(generated))).kind == "column-generated"


def test_another_scale_is_told_to_need_a_rebuild() -> None:
    contract = replace(CONTRACT, columns=(*CONTRACT.columns[:2], Column("nome", "nome", PostgresType("numeric", (12, 2)), "internal", "clear")))  # fmt: skip
    drift = only(drifts(contract, with_nome(LiveColumn("nome", "numeric(18,4)", PostgresType("numeric", (18, 4))))))
    assert (drift.kind, "rebuild" in drift.hint) == ("type-widened", True)


@pytest.mark.parametrize("key", [(), ("id",), ("País", "id")])
def test_another_key_is_drift(key: tuple[str, ...]) -> None:
    drift = only(drifts(CONTRACT, replace(LIVE, key=key)))
    assert (drift.kind, drift.contract_says, drift.database_says) == ("key-changed", "id, País", ", ".join(key))


def test_a_missing_table_is_the_only_drift_and_names_what_may_be_meant() -> None:
    drift = only(drifts(CONTRACT, NoTable("there is no such table", ('public."Tê"',))))
    assert (drift.kind, drift.contract_says) == ("table-missing", 'public."T"')
    assert 'public."Tê"' in drift.hint


def test_drift_is_told_on_one_line() -> None:
    told = str(only(drifts(CONTRACT, with_column(LiveColumn("a\nb", "text", TEXT)))))
    assert told.startswith("column added a\\nb: contract none, database text; ")
    assert "\n" not in told


@pytest.mark.parametrize(
    ("identity", "full_images", "hint"),
    [
        (Identity.FULL, True, None), (Identity.KEY, False, None), (Identity.FULL, False, None),
        # DMS would send null for an unchanged value, and it would be merged as null.
        (Identity.KEY, True, "remove dms.fullImages"), (Identity.NOTHING, True, "REPLICA IDENTITY"),
        (Identity.NOTHING, False, 'ALTER TABLE public."T" REPLICA IDENTITY DEFAULT'),
    ],
)  # fmt: skip
def test_a_replica_identity_that_tells_too_little_is_drift(
    identity: Identity, hint: str | None, *, full_images: bool
) -> None:
    found = drifts(replace(CONTRACT, dms_full_images=full_images), replace(LIVE, identity=identity))
    assert [drift.kind for drift in found] == ([] if hint is None else ["identity-changed"])
    assert all(hint is not None and hint in drift.hint for drift in found)


def test_a_column_that_is_required_and_may_be_null_is_drift() -> None:
    drift = only(drifts(CONTRACT, LIVE, required={"nome"}))
    assert (drift.kind, drift.column) == ("nullability-changed", "nome")
    assert drifts(CONTRACT, with_nome(LiveColumn("nome", "text", TEXT, nullable=False)), required={"nome"}) == ()
    assert drifts(CONTRACT, with_nome(LiveColumn("nome", "text", TEXT, nullable=False))) == ()


@pytest.mark.parametrize("named", ["enum", "text", "enum[]"])
def test_an_enum_may_be_called_so_or_text(named: str) -> None:
    kind = parse_type(named)
    assert kind is not None
    contract = replace(CONTRACT, columns=(*CONTRACT.columns[:2], Column("nome", "nome", kind, "internal", "clear")))
    live = LiveColumn("nome", "humor", PostgresType("text", (), kind.is_array), is_enum=True)
    assert drifts(contract, with_nome(live)) == ()
    if named != "text":
        assert only(drifts(contract, with_nome(replace(live, is_enum=False)))).kind == "type-changed"
