"""`cdc contract` against a real Postgres: what it writes, what it refuses, and what it tells of drift."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
import yaml
from psycopg import sql

from cdc.contract import TableContract, parse_contract
from cdc_ops.cli import main
from compactor.change import values_before
from sandbox.postgres import Postgres
from sandbox.usuarios import CREATE_TABLE
from tests.conftest import ROOT

pytestmark = pytest.mark.slow
SECRET = "p4ssw0rd"
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
PARTITIONED: LiteralString = (
    "DROP TABLE t; CREATE TABLE t (id int, ano int, PRIMARY KEY (id, ano)) PARTITION BY LIST (ano);"
)
STRANGE_TABLE = '"Vendas do Mês"."Té""ste  \'x\'"'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres.start(tmp_path_factory.mktemp("postgres")) as postgres:
        yield postgres


@dataclass(frozen=True, slots=True)
class Answer:
    """What the command gave back."""

    code: int
    out: str
    err: str

    @property
    def contract(self) -> TableContract:
        assert self.code == 0, self.err
        return parse_contract(self.out)


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody with a database of their own who calls the command."""

    dsn: str
    capture: pytest.CaptureFixture[str]

    def sql(self, statements: LiteralString) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statements)

    def contract(self, *arguments: str) -> Answer:
        code = main(["contract", *arguments])
        written = self.capture.readouterr()
        return Answer(code, written.out, written.err)


@pytest.fixture
def operator(
    server: Postgres,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Operator:
    name = sql.Identifier("contract_test")
    with psycopg.connect(server.dsn_admin, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER app").format(name))
    dsn = server.dsn.rsplit("/", 1)[0] + "/contract_test"
    monkeypatch.setenv("CDC_DATABASE", dsn)
    return Operator(dsn, capsys)


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


def test_the_founding_contract_has_no_drift(operator: Operator) -> None:
    operator.sql(CREATE_TABLE)
    answer = operator.contract("--check", str(ROOT / "tables"))
    assert (answer.code, answer.out) == (0, 'usuarios (public."Usuários"): no drift\n')
    assert answer.err == "note: Redshift cuts values of usuarios past its limits: nome, telefone, endereco, bio\n"
    answer = operator.contract("--check", str(ROOT / "tables" / "usuarios.odcs.yaml"), "--json")
    table = {
        "name": "usuarios",
        "source": 'public."Usuários"',
        "drift": [],
        "cut_by_redshift": ["nome", "telefone", "endereco", "bio"],
    }
    assert json.loads(answer.out) == {"drift": False, "tables": [table]}


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


def test_drift_tells_what_a_new_column_is_in_old_rows(operator: Operator, tmp_path: Path) -> None:
    operator.sql("CREATE TABLE t (id int PRIMARY KEY)")
    (tmp_path / "t.odcs.yaml").write_text(operator.contract("--table", "public.t").out, encoding="utf-8")
    operator.sql("ALTER TABLE t ADD a int DEFAULT 7, ADD b text")
    told = operator.contract("--check", str(tmp_path)).out
    assert "the catalogs say 7" in told
    assert "the catalogs say null" in told
    operator.sql("ALTER TABLE t ADD c float DEFAULT random()")
    told = operator.contract("--check", str(tmp_path)).out
    assert told.count("the catalogs do not know it") == 3


def test_no_row_is_read_and_no_lock_waited_for(operator: Operator, server: Postgres) -> None:
    operator.sql(CREATE_TABLE)
    with psycopg.connect(server.dsn_admin, autocommit=True) as admin:
        admin.execute("DROP ROLE IF EXISTS olheiro")
        admin.execute("CREATE ROLE olheiro LOGIN PASSWORD 'olheiro'")  # has no right on any table
    host = operator.dsn.rsplit("@", 1)[1]
    with psycopg.connect(operator.dsn) as application:
        application.execute('LOCK TABLE "Usuários" IN ACCESS EXCLUSIVE MODE')
        answer = operator.contract("--table", 'public."Usuários"', "--dsn", f"postgresql://olheiro:olheiro@{host}")
    assert len(answer.contract.columns) == 14


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


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ('ALTER TABLE "Usuários" ADD apelido text', ["column-added"]),
        ('ALTER TABLE "Usuários" ADD rede inet', ["column-added"]),
        ('ALTER TABLE "Usuários" DROP tags', ["column-dropped"]),
        ('ALTER TABLE "Usuários" RENAME tags TO marcas', ["column-dropped", "column-added"]),
        ('ALTER TABLE "Usuários" ALTER cpf TYPE varchar(20)', ["type-widened"]),
        ('ALTER TABLE "Usuários" ALTER cpf TYPE varchar(11)', ["type-narrowed"]),
        ('ALTER TABLE "Usuários" ALTER saldo TYPE numeric(18,4)', ["type-widened"]),
        ('ALTER TABLE "Usuários" ALTER saldo TYPE numeric', ["type-changed"]),
        ('ALTER TABLE "Usuários" ALTER id TYPE integer', ["type-narrowed"]),
        ('ALTER TABLE "Usuários" ALTER atualizado_em TYPE timestamptz', ["type-changed"]),
        ('ALTER TABLE "Usuários" ALTER endereco TYPE text', ["type-changed"]),
        ('ALTER TABLE "Usuários" DROP bio, ADD bio text GENERATED ALWAYS AS (nome) STORED', ["column-generated"]),
        ('ALTER TABLE "Usuários" DROP CONSTRAINT "Usuários_pkey"', ["key-changed"]),
        ('ALTER TABLE "Usuários" DROP CONSTRAINT "Usuários_pkey", ADD PRIMARY KEY (id, cpf)', ["key-changed"]),
        ('ALTER TABLE "Usuários" RENAME TO usuarios', ["table-missing"]),
        ('DROP TABLE "Usuários"', ["table-missing"]),
        ('ALTER TABLE "Usuários" ALTER nome SET NOT NULL; CREATE INDEX ON "Usuários" (nome)', []),
        ('CREATE DOMAIN doc AS varchar(14); ALTER TABLE "Usuários" ALTER cpf TYPE doc; CREATE TABLE t (a int)', []),
    ],
)  # fmt: skip
def test_each_kind_of_drift_is_told(operator: Operator, change: LiteralString, kinds: list[str]) -> None:
    operator.sql(CREATE_TABLE)
    operator.sql(change)
    answer = operator.contract("--check", str(ROOT / "tables"), "--json")
    (table,) = json.loads(answer.out)["tables"]
    assert [drift["kind"] for drift in table["drift"]] == kinds
    assert all(drift["hint"] for drift in table["drift"])
    assert answer.code == (1 if kinds else 0)
    told = operator.contract("--check", str(ROOT / "tables"))
    assert told.code == answer.code
    assert [line.split(":")[0].split()[1] for line in told.out.splitlines()[1:]] == [k.split("-")[0] for k in kinds]


@pytest.mark.parametrize(
    ("change", "full_images", "is_drift"),
    [
        ("SELECT 1", False, False), ("SELECT 1", True, True), ("ALTER TABLE t REPLICA IDENTITY FULL", True, False),
        ("ALTER TABLE t REPLICA IDENTITY NOTHING", False, True), ("ALTER TABLE t REPLICA IDENTITY USING INDEX t_nome_key", False, True),
        ("ALTER TABLE t REPLICA IDENTITY USING INDEX t_ano_nome_id_key", False, False),
        ("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, ano) DEFERRABLE", False, True),
        # The identity of a partitioned table is that of its partitions.
        (PARTITIONED, False, False),
        (PARTITIONED + "CREATE TABLE p PARTITION OF t DEFAULT; ALTER TABLE t REPLICA IDENTITY FULL", True, True),
        (PARTITIONED + "CREATE TABLE p PARTITION OF t FOR VALUES IN (1) PARTITION BY LIST (id);"
         "CREATE TABLE q PARTITION OF p DEFAULT; ALTER TABLE q REPLICA IDENTITY NOTHING", False, True),
    ],
)  # fmt: skip
def test_a_replica_identity_that_tells_too_little_is_told(
    operator: Operator, tmp_path: Path, change: LiteralString, *, full_images: bool, is_drift: bool
) -> None:
    operator.sql(
        "CREATE TABLE t (id int, ano int, nome text NOT NULL UNIQUE, PRIMARY KEY (id, ano), UNIQUE (ano, nome, id))"
    )
    operator.sql(change)
    answer = operator.contract("--table", "public.t")
    text = answer.out
    if full_images:
        text = text.replace("onNewColumn #", "dms.fullImages\n        value: true\n      - property: onNewColumn #")
    else:
        assert ("mind: the log does not tell which row" in answer.err) is is_drift
    file = tmp_path / "t.odcs.yaml"
    file.write_text(text, encoding="utf-8")
    answer = operator.contract("--check", str(file))
    assert answer.code == int(is_drift), answer.out
    assert ("identity changed" in answer.out) is is_drift


def test_what_is_never_null_is_required_until_it_may_be_null(operator: Operator, tmp_path: Path) -> None:
    operator.sql("CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL, b int, cpf text NOT NULL, senha text NOT NULL)")
    file = tmp_path / "t.odcs.yaml"
    assert operator.contract("--table", "public.t", "--output", str(file)).code == 0
    properties = yaml.safe_load(file.read_text(encoding="utf-8"))["schema"][0]["properties"]
    # The lake shows nothing of a secret, which is null.
    assert [entry["name"] for entry in properties if entry.get("required")] == ["id", "a", "cpf"]
    assert operator.contract("--check", str(file)).code == 0
    operator.sql("ALTER TABLE t ALTER a DROP NOT NULL, ALTER b SET NOT NULL, ALTER senha DROP NOT NULL")
    answer = operator.contract("--check", str(file))
    assert answer.code == 1
    assert [line.split(":")[0] for line in answer.out.splitlines()[1:]] == ["  - nullability changed a"]


def test_an_existing_contract_is_never_overwritten(operator: Operator, tmp_path: Path) -> None:
    file = tmp_path / "t.odcs.yaml"
    file.write_text("confirmed by a person", encoding="utf-8")
    answer = operator.contract("--table", "public.t", "--output", str(file))
    assert (answer.code, file.read_text(encoding="utf-8")) == (2, "confirmed by a person")


def test_every_fault_of_the_command_line_is_named_at_once(operator: Operator, tmp_path: Path) -> None:
    answer = operator.contract(
        "--table", "public.Usuários", "--name", "Usuários", "--freshness-seconds", "nan", "--json", "--output",
        str(tmp_path / "none" / "t.yaml"),
    )  # fmt: skip
    assert answer.code == 2
    for expected in (
        "--table",
        "--name",
        "--freshness-seconds",
        "--json",
        "--output: must end",
        "--output: there is no",
    ):
        assert f"  - {expected}" in answer.err
    assert operator.contract("--check", str(tmp_path), "--name", "t").code == 2
    assert operator.contract("--check", str(tmp_path)).code == 2
    assert operator.contract("--check", str(tmp_path / "none.odcs.yaml")).code == 2
    broken = tmp_path / "t.odcs.yaml"
    broken.write_text("schema: []", encoding="utf-8")
    assert "t.odcs.yaml: " in operator.contract("--check", str(broken)).err


def test_the_database_must_be_named(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CDC_DATABASE")
    answer = operator.contract("--table", "public.t")
    assert answer.code == 2
    assert "CDC_DATABASE or --dsn: is missing" in answer.err


@pytest.mark.parametrize(
    ("dsn", "code"),
    [
        (f"postgresql://app:{SECRET}@127.0.0.1:1/app", 1),
        (f"postgresql://app:x@{SECRET}@127.0.0.1/app", 2),
        (f"postgresql://app:x:{SECRET}/y@127.0.0.1/app", 2),
        (f"postgresql://app:x/{SECRET}@127.0.0.1/app", 2),
        (f"postgresql//app:{SECRET}@127.0.0.1/app", 2),
        (f"host=127.0.0.1 port=1 password={SECRET} {SECRET}", 2),
        (f"host=127.0.0.1 port=1 password={SECRET}", 1),
    ],
)
def test_no_password_is_ever_told(operator: Operator, dsn: str, code: int) -> None:
    answer = operator.contract("--table", "public.t", "--dsn", dsn)
    assert answer.code == code
    assert SECRET not in answer.out + answer.err
    assert "CDC_DATABASE or --dsn" in answer.err


def test_a_wrong_password_is_a_fault_with_a_hint(operator: Operator) -> None:
    user, host = operator.dsn.split(":", 2)[1], operator.dsn.rsplit("@", 1)[1]
    answer = operator.contract("--table", "public.t", "--dsn", f"postgresql:{user}:{SECRET}@{host}")
    assert answer.code == 1
    assert "check host, port, database, user and password" in answer.err
    assert SECRET not in answer.err


def test_it_runs_as_a_program_and_explains_itself() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "cdc_ops.cli", "contract", "--help"],
        capture_output=True, text=True, check=True, cwd=ROOT, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'services'}"},
    )  # fmt: skip
    assert "--check" in answer.stdout
    assert "exit codes" in answer.stdout
