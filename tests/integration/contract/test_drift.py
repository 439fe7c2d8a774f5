"""What `cdc contract --check` tells of a table in a real Postgres that is no longer what its contract says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import LiteralString

import pytest
import yaml

from sandbox.usuarios import CREATE_TABLE
from tests.conftest import ROOT
from tests.contract_operator import Operator

pytestmark = pytest.mark.slow
PARTITIONED: LiteralString = (
    "DROP TABLE t; CREATE TABLE t (id int, ano int, PRIMARY KEY (id, ano)) PARTITION BY LIST (ano);"
)


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
