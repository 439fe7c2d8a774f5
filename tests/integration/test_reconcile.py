"""`cdc reconcile` against a real database and a lake whose raw zone is made by hand: what it finds, and what it spares."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from cdc.contract import TableContract, parse_contract
from cdc.errors import FatalFault, TransientFault
from cdc_ops.connection import open_connection
from cdc_ops.reconcile import reconcile
from cdc_ops.reconcile_outcome import Outcome, as_json, as_text
from cdc_ops.reconcile_recheck import Difference
from cdc_ops.reconcile_run import properties
from cdc_ops.reconcile_source import PAGE_ROWS_MIN, Pace, Source, session
from compactor.lake import proof
from compactor.lake.catalog import open_catalog
from compactor.lake.proof import ComparedTable
from compactor.lake.table import LakeTable
from compactor.pii_key import PiiKey
from compactor.progress import Progress
from compactor.statement import last_proof
from sandbox.postgres import Postgres
from tests.compactor_world import CONTRACT, NAMES, World, change
from tests.integration.test_maintenance import EAGER

pytestmark = pytest.mark.slow
KEY = PiiKey(b"k" * 32, "1")
PACE = Pace(rows_per_second=1e9, statement_seconds_max=30)
MASKED = CONTRACT.replace(
    "{{name: id, physicalType: bigint, primaryKey: true, classification: internal}}",
    "{{name: id, physicalType: text, primaryKey: true, classification: restricted, customProperties: [{{property: mask, value: token}}]}}",
)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres.start(tmp_path_factory.mktemp("postgres")) as postgres:
        yield postgres


@dataclass
class Scene:
    """A table at the source and in the lake, which is merged by hand; heartbeats come from an hour ahead."""

    dsn: str
    world: World

    def sql(self, statements: LiteralString) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statements)

    def merge(self, *events: bytes) -> None:
        later = datetime.now(UTC) + timedelta(hours=1)
        if not hasattr(self, "shard"):
            self.shard = self.world.shard()
        self.shard.batch(events or [None], table=self.world.contract.name, evidence=later)
        self.world.merge()

    def compared(self) -> ComparedTable:
        return ComparedTable(self.world.catalog, "lake", self.world.contract, KEY)

    def source(self, connection: psycopg.Connection, pace: Pace = PACE, sleep: Any = lambda _: None) -> Source:
        table = self.compared()
        return Source(connection, table.shown, table.schema, KEY.secret, pace, sleep)

    def reconcile(self, **options: Any) -> tuple[Outcome, list[Difference]]:
        arguments: dict[str, Any] = {"fraction": 1.0, "wait_seconds": 0, "tell": lambda _: None} | options
        with open_connection(self.dsn, session(PACE), autocommit=True) as connection:
            return reconcile(self.compared(), self.source(connection), sleep=lambda _: None, **arguments)


def scene_of(server: Postgres, contract: TableContract, environment: dict[str, str]) -> Scene:
    database = sql.Identifier(contract.name)
    with psycopg.connect(server.dsn_admin, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER app").format(database))
    return Scene(f"{server.dsn.rsplit('/', 1)[0]}/{contract.name}", World(open_catalog("lake"), contract, environment))


@pytest.fixture
def scene(server: Postgres, aws_environment: dict[str, str]) -> Scene:
    contract = parse_contract(CONTRACT.format(name=next(NAMES)))
    scene = scene_of(server, contract, aws_environment)
    scene.sql("CREATE TABLE t (id bigint PRIMARY KEY, nome text, bio text, secret text)")
    return scene


def filled(scene: Scene, rows: int) -> None:
    scene.sql(
        "INSERT INTO t SELECT n, 'nome ' || n, CASE WHEN n % 3 > 0 THEN repeat('é', n) END FROM generate_series(1, 50) n"
    )
    events = (change("c", n, n, f"nome {n}", "é" * n if n % 3 else None) for n in range(1, rows + 1))
    scene.merge(*events)


def test_equal_tables_are_proven_and_the_proof_is_stated(scene: Scene) -> None:
    filled(scene, 50)
    outcome, found = scene.reconcile()
    assert (outcome.rows_at_source, outcome.rows_in_lake, outcome.is_equal, found) == (50, 50, True, [])
    table = scene.compared()
    table.state(properties(outcome))
    assert last_proof(scene.world.pair().table.properties) == outcome.began_at
    assert as_text(outcome).endswith(
        f"{table.shown.name} equals source of {outcome.began_at:%Y-%m-%d %H:%M:%S} UTC: 50 rows, 0 differences\n"
    )


def test_each_kind_of_difference_is_told_by_count_and_column_and_never_by_value(scene: Scene) -> None:
    filled(scene, 48)  # 49 and 50 are missing
    scene.merge(change("u", 100, 7, "another", "é" * 7), change("c", 101, 900, "surplus", "x"), change("d", 102, 8))
    outcome, found = scene.reconcile()
    assert outcome.differences == {"differing": 1, "missing": 3, "surplus": 1}
    assert (outcome.columns, outcome.undecided, outcome.is_equal) == ({"nome": 1}, 0, False)
    assert sorted((one.kind, one.suspect.key[0]) for one in found) == [
        ("differing", 7), ("missing", 8), ("missing", 49), ("missing", 50), ("surplus", 900),
    ]  # fmt: skip
    told = as_text(outcome) + as_json([outcome])
    assert not any(value in told for value in ("another", "nome 7", "é"))
    assert last_proof(properties(outcome)) is None


def test_a_change_on_its_way_is_no_difference_but_undecided_until_it_comes(scene: Scene) -> None:
    filled(scene, 49)
    scene.sql("UPDATE t SET nome = 'new' WHERE id = 5")
    with open_connection(scene.dsn, session(PACE), autocommit=True) as connection:
        source = scene.source(connection)
        merged = threading.Event()

        def arrive(_seconds: float) -> None:
            if not merged.is_set():
                merged.set()
                scene.merge(change("c", 300, 50, "nome 50", "é" * 50), change("u", 301, 5, "new", "é" * 5))

        class Late(ComparedTable):
            """Is complete up to the look only once what is on its way has come."""

            asked = 0

            @property
            def progress(self) -> Any:
                self.asked += 1
                return super().progress if merged.is_set() or self.asked == 1 else Progress()

        table = Late(scene.world.catalog, "lake", scene.world.contract, KEY)
        outcome, _ = reconcile(table, source, 1.0, 600, lambda _: None, arrive)
    assert (outcome.is_equal, outcome.rechecked) == (True, 2)


def test_maintenance_may_remove_the_files_that_were_read_while_the_source_is_read(scene: Scene) -> None:
    scene.world.limits = EAGER
    filled(scene, 50)
    scene.merge(change("c", 51, 900, "surplus", "x"))
    read = {file.path for file in scene.world.pair().table.live_files()}
    scene.world.restart()

    def long_after(_rows: int) -> None:
        for n in (3, 6, 9, 12, 15, 18):  # the same once more, which leaves dead rows behind
            scene.merge(change("u", 60 + n, n, f"nome {n}", None), change("c", 61 + n, n * 100, "came meanwhile", "x"))
            scene.world.maintain()
        assert read.isdisjoint(file.path for file in scene.world.pair().table.live_files())
        files = scene.world.pair().table.table.io
        assert not any(files.new_input(path).exists() for path in read)

    outcome, found = scene.reconcile(tell=long_after)
    assert [(one.kind, one.suspect.key) for one in found] == [("surplus", (900,))]
    assert outcome.rechecked == 1, "what came meanwhile is no suspect"
    # A sample reads slowly between its pages, too.
    scene.reconcile(fraction=0.9, tell=lambda _: scene.world.maintain())


def test_what_the_lake_does_not_come_past_stays_undecided(scene: Scene) -> None:
    filled(scene, 50)
    scene.sql("UPDATE t SET nome = 'new' WHERE id = 5")
    with open_connection(scene.dsn, session(PACE), autocommit=True) as connection:
        source = scene.source(connection)
        source.horizon = lambda: datetime.now(UTC) + timedelta(hours=2)  # type: ignore[method-assign]
        outcome, found = reconcile(scene.compared(), source, 1.0, 0, lambda _: None, lambda _: None)
    assert (found, outcome.undecided, outcome.differences, outcome.is_equal) == ([], 1, {}, False)


def test_a_table_of_which_nothing_is_proven_is_refused(scene: Scene) -> None:
    scene.world.shard().batch([change("c", 1, 1, "a", "b")], table=scene.world.contract.name)
    scene.world.merge()
    with pytest.raises(FatalFault, match="no heartbeat"):
        scene.reconcile()


def test_an_empty_table_equals_an_empty_one(scene: Scene) -> None:
    scene.merge()
    outcome, _ = scene.reconcile()
    assert (outcome.is_equal, outcome.rows_at_source, outcome.rows_in_lake) == (True, 0, 0)


def test_a_sample_reads_little_and_proves_nothing_but_finds_what_lies_in_it(scene: Scene) -> None:
    filled(scene, 50)
    scene.merge(*(change("u", 100 + n, n, "another", "é") for n in range(1, 51)))
    outcome, _ = scene.reconcile(fraction=0.1)
    assert outcome.is_sample
    assert 0 < outcome.rows_at_source <= 5
    assert outcome.differences == {"differing": outcome.rows_at_source}
    equal = Outcome(**{name: getattr(outcome, name) for name in outcome.__struct_fields__} | {"differences": {}})
    assert set(properties(equal)) == {"cdc.last-reconcile"}


def test_only_columns_of_the_contract_are_read_and_nothing_can_be_written(scene: Scene) -> None:
    filled(scene, 50)
    scene.sql("ALTER TABLE t DROP COLUMN secret")
    outcome, _ = scene.reconcile()
    assert outcome.is_equal
    writing = pytest.raises(psycopg.errors.ReadOnlySqlTransaction)
    with open_connection(scene.dsn, session(PACE), autocommit=True) as connection, writing:
        connection.execute("DELETE FROM t")


def test_a_page_that_takes_too_long_is_made_smaller_and_given_up_at_last(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(scene, 50)
    asked: list[int] = []
    with open_connection(scene.dsn, session(PACE), autocommit=True) as connection:
        source = scene.source(connection)
        read = source._read

        def slow(condition: sql.Composable, columns: Any = None) -> Any:
            asked.append(int(condition.as_string(connection).rsplit(" ", 1)[1]))
            if asked[-1] > PAGE_ROWS_MIN:
                raise psycopg.errors.QueryCanceled
            return read(condition, columns)

        monkeypatch.setattr(source, "_read", slow)
        assert sum(len(page.keys) for page in source.pages()) == 50
        assert asked == [2000, 500, 125, 31, 20, 20, 20, 20]
        monkeypatch.setattr(source, "_read", lambda *_: (_ for _ in ()).throw(psycopg.errors.QueryCanceled()))
        with pytest.raises(TransientFault, match="longer than a statement"):
            next(source.pages())


def test_the_server_ends_a_statement_that_takes_longer_than_it_may(scene: Scene) -> None:
    filled(scene, 50)
    ended = pytest.raises(psycopg.errors.QueryCanceled)
    with open_connection(scene.dsn, session(Pace(1e9, 0.05)), autocommit=True) as connection, ended:
        connection.execute("SELECT pg_sleep(600)")


def test_the_reader_rests_as_the_pace_says(scene: Scene) -> None:
    filled(scene, 50)
    rests: list[float] = []
    with open_connection(scene.dsn, session(PACE), autocommit=True) as connection:
        source = scene.source(connection, Pace(rows_per_second=10, statement_seconds_max=30), rests.append)
        assert [len(page.keys) for page in source.pages()] == [50]
    assert len(rests) == 1
    assert 3 < rests[0] <= 5


def test_a_masked_key_is_compared_and_searched_by_its_token(server: Postgres, aws_environment: dict[str, str]) -> None:
    scene = scene_of(server, parse_contract(MASKED.format(name=next(NAMES))), aws_environment)
    scene.sql("CREATE TABLE t (id text PRIMARY KEY, nome text, bio text)")
    scene.sql("INSERT INTO t VALUES ('ana', 'Ana', ''), ('bia', 'Bia', NULL), ('ça', 'Ça', 'x')")
    scene.merge(
        change("c", 1, "ana", "Ana", ""), change("c", 2, "bia", "Bia", None), change("c", 3, "ça", "other", "x"),  # type: ignore[arg-type]
        change("c", 4, "gone", "Gone", "x"),  # type: ignore[arg-type]
    )  # fmt: skip
    outcome, found = scene.reconcile()
    assert outcome.differences == {"differing": 1, "surplus": 1}
    assert [one.suspect.source_key for one in sorted(found, key=lambda one: one.kind)] == [("ça",), None]
    with pytest.raises(FatalFault, match="key is masked"):
        scene.reconcile(fraction=0.5)


def test_rows_are_asked_for_by_every_column_of_the_key(
    aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    two = CONTRACT.replace("{{name: nome, physicalType: text,", "{{name: nome, physicalType: text, primaryKey: true,")
    world = World(open_catalog("lake"), parse_contract(two.format(name=next(NAMES))), aws_environment)
    events = [change("c", n, n % 2, f"nome {n}", "x") for n in range(1, 41)]
    world.shard().batch(events, table=world.contract.name)
    world.merge()
    read: list[int] = []
    find = LakeTable.find_where

    def counting(lake: LakeTable, *arguments: Any) -> list[dict[str, Any]]:
        rows = find(lake, *arguments)
        read.append(len(rows))
        return rows

    monkeypatch.setattr(LakeTable, "find_where", counting)
    monkeypatch.setattr(proof, "_KEYS_MAX", 2)
    keys = [(0, "nome 2"), (1, "nome 3"), (1, "nome 5"), (1, "nome 4")]
    found = ComparedTable(world.catalog, "lake", world.contract, KEY).find(keys)
    assert {key: len(rows) for key, rows in found.items()} == dict.fromkeys(keys[:3], 1)
    assert sum(read) <= len(keys), "not the rows of all who share the first column"


def test_another_table_or_key_at_the_source_is_refused(scene: Scene) -> None:
    filled(scene, 50)
    for change_, match in (
        ("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, nome)", "another primary key"),
        ("ALTER TABLE t RENAME COLUMN bio TO outra", "lacks columns: bio"),
        ("ALTER TABLE t RENAME TO elsewhere", "no such table"),
    ):
        scene.sql(change_)
        with pytest.raises(FatalFault, match=match):
            scene.reconcile()


def test_a_lake_made_with_another_masking_key_is_refused(server: Postgres, aws_environment: dict[str, str]) -> None:
    scene = scene_of(server, parse_contract(MASKED.format(name=next(NAMES))), aws_environment)
    scene.merge()
    with pytest.raises(FatalFault, match="another masking key"):
        ComparedTable(scene.world.catalog, "lake", scene.world.contract, PiiKey(b"x" * 32, "2"))
    with pytest.raises(FatalFault, match="not in the catalog"):
        ComparedTable(scene.world.catalog, "lake", parse_contract(CONTRACT.format(name="never_made")), KEY)


def test_the_outcome_is_stated_beside_the_compactors_own_commits(scene: Scene) -> None:
    filled(scene, 50)
    table = scene.compared()
    scene.merge(change("u", 100, 1, "a", "b"))
    table.state({"cdc.last-reconcile": json.dumps({"a": 1})})
    scene.merge(change("u", 101, 1, "b", "b"))
    stated = scene.world.pair().table.properties
    assert stated["cdc.last-reconcile"] == '{"a": 1}'
    assert stated["cdc.offsets"]
