"""`cdc reconcile` on a replica that lags behind: it is waited for, and its lag is no difference."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from cdc.contract import parse_contract
from cdc.errors import TransientFault
from cdc_ops import reconcile_source
from cdc_ops.connection import open_connection
from cdc_ops.reconcile import reconcile
from cdc_ops.reconcile_source import Pace, Source, session
from compactor.lake.catalog import open_catalog
from compactor.lake.proof import ComparedTable
from compactor.pii_key import PiiKey
from sandbox.postgres import Postgres
from sandbox.process import wait_until
from sandbox.replica import Replica
from tests.compactor_world import CONTRACT, NAMES, World, change

pytestmark = pytest.mark.slow
KEY = PiiKey(b"k" * 32, "1")
PACE = Pace(rows_per_second=1e9, statement_seconds_max=30)


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Postgres, Replica]]:
    with Postgres.start(tmp_path_factory.mktemp("primary")) as primary:
        with psycopg.connect(primary.dsn, autocommit=True) as connection:
            connection.execute("CREATE TABLE t (id bigint PRIMARY KEY, nome text, bio text)")
            connection.execute("INSERT INTO t VALUES (1, 'a', 'x'), (2, 'b', 'y'), (3, 'c', 'z')")
        with Replica.start(primary, tmp_path_factory.mktemp("replica")) as replica:
            yield primary, replica


def beat(primary: Postgres) -> None:
    """What the publisher does now and then."""
    with psycopg.connect(primary.dsn, autocommit=True) as connection:
        connection.execute("SELECT pg_logical_emit_message(true, 'cdc.heartbeat', '')")


def has_replayed(primary: Postgres, standby: psycopg.Connection) -> bool:
    """Whether a replica knows of a commit to have replayed; else one is made."""
    beat(primary)
    return standby.execute("SELECT pg_last_xact_replay_timestamp()").fetchone() != (None,)


def test_the_lag_of_a_replica_is_no_difference(
    servers: tuple[Postgres, Replica], aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    primary, replica = servers
    world = World(open_catalog("lake"), parse_contract(CONTRACT.format(name=next(NAMES))), aws_environment)
    shard = world.shard()

    def merge(*events: bytes) -> None:
        later = datetime.now(UTC) + timedelta(hours=1)
        shard.batch(events, table=world.contract.name, evidence=later)
        world.merge()

    merge(change("c", 1, 1, "a", "x"), change("c", 2, 2, "b", "y"), change("c", 3, 3, "c", "z"))
    with psycopg.connect(replica.dsn_admin, autocommit=True) as standby:
        wait_until(lambda: has_replayed(primary, standby), 60, "the replica replays")
        standby.execute("SELECT pg_wal_replay_pause()")

        def commit() -> None:
            with psycopg.connect(primary.dsn, autocommit=True) as connection:
                connection.execute("UPDATE t SET nome = 'new' WHERE id = 1")
                connection.execute("DELETE FROM t WHERE id = 2")
                connection.execute("INSERT INTO t VALUES (4, 'd', 'w')")

        commit()
        # The lake is ahead of the replica, with a change, a delete and an insert.
        merge(change("u", 10, 1, "new", "x"), change("d", 11, 2), change("c", 12, 4, "d", "w"))
        waits = 0

        def sleep(_seconds: float) -> None:
            nonlocal waits
            waits += 1
            if waits == 3:
                standby.execute("SELECT pg_wal_replay_resume()")
            if waits > 3:  # an idle primary commits nothing that a replica could replay, but for heartbeats
                beat(primary)

        table = ComparedTable(world.catalog, "lake", world.contract, KEY)
        with open_connection(replica.dsn, session(PACE), autocommit=True) as connection:
            source = Source(connection, table.shown, table.schema, KEY.secret, PACE, sleep)
            outcome, found = reconcile(table, source, 1.0, 600, lambda _: None, sleep)
        assert (found, outcome.is_equal, outcome.rows_at_source) == ([], True, 3)
        assert outcome.rechecked == 3

        # One that does not replay at all is given up, and nothing is said of rows.
        standby.execute("SELECT pg_wal_replay_pause()")
        merge(change("u", 20, 1, "newer", "x"))
        monkeypatch.setattr(reconcile_source, "_REPLICA_SECONDS_MAX", 0.0)
        with open_connection(replica.dsn, session(PACE), autocommit=True) as connection:
            source = Source(connection, table.shown, table.schema, KEY.secret, PACE, lambda _: None)
            with pytest.raises(TransientFault, match="does not keep up"):
                reconcile(table, source, 1.0, 0, lambda _: None, lambda _: None)


def test_what_a_replica_has_not_replayed_is_not_proven(
    servers: tuple[Postgres, Replica], aws_environment: dict[str, str]
) -> None:
    primary, replica = servers
    world = World(open_catalog("lake"), parse_contract(CONTRACT.format(name=next(NAMES))), aws_environment)
    events = change("c", 1, 1, "a", "x"), change("c", 2, 2, "b", "y"), change("c", 3, 3, "c", "z")
    world.shard().batch(events, table=world.contract.name, evidence=datetime.now(UTC) + timedelta(hours=1))
    world.merge()
    with psycopg.connect(replica.dsn_admin, autocommit=True) as standby:
        wait_until(lambda: has_replayed(primary, standby), 60, "the replica replays")
        standby.execute("SELECT pg_wal_replay_pause()")
        with psycopg.connect(primary.dsn, autocommit=True) as connection:
            row = connection.execute("SELECT clock_timestamp()").fetchone()
            connection.execute("UPDATE t SET nome = 'lost on the way to the lake' WHERE id = 1")
        assert row is not None
        table = ComparedTable(world.catalog, "lake", world.contract, KEY)
        with open_connection(replica.dsn, session(PACE), autocommit=True) as connection:
            source = Source(connection, table.shown, table.schema, KEY.secret, PACE, lambda _: None)
            outcome, _ = reconcile(table, source, 1.0, 0, lambda _: None, lambda _: None)
            assert outcome.is_equal, "neither side has the update"
            assert outcome.began_at < row[0], "and nothing is proven of when it was committed"
            standby.execute("SELECT pg_wal_replay_resume()")

            def has_the_update() -> bool:
                return standby_has(replica, "lost on the way to the lake")

            wait_until(has_the_update, 60, "the replica replays the update")
            outcome, _ = reconcile(table, source, 1.0, 0, lambda _: None, lambda _: beat(primary))
            assert outcome.differences == {"differing": 1}


def standby_has(replica: Replica, nome: str) -> bool:
    with psycopg.connect(replica.dsn, autocommit=True) as connection:
        return connection.execute("SELECT 1 FROM t WHERE nome = %s", [nome]).fetchone() is not None
