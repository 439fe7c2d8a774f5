"""`cdc contract` as a command: what it reads of a real database, its faults, and no password in them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from sandbox.postgres import Postgres
from sandbox.usuarios import CREATE_TABLE
from tests.conftest import ROOT
from tests.contract_operator import Operator

pytestmark = pytest.mark.slow
SECRET = "p4ssw0rd"


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
