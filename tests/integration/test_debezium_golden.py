"""Every recorded session of real Debezium, folded, is the table that its SQL gives in a real Postgres."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from cdc.contract import TableContract, ValueBefore
from cdc.producer import UNSTATED, ProducerModes
from compactor.change import Change
from compactor.fold import fold
from sandbox.postgres import Postgres
from sandbox.usuarios import CREATE_TABLE
from tests.golden_debezium import GOLDEN, contract_of, read, recorded, recorded_in_mode, same, true_rows
from tests.integration.test_publisher_golden import BEFORE, STEPS, cpf, insert
from tests.publisher_support import database

pytestmark = pytest.mark.slow
PRECISE = ProducerModes(decimal="precise")
MAX = 9223372036854775807
USUARIOS = (
    "id bigint, nome text, email text, cpf varchar(14), telefone text, data_nascimento date, endereco jsonb, "
    "saldo numeric(12,2), ativo boolean, criado_em timestamptz, atualizado_em timestamp, tags text[], "
    "uuid_externo uuid, bio text"
)
TIPOS = (
    "id int, c_int2 smallint, c_int4 int, c_int8 bigint, c_real real, c_double double precision, c_num numeric, "
    "c_num_5_0 numeric(5,0), c_num_38_10 numeric(38,10), c_money money, c_bool boolean, c_char char(5), "
    "c_varchar varchar(10), c_text text, c_citext citext, c_bytea bytea, c_date date, c_time time, c_timetz timetz, "
    "c_time3 time(3), c_ts timestamp, c_ts3 timestamp(3), c_ts0 timestamp(0), c_tstz timestamptz, "
    "c_interval interval, c_uuid uuid, c_json json, c_jsonb jsonb, c_hstore hstore, c_ltree ltree, c_inet inet, "
    "c_cidr cidr, c_macaddr macaddr, c_bit1 bit(1), c_bit8 bit(8), c_varbit varbit, c_point point, "
    "c_int4range int4range, c_tstzrange tstzrange, c_tsvector tsvector, c_enum enum, c_domain varchar(14), "
    "a_int int[], a_int2d int[], a_text text[], a_num numeric(10,2)[], a_ts timestamptz[], a_uuid uuid[], "
    "a_enum enum[], a_date date[], a_bool boolean[], c_oid oid, c_serial int"
)
"""All columns of the recordings 09 to 11; c_gen is generated and not in the stream."""


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres.start(tmp_path_factory.mktemp("postgres")) as server:
        yield server


def folded(changes: Sequence[Change]) -> tuple[dict[Any, Any], set[Any]]:
    """The rows in the end by key, and the keys of which something was set aside."""
    outcome = fold(changes, {}, None)
    assert not outcome.unresolved
    rows = {key[0]: dict(state.row) for key, state in outcome.states.items() if state.row is not None}
    return rows, {key[0] for key, state in outcome.states.items() if not state.is_complete}


def session(name: str, contract: TableContract, table: str = "Usu_rios") -> list[Change]:
    """The changes of a recorded session; every line of it is one."""
    payloads = [
        record["value"].encode()
        for record in recorded(name)
        if record["value"] and (record["destination"].endswith((f".{table}", "cdc_all")))
    ]
    payloads = [body for body in payloads if f'"table":"{contract.source_table}"'.encode() in body]
    changes, rejected = read(payloads, contract)
    assert rejected == []
    assert len(changes) == len(payloads)
    return changes


def set_aside(changes: Sequence[Change]) -> Counter[tuple[Any, str, str]]:
    """Key, reason and column of what was set aside."""
    return Counter((change.key[0], change.fault.reason, change.fault.where) for change in changes if change.fault)


def differences(contract: TableContract, ours: dict[Any, Any], true: dict[Any, Any]) -> set[tuple[Any, str]]:
    """Keys and columns in which the lake and the source differ; `row` where one of them lacks it."""
    found = {(key, "row") for key in ours.keys() ^ true.keys()}
    return found | {
        (key, column.name)
        for key in ours.keys() & true.keys()
        for column in contract.columns
        if not same(ours[key][column.name], true[key][column.name], column.type)
    }


def run_sql(postgres: Postgres, name: str, statements: Sequence[str]) -> psycopg.Connection[Any]:
    connection = psycopg.connect(database(postgres, name).dsn_admin, autocommit=True)
    for statement in statements:
        connection.execute(statement.encode())
    return connection


CHANGED_COLUMNS = (
    insert(50, "antes", cpf=cpf(50, 0)),
    'ALTER TABLE "Usuários" ADD COLUMN apelido text',
    insert(51, "depois add", cpf=cpf(51, 1)),
    """UPDATE "Usuários" SET apelido = 'Zé' WHERE id = 51""",
    """UPDATE "Usuários" SET apelido = 'Velho' WHERE id = 1""",
    'ALTER TABLE "Usuários" ADD COLUMN nivel int NOT NULL DEFAULT 7',
    """UPDATE "Usuários" SET nome = 'n1' WHERE id = 1""",
    'ALTER TABLE "Usuários" ALTER COLUMN cpf TYPE text',
    """UPDATE "Usuários" SET cpf = '123.456.789-00 (texto longo agora)' WHERE id = 1""",
    'ALTER TABLE "Usuários" ALTER COLUMN nivel TYPE bigint',
    'UPDATE "Usuários" SET nivel = 9000000000 WHERE id = 1',
    """UPDATE "Usuários" SET nome = 'sem email' WHERE id = 1""",
    'DELETE FROM "Usuários" WHERE id = 2',
    'ALTER TABLE "Usuários" RENAME COLUMN apelido TO alcunha',
    """UPDATE "Usuários" SET alcunha = 'Ze2' WHERE id = 1""",
    """UPDATE "Usuários" SET nome = 'pos' WHERE id = 1""",
    """INSERT INTO "Usuários" (id, nome) VALUES (60, 'sem pk')""",
)
"""The SQL of recording 04, without the columns that changed in kind."""
NOT_HELD = {(4, "value-not-held", "data_nascimento"): 2}
"""infinity; the row came twice. Its timestamps are infinite too."""
SNAPSHOT_FALSE = {(MAX, "data_nascimento")}
"""Debezium's snapshot drops the era of a BC date, and nothing in the event shows it (docs/types.md)."""


@pytest.mark.parametrize(
    ("name", "modes", "has_truncate"),
    [("01", PRECISE, True), ("03", UNSTATED, True), ("13", UNSTATED, False)],
)
def test_the_founding_table(postgres: Postgres, name: str, modes: ProducerModes, *, has_truncate: bool) -> None:
    contract = contract_of("Usuários", USUARIOS, modes)
    changes = session(name, contract)
    assert Counter(change.op for change in changes) == Counter(
        {"r": 4, "c": 10, "d": 6, "u": 10, "q": 2} | ({"t": 1} if has_truncate else {})
    )
    assert set_aside(changes) == NOT_HELD
    ours, doubtful = folded([change for change in changes if change.op != "t"])
    assert doubtful == {4}
    with run_sql(postgres, f"founding_{name}", [CREATE_TABLE, *BEFORE, *STEPS]) as connection:
        true = true_rows(connection, contract)
    # Row 4 was set aside as a whole.
    assert differences(contract, ours, true) == {(4, "row"), *SNAPSHOT_FALSE}
    if has_truncate:
        assert fold(changes, {}, None).floor is not None
        assert folded(changes)[0] == {}


def test_precise_decimals_without_a_schema_or_a_stated_mode_are_set_aside() -> None:
    changes = session("01", contract_of("Usuários", USUARIOS))
    faults = [change.fault for change in changes if change.fault and change.fault.where == "saldo"]
    assert len(faults) == 15
    assert all("debezium.decimal.handling.mode" in fault.what for fault in faults)
    assert not [change for change in changes if change.values.get("saldo") is not None]


def test_tombstones_off_and_a_truncate_that_is_not_sent(postgres: Postgres) -> None:
    contract = contract_of("Usuários", USUARIOS, PRECISE)
    changes = session("18", contract)
    assert Counter(change.op for change in changes) == {"r": 4, "d": 1, "c": 1, "q": 1}
    ours, _ = folded(changes)
    statements = [CREATE_TABLE, *BEFORE, 'DELETE FROM "Usuários" WHERE id=1', insert(70, "pós", cpf=cpf(70, 0))]
    with run_sql(postgres, "no_tombstones", statements) as connection:
        true = true_rows(connection, contract)
    # The truncate between them left no event: without skipped.operations=none it cannot be known.
    assert differences(contract, ours, true) == {(4, "row"), *SNAPSHOT_FALSE}


def test_one_stream_for_two_tables(postgres: Postgres) -> None:
    statements = [
        CREATE_TABLE, *BEFORE[:2], "CREATE TABLE pedidos(id bigint PRIMARY KEY, usuario_id bigint, total numeric(12,2))",
        "INSERT INTO pedidos VALUES (1,1,1.00)", 'UPDATE "Usuários" SET saldo=1 WHERE id=1',
    ]  # fmt: skip
    with run_sql(postgres, "rerouted", statements) as connection:
        for contract in (
            contract_of("Usuários", USUARIOS, PRECISE),
            contract_of("pedidos", "id bigint, usuario_id bigint, total numeric(12,2)", PRECISE),
        ):
            ours, _ = folded(session("19", contract))
            assert differences(contract, ours, true_rows(connection, contract)) == set()


def test_columns_that_change(postgres: Postgres) -> None:
    """The contract is that of the end: whatever an event has in another kind is set aside, never misread."""
    types = USUARIOS.replace("email text, ", "").replace("numeric(12,2)", "numeric(18,4)")
    types = types.replace("telefone text", "telefone bigint").replace("cpf varchar(14)", "cpf text")
    types = types.replace("atualizado_em timestamp,", "atualizado_em timestamptz,")
    contract = contract_of("Usuários", types + ", alcunha text, nivel bigint, extra int", PRECISE)
    payloads = [record["value"].encode() for record in recorded("04") if record["value"]]
    changes, rejected = read(payloads, contract)
    assert rejected == []
    reasons = Counter((change.fault.reason, change.fault.where) for change in changes if change.fault)
    # Before telefone became a number, then before alcunha, then before extra; an extra that was jsonb.
    assert reasons == {
        ("value-not-held", "telefone"): 12, ("missing-column", "alcunha"): 3, ("missing-column", "extra"): 2,
        ("value-not-held", "extra"): 1,
    }  # fmt: skip
    merged = [change for change in changes if not change.fault]
    assert Counter(change.op for change in merged) == {"d": 1, "u": 1, "c": 1}
    assert {change.key[0] for change in merged} == {1, 2, 60}


def test_columns_that_come_go_and_are_renamed_end_as_at_the_source(postgres: Postgres) -> None:
    """The contract is that of the end, without the columns that changed in kind, which get new names in the lake."""
    kept = (
        "id bigint, nome text, cpf text, data_nascimento date, endereco jsonb, ativo boolean, criado_em timestamptz, "
    )
    contract = contract_of("Usuários", kept + "tags text[], uuid_externo uuid, bio text, alcunha text, nivel bigint")
    *columns, alcunha, nivel = contract.columns
    alcunha = replace(alcunha, former_names=("apelido",), value_before=ValueBefore(None))
    nivel = replace(nivel, value_before=ValueBefore(7))
    contract = replace(contract, columns=(*columns, alcunha, nivel))
    changes = session("04", contract)
    assert set_aside(changes) == {(4, "value-not-held", "data_nascimento"): 1}
    assert Counter(change.op for change in changes) == {"r": 4, "q": 1, "c": 3, "u": 12, "d": 1}
    ours, doubtful = folded(changes)
    assert doubtful == {4}
    with run_sql(postgres, "columns_04", [CREATE_TABLE, *BEFORE, *CHANGED_COLUMNS]) as connection:
        assert differences(contract, ours, true_rows(connection, contract)) == {(4, "row"), *SNAPSHOT_FALSE}


@pytest.mark.parametrize(("name", "modes"), [("09", PRECISE), ("10", UNSTATED), ("11", UNSTATED)])
def test_every_type(postgres: Postgres, name: str, modes: ProducerModes) -> None:
    contract = contract_of("tipos", TIPOS, modes)
    payloads = [record["value"].encode() for record in recorded(name)]
    changes, rejected = read(payloads, contract)
    assert rejected == []
    where = {(change.key[0], change.fault.where) for change in changes if change.fault}
    # Rows 1 and 2 have an interval (a number in 09 and 10), a varbit and a 2-D array; row 5 an interval and 24:00.
    first = "c_interval" if name != "11" else "c_varbit"
    assert where == {(1, first), (2, first), (5, "c_interval" if name != "11" else "c_time")}
    without = [column for column in contract.columns if column.name not in {"c_interval", "c_varbit", "a_int2d"}]
    narrow = replace(contract, columns=tuple(column for column in without if (name, column.name) != ("11", "c_time")))
    changes, _ = read(payloads, narrow)
    ours, doubtful = folded(changes)
    assert doubtful == set()
    with psycopg.connect(database(postgres, f"types_{name}").dsn_admin, autocommit=True) as connection:
        _make_types(connection, name)
        true = true_rows(connection, narrow)
    nan_as_null = {(4, "c_num")} if name != "11" else set()
    assert differences(narrow, ours, true) == nan_as_null


def _make_types(connection: psycopg.Connection[Any], name: str) -> None:
    """The SQL of the README of the recordings; row 2 is row 1 again, then updated."""
    statements = (GOLDEN / "debezium" / "types.sql").read_text(encoding="utf-8")
    connection.execute(statements.encode())


IN_MODES = (
    "id int, i8 bigint, n numeric, n122 numeric(12,2), n50 numeric(5,0), n205 numeric(20,5), m money, by bytea, dt date, "
    "ti time, ti0 time(0), ti3 time(3), tz timetz, ts timestamp, ts0 timestamp(0), ts3 timestamp(3), tt timestamptz, "
    "tt3 timestamptz(3), iv interval, hs hstore, b1 bit(1), b8 bit(8), b16 bit(16), vb varbit, vb5 varbit(5), pt point, "
    "x text, o oid, r real, d float8, a_i2 int2[], a_i4 int4[], a_n2 numeric(10,2)[], a_n numeric[], a_by bytea[], "
    "a_dt date[], a_ti time[], a_ts timestamp[], a_ts3 timestamp(3)[], a_tt timestamptz[], a_t text[], a_b bool[], "
    "a_hs hstore[], a_d float8[], a_o oid[], a_u uuid[]"
)
"""All columns of the recordings in modes but numeric(5,-2), for which a contract has no type."""
TOAST = (
    "id int, nome text, n numeric, jb jsonb, t text, by bytea, hs hstore, a_t text[], a_i4 int[], a_i8 bigint[], "
    "a_n numeric[], a_n2 numeric(10,2)[], a_u uuid[], a_by bytea[], a_dt date[], a_ts timestamp[], a_tt timestamptz[], "
    "a_b bool[], a_d float8[], a_i2 int2[], x text, vb varbit, tv tsvector, ci citext, js json, a_jb jsonb[], "
    "a_vc varchar(100)[], a_hs hstore[], a_ti time[], en enum, a_en enum[], lt ltree, a_o oid[], a_r real[], "
    "a_ip inet[]"
)
STATED = {
    "adaptive_off": ProducerModes(decimal="precise"),
    "adaptive_on": UNSTATED,
    "atm_off": ProducerModes(time="adaptive_time_microseconds", decimal="precise"),
    "connect_double_hex_map_off": ProducerModes("connect", "double", "hex", "numeric", "map"),
    "connect_double_hex_map_on": UNSTATED,
    "micros_url_off": ProducerModes("microseconds", "string", "base64-url-safe", "string", "json"),
    "nanos_string_on": UNSTATED,
    "nanos_string_off": ProducerModes("nanoseconds", "string", "base64", "numeric", "json"),
    "isostring_on": UNSTATED,
    "flat_off": UNSTATED,
    "flat_on": UNSTATED,
}
OUTSIDE = {
    (number, column) for number, columns in {
        3: ("dt", "ts", "ts0", "ts3", "tt", "tt3"), 4: ("dt", "ts", "ts0", "ts3", "tt", "tt3"),
        5: ("dt", "ts", "ts0", "ts3", "tt", "tt3"), 6: ("tt", "tt3"), 8: ("ts", "ts0", "ts3"),
    }.items() for column in columns
}  # fmt: skip
"""Infinities and years that are not 1 to 9999."""
LOST = {(1, "vb"), (4, "a_i4"), (4, "a_n2"), (4, "a_t"), (4, "a_b"), (4, "a_d"), (3, "a_b")}
"""Bits whose number Debezium does not tell, arrays in an array, and the array of a null, which looks like one."""
INTERVALS = {(number, "iv") for number in (1, *range(3, 9))}
"""As numbers, which do not tell a month from 30 days and 10.5 hours."""
CUT = {(number, "ti") for number in (1, *range(3, 9))} | {(1, "ts"), (6, "ts"), (7, "ts"), (1, "a_ti"), (1, "a_ts")}
"""Times with microseconds that time.precision.mode=connect has cut to milliseconds."""
DOUBLES = {(1, "n"), (4, "n"), (5, "n"), (6, "n"), (7, "n"), (8, "n"), (1, "a_n"), (3, "n122")}
"""Digits that a double may have lost, an infinity that may be a great number, and NaN in a decimal."""
BYTES = {(5, "by"), (1, "a_by")}
"""Texts that are both base64 and hexadecimal, where only a schema was there to tell."""
MIDNIGHTS = {(3, "ti"), (4, "ti")}
"""00:00 and 24:00, which time.precision.mode=isostring renders alike."""
NAN = {(3, "n122")}
DIGITS = {(8, "n")}
"""1000, which is also base64, where no contract states the mode."""
ASIDE = {
    "adaptive_off": INTERVALS,
    "adaptive_on": INTERVALS,
    "atm_off": INTERVALS,
    "connect_double_hex_map_off": INTERVALS | CUT | DOUBLES,
    "connect_double_hex_map_on": INTERVALS | CUT | DOUBLES | BYTES,
    "micros_url_off": NAN,
    "nanos_string_on": NAN,
    "nanos_string_off": NAN | INTERVALS,
    "isostring_on": NAN | MIDNIGHTS | BYTES,
    "flat_off": NAN | INTERVALS | DIGITS,
    "flat_on": NAN | INTERVALS,
}
"""What is set aside in each mode, beside OUTSIDE and LOST."""
NAN_AS_NULL = {(3, "n"), (3, "n122"), (4, "n")}
OUT_OF_NANOSECONDS = {(number, column) for number in range(5, 9) for column in ("ts", "ts0", "ts3")}
"""Before 1677 and after 2262 Debezium has nulls instead."""


def false_by_debezium(name: str, op: str) -> set[tuple[int, str]]:
    """Nulls and dates of Debezium's that are false, and that nothing in the message shows to be (docs/types.md)."""
    false = {(3, "a_n2")}  # the whole of a numeric[] that has a NaN
    if STATED[name].decimal == "precise" or name == "adaptive_on":
        false |= NAN_AS_NULL
    if name.startswith("nanos"):
        false |= OUT_OF_NANOSECONDS
    return false | ({(5, "dt")} if op == "r" else set())  # the era of a BC date, lost in a snapshot


def columns_read(payloads: Sequence[bytes], contract: TableContract, op: str) -> dict[Any, dict[str, Any]]:
    """The rows of events with this op, each column by itself: its value, or the exception that sets it aside."""
    rows: dict[Any, dict[str, Any]] = {}
    for column in contract.columns:
        columns = {contract.columns[0], column}
        narrow = replace(contract, columns=tuple(each for each in contract.columns if each in columns))
        changes, rejected = read(payloads, narrow)
        assert rejected == []
        for change, body in zip(changes, payloads, strict=True):
            if _op(body) == op and change.op != "d":
                row = rows.setdefault(change.key[0] % 100, {})
                row[column.name] = change.fault or change.values[column.name]
    return rows


def _op(body: bytes) -> str:
    message = json.loads(body)
    message = message.get("payload", message)
    return str(message.get("op") or message.get("__op"))


def _table(body: bytes) -> str:
    message = json.loads(body)
    message = message.get("payload", message)
    return str(message.get("__table") or message["source"]["table"])


@pytest.fixture(scope="module")
def in_modes(postgres: Postgres) -> dict[Any, dict[str, Any]]:
    with psycopg.connect(database(postgres, "in_modes").dsn_admin, autocommit=True) as connection:
        connection.execute((GOLDEN / "debezium_modes" / "tipos.sql").read_text(encoding="utf-8").encode())
        return true_rows(connection, contract_of("tipos", IN_MODES))


@pytest.mark.parametrize("op", ["r", "c"])
@pytest.mark.parametrize("name", STATED)
def test_every_mode(in_modes: dict[Any, dict[str, Any]], name: str, op: str) -> None:
    contract = contract_of("tipos", IN_MODES, STATED[name])
    payloads = [body for body in recorded_in_mode(name) if _table(body) == "tipos"]
    ours = columns_read(payloads, contract, op)
    aside = {(key, name) for key, row in ours.items() for name, value in row.items() if isinstance(value, Exception)}
    told = {key: {n: None if isinstance(v, Exception) else v for n, v in row.items()} for key, row in ours.items()}
    true = {key: {**row, "id": told[key]["id"]} for key, row in in_modes.items()}
    false = differences(contract, told, true) - aside
    assert false == false_by_debezium(name, op)
    assert aside == (OUTSIDE | LOST | ASIDE[name]) - false


@pytest.mark.parametrize("name", STATED)
def test_an_unchanged_value_is_told_in_every_mode_or_its_change_set_aside(name: str) -> None:
    """The row has every TOAST-able type, and only its name was changed."""
    contract = contract_of("toast", TOAST, STATED[name])
    payloads = [body for body in recorded_in_mode(name) if _table(body) == "toast"]
    for body in payloads:
        for column in contract.columns[2:]:
            narrow = replace(contract, columns=(contract.columns[0], column))
            (change,), _ = read([body], narrow)
            is_told = change.unchanged == {column.name} or column.name == "en"
            is_update = change.op == "u" or change.fault is not None
            assert is_told or change.fault is not None or not is_update or column.name == "n", column.name
            assert change.values.get(column.name) is None or column.name == "en"
        # As a whole: its update and the create of its key change are both set aside for what Debezium gives as null.
        (change,), _ = read([body], contract)
        assert change.fault is not None
        assert "REPLICA IDENTITY FULL" in change.fault.what
