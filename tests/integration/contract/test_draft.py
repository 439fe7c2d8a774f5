"""What `cdc contract` writes of a table in a real Postgres, and which tables it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import LiteralString

import pytest

from cdc.contract import TableContract, parse_contract
from compactor.change import values_before
from sandbox.usuarios import CREATE_TABLE
from tests.contract_operator import Operator

pytestmark = pytest.mark.slow
STRANGE: LiteralString = r"""
CREATE EXTENSION citext;
CREATE TYPE humor AS ENUM ('feliz', 'triste');
CREATE TYPE par AS (a int, b int);
CREATE DOMAIN doc AS varchar(14); CREATE DOMAIN doc_doc AS doc CHECK (value <> '');
CREATE DOMAIN precos AS numeric(10,2)[]; CREATE DOMAIN humores AS humor;
CREATE SCHEMA "Vendas do Mês";
CREATE TABLE "Vendas do Mês"."Té""ste  'x'" (
  "Código" uuid, ordem text, "Órgão" doc_doc, "ORGAO" humor, orgao humores, humores humor[], precos precos, docs doc[],
  n numeric, n39 numeric(39,2), n38 numeric(38,10), rede inet, cdc_lsn int, "2fa" bool, ts3 timestamp(3), tz timestamptz(0),
  dobro int GENERATED ALWAYS AS (1) STORED, letra "char", letras "char"[], "日本" text, "中国" text, matriz int[][], "linha
dois" text, faixa int4range, par par, ci citext, seq bigint GENERATED ALWAYS AS IDENTITY, apagada int,
  PRIMARY KEY (ordem, "Código"));
ALTER TABLE "Vendas do Mês"."Té""ste  'x'" DROP COLUMN apagada;
COMMENT ON TABLE "Vendas do Mês"."Té""ste  'x'" IS 'Tabela: "tudo" # 1';
COMMENT ON COLUMN "Vendas do Mês"."Té""ste  'x'"."Órgão" IS E'a: b # c\n- d\t''e''\u2028';
"""
STRANGE_TABLE = '"Vendas do Mês"."Té""ste  \'x\'"'


def test_a_contract_for_the_founding_table_has_its_columns_types_and_key(
    operator: Operator, usuarios: TableContract
) -> None:
    operator.sql(CREATE_TABLE)
    written = operator.contract("--table", 'public."Usuários"').contract
    as_written = [(column.name, column.source_name, column.type) for column in written.columns]
    assert as_written == [(column.name, column.source_name, column.type) for column in usuarios.columns]
    assert replace(written, columns=usuarios.columns) == usuarios
    masks = {column.name: column.mask for column in written.columns if column.classification != "internal"}
    assert masks == {
        "nome": "token", "email": "token", "cpf": "token", "telefone": "last4", "data_nascimento": "redact", "endereco": "redact",
        "saldo": "clear", "bio": "redact",
    }  # fmt: skip


def test_a_strange_table_gets_a_contract_that_has_no_drift(operator: Operator, tmp_path: Path) -> None:
    operator.sql(STRANGE)
    file = tmp_path / "estranha.odcs.yaml"
    answer = operator.contract("--table", STRANGE_TABLE, "--output", str(file), "--freshness-seconds", "300")
    assert (answer.code, answer.out) == (0, "")
    text = file.read_text(encoding="utf-8")
    contract = parse_contract(text)
    assert (contract.name, contract.source_schema, contract.source_table) == (
        "te_ste___x_", "Vendas do Mês", "Té\"ste  'x'",
    )  # fmt: skip
    assert (contract.key, contract.latency_seconds_max) == (("ordem", "codigo"), 300)
    found = {column.source_name: (column.name, str(column.type)) for column in contract.columns}
    citext = {"ci": found["ci"]} if "ci" in found else {}  # a later lake may hold it
    assert found == citext | {
        "Código": ("codigo", "uuid"), "ordem": ("ordem", "text"), "Órgão": ("orgao_2", "varchar(14)"), "ORGAO": ("orgao_3", "text"),
        "orgao": ("orgao", "text"), "humores": ("humores", "text[]"), "precos": ("precos", "numeric(10,2)[]"), "docs": ("docs", "varchar(14)[]"),
        "n38": ("n38", "numeric(38,10)"), "cdc_lsn": ("source_cdc_lsn", "integer"), "2fa": ("_2fa", "boolean"), "ts3": ("ts3", "timestamp(3)"),
        "tz": ("tz", "timestamptz(0)"), "日本": ("__", "text"), "中国": ("___2", "text"), "matriz": ("matriz", "integer[]"),
        "linha\ndois": ("linha_dois", "text"), "seq": ("seq", "bigint"), "faixa": ("faixa", "int4range"), "n": ("n", "numeric"),
        "n39": ("n39", "numeric(39,2)"), "rede": ("rede", "inet"), "letra": ("letra", '"char"'), "letras": ("letras", '"char"[]'),
    }  # fmt: skip
    for name in ("dobro (integer)", "par (public.par)"):  # fmt: skip
        assert f"left out column {name}: " in answer.err
        assert f"# column {name}: " in text
    assert "description: 'Tabela: \"tudo\" # 1'" in text
    assert "enum public.humor;" in text
    assert operator.contract("--check", str(file)).code == 0


def test_what_add_column_gave_to_old_rows_is_taken_from_the_catalogs(operator: Operator) -> None:
    operator.sql(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); "
        "ALTER TABLE t ADD texto text DEFAULT 'é: \"sim\"', ADD n numeric(8,2) DEFAULT 1.5, ADD b bool DEFAULT true, "
        "ADD quando timestamptz DEFAULT '2024-02-29 12:00+00', ADD lista int[] DEFAULT '{1,NULL,3}', ADD nada text, "
        "ADD sorte float DEFAULT random(), ADD dia date DEFAULT '2024-02-29', ADD hora timetz DEFAULT '12:00+01'"
    )
    contract = operator.contract("--table", "public.t").contract
    known = {c.name: c.value_before.value for c in contract.columns if c.value_before is not None}
    # A volatile default wrote the table anew, after which the catalogs know no value from before any more.
    assert known == {}
    operator.sql("DROP TABLE t")
    operator.sql(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); "
        "ALTER TABLE t ADD texto text DEFAULT 'é: \"sim\"', ADD n numeric(8,2) DEFAULT 1.5, ADD b bool DEFAULT true, "
        "ADD quando timestamptz DEFAULT '2024-02-29 12:00+00', ADD lista int[] DEFAULT '{1,NULL,3}', ADD nada text, "
        "ADD dia date DEFAULT '2024-02-29', ADD hora timetz DEFAULT '12:00+01'"
    )
    answer = operator.contract("--table", "public.t")
    columns = {c.name: c for c in answer.contract.columns}
    shown = values_before(answer.contract, b"")
    assert {name: str(value) for name, value in shown.items()} == {
        "texto": 'é: "sim"', "n": "1.50", "b": "True", "quando": "2024-02-29 12:00:00+00:00", "lista": "[1, None, 3]",
        "dia": "2024-02-29",
    }  # fmt: skip
    assert columns["hora"].value_before is None
    assert "cannot be stated here" in answer.out


def test_a_table_without_primary_key_is_refused(operator: Operator) -> None:
    operator.sql("CREATE TABLE sem_chave (a int)")
    answer = operator.contract("--table", "public.sem_chave")
    assert (answer.code, answer.out) == (1, "")
    assert "no primary key" in answer.err


def test_a_key_that_the_lake_cannot_hold_is_refused_naming_every_column_of_it(operator: Operator) -> None:
    operator.sql(
        "CREATE TABLE t (a numeric, b inet, c int, d int GENERATED ALWAYS AS (1) STORED, PRIMARY KEY (a,b,c,d))"
    )
    answer = operator.contract("--table", "public.t")
    assert answer.code == 1
    assert [line.split(":")[0] for line in answer.err.splitlines()[1:]] == [
        "  - column a (numeric)", "  - column d (integer)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("public.uma_view", "is a view"), ("public.efemera", "unlogged"), ("public.parte", "partition"), ("public.nada", "no such table"),
        ("public.usuarios", 'perhaps public."Usuários" is meant'), ("nenhum.lugar", "no such table"),
    ],
)  # fmt: skip
def test_what_has_no_changes_in_the_log_is_refused_in_plain_words(
    operator: Operator, table: str, expected: str
) -> None:
    operator.sql(CREATE_TABLE)
    operator.sql("CREATE VIEW uma_view AS SELECT 1 AS a; CREATE UNLOGGED TABLE efemera (a int PRIMARY KEY)")
    operator.sql("CREATE TABLE todo (a int PRIMARY KEY) PARTITION BY LIST (a)")
    operator.sql("CREATE TABLE parte PARTITION OF todo FOR VALUES IN (1)")
    answer = operator.contract("--table", table)
    assert (answer.code, answer.out) == (1, "")
    assert expected in answer.err
    assert operator.contract("--table", "public.todo").contract.key == ("a",)
