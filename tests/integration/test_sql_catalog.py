"""The lake with its catalog in a database: the same tables come of it, in SQLite and in Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cdc.contract import parse_contract
from cdc.errors import SettingsFault
from cdc_ops.rebuild import Rebuild
from compactor.lake.catalog import open_catalog
from compactor.lake.rebuilt import Namespace
from compactor.pii_key import PiiKey
from sandbox.postgres import Postgres
from tests.compactor_world import CONTRACT, NAMES, World, change, put

pytestmark = pytest.mark.slow
PREFIX = "PYICEBERG_CATALOG__LAKE__"


@pytest.fixture(params=["sqlite", "postgres"])
def world(
    request: pytest.FixtureRequest, aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[World]:
    with ExitStack() as stack:
        uri = f"sqlite:///{tmp_path}/catalog.db"
        if request.param == "postgres":
            server = stack.enter_context(Postgres.start(tmp_path / "postgres"))
            uri = server.dsn.replace("postgresql://", "postgresql+psycopg://")
        monkeypatch.setenv(f"{PREFIX}TYPE", "sql")
        monkeypatch.setenv(f"{PREFIX}URI", uri)
        catalog = stack.enter_context(open_catalog("lake"))
        yield World(catalog, parse_contract(CONTRACT.format(name=next(NAMES))), aws_environment)


def test_a_lake_in_a_database_is_merged_maintained_and_rebuilt(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"), change("c", 6, 2, "b", "y"), seconds=10)
    world.merge()
    for lsn in range(10, 20):
        put(shard, world.contract, change("u", lsn, 1, f"a{lsn}"), seconds=lsn)
        world.merge()
    assert world.maintain() > 0
    world.restart()
    put(shard, world.contract, change("d", 20, 2), seconds=20)
    world.merge()
    assert world.rows() == {1: ("a19", "x", 19)}
    namespace = Namespace(world.catalog, "lake")
    made = Rebuild(namespace, world.contract, world.raw, PiiKey(b"k" * 32, ""), lambda _: None).run(datetime.now(UTC))
    assert made.is_equal
    namespace.swap(world.contract.name, made.name)
    put(shard, world.contract, change("c", 21, 3, "c", "z"), seconds=30)
    world.restart()
    world.merge()
    assert world.rows() == {1: ("a19", "x", 19), 3: ("c", "z", 21)}


def test_a_database_that_does_not_answer_is_told_without_its_password(
    aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}TYPE", "sql")
    monkeypatch.setenv(f"{PREFIX}URI", "postgresql+psycopg://cdc:hidden-password@127.0.0.1:1/none")
    with pytest.raises(SettingsFault) as found:
        open_catalog("lake").list_namespaces()
    assert "hidden-password" not in "".join(found.value.problems)
