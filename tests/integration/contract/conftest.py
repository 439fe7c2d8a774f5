"""Somebody with a database of their own who calls `cdc contract`."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from sandbox.postgres import Postgres
from tests.contract_operator import Operator


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres.start(tmp_path_factory.mktemp("postgres")) as postgres:
        yield postgres


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
