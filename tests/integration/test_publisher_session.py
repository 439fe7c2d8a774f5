"""A session in this process, on a real Postgres and a stream that answers when the test lets it."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from random import Random
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import conninfo

from cdc.errors import FatalFault, TransientFault
from cdc_publisher import session
from cdc_publisher.connection import connect
from cdc_publisher.envelope import Event
from cdc_publisher.heartbeat import Heartbeat
from cdc_publisher.outbox import Record
from cdc_publisher.publisher import Clocks
from cdc_publisher.replication import Keepalive, ReplicationStream
from cdc_publisher.sink import Outcome
from sandbox.postgres import Postgres
from sandbox.process import free_port, wait_until
from tests.publisher_support import TIMEOUT_SECONDS, database

pytestmark = pytest.mark.slow
ROWS = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres.start(tmp_path_factory.mktemp("postgres")) as server:
        yield server


class Publishing:
    """The publisher of one table; `got` are the records that were put, `stored` those that the stream took."""

    def __init__(self, postgres: Postgres, slot: str) -> None:
        self.postgres = postgres
        self.slot = slot
        self.answering = threading.Event()
        self.answering.set()
        self.got: list[Record] = []
        self.stored: list[Record] = []
        self.told: list[dict[str, Any]] = []
        self.fault: BaseException | None = None

    @contextmanager
    def running(self) -> Iterator[threading.Thread]:
        """A session as long as inside; then it is told to stop, and must."""
        dsn, clocks = self.postgres.dsn, Clocks(time.time_ns, time.monotonic)
        heartbeat = Heartbeat(lambda: connect(dsn), lambda: ("0",), 0.2, clocks.monotonic)
        job = session.Job(dsn, self.slot, (("public", "t"),), heartbeat, self._put, self._announce, clocks, Random(0))
        stop = threading.Event()

        def run() -> None:
            try:
                session.run(job, stop)
            except BaseException as error:  # noqa: BLE001 - shown by the test's thread
                self.fault = error

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield thread
        finally:
            stop.set()
            thread.join(TIMEOUT_SECONDS)
        assert not thread.is_alive()
        assert self.fault is None

    def wait_until(self, probe: Callable[[], bool], what: str) -> None:
        """Wait for something, which a session that has failed cannot bring."""

        def failed_or_holds() -> bool:
            assert self.fault is None
            return probe()

        wait_until(failed_or_holds, TIMEOUT_SECONDS, what)

    def wait_for(self, id_: int) -> None:
        """Wait until the stream has a row."""
        self.wait_until(lambda: id_ in self.ids(), f"row {id_} is in the stream")

    def ids(self) -> set[int]:
        """The keys of the rows in the stream."""
        values = [json.loads(record.data) for record in list(self.stored) if record.data]
        return {value["after"]["id"] for value in values if value["op"] != "m"}

    def slots(self) -> list[str]:
        """The slots of the database."""
        query = "SELECT slot_name FROM pg_replication_slots WHERE database = current_database() ORDER BY 1"
        with psycopg.connect(self.postgres.dsn) as connection:
            return [row[0] for row in connection.execute(query)]

    def _announce(self, event_of: Callable[[tuple[str, ...]], Event], stop: threading.Event) -> bool:
        self.told.append(json.loads(event_of(("0",)).data))
        return True

    def _put(self, records: Sequence[Record]) -> Outcome:
        answers = self.answering.is_set()
        self.got += records
        if not answers:
            self.answering.wait()
            return Outcome(frozenset(range(len(records))), "withheld")
        self.stored += records
        return Outcome(frozenset())


@pytest.fixture
def publishing(server: Postgres, request: pytest.FixtureRequest) -> Iterator[Publishing]:
    """A table of some rows in a database of the test's own."""
    name = str(request.node.name).removeprefix("test_")[:40]
    postgres = database(server, name)
    with psycopg.connect(postgres.dsn) as connection:
        connection.execute("CREATE TABLE t(id int PRIMARY KEY)")
        connection.execute("INSERT INTO t SELECT generate_series(1, %s)", [ROWS])
    publishing = Publishing(postgres, name)
    yield publishing
    publishing.answering.set()


def test_the_slot_is_not_made_before_the_stream_has_every_row(publishing: Publishing) -> None:
    publishing.answering.clear()
    with publishing.running():
        publishing.wait_until(lambda: len(publishing.got) == ROWS, "every row is on its way")
        assert publishing.slots() == [f"{publishing.slot}_backfill"]
    # It ended, as a kill would end it, before any answer: what it took for safe would show now.
    assert publishing.slots() == [f"{publishing.slot}_backfill"]
    publishing.answering.set()
    with publishing.running():
        publishing.wait_until(lambda: publishing.slots() == [publishing.slot], "the backfill is complete")
        assert publishing.ids() == set(range(1, ROWS + 1))


def test_the_shards_are_told_which_database_the_snapshot_is_of(publishing: Publishing) -> None:
    with publishing.running():
        publishing.wait_until(lambda: publishing.slots() == [publishing.slot], "the backfill is complete")
    with psycopg.connect(publishing.postgres.dsn_admin, dbname=publishing.slot) as admin:
        query = (
            "SELECT system_identifier || '/' || oid FROM pg_control_system(), pg_database "
            "WHERE datname = current_database()"
        )
        (expected,) = admin.execute(query).fetchone() or ("",)
    words = [json.loads(base64.b64decode(told["message"]["content"])) for told in publishing.told]
    assert [(word.get("is_complete", False), word["source"]) for word in words] == [(False, expected), (True, expected)]


def test_a_slot_left_over_from_the_backfill_is_dropped_when_streaming_begins(publishing: Publishing) -> None:
    with publishing.running():
        publishing.wait_until(lambda: publishing.slots() == [publishing.slot], "the backfill is complete")
    with psycopg.connect(publishing.postgres.dsn, autocommit=True) as connection:
        copy = "SELECT pg_copy_logical_replication_slot(%s, %s)"
        connection.execute(copy, [publishing.slot, f"{publishing.slot}_backfill"])
        with publishing.running():
            connection.execute("INSERT INTO t VALUES (1000)")
            publishing.wait_for(1000)
            assert publishing.slots() == [publishing.slot]


@contextmanager
def locked(postgres: Postgres) -> Iterator[None]:
    """A table that nobody else may read or publish."""
    with psycopg.connect(postgres.dsn) as connection:
        connection.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        yield


def waits_for_the_lock(postgres: Postgres) -> bool:
    query = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'cdc-publisher' AND wait_event_type = 'Lock'"
    with psycopg.connect(postgres.dsn_admin) as connection:
        return connection.execute(query).fetchone() is not None


def test_a_stop_is_heard_while_the_publication_waits_for_a_lock(publishing: Publishing) -> None:
    with locked(publishing.postgres), publishing.running():
        publishing.wait_until(lambda: waits_for_the_lock(publishing.postgres), "the session waits for the lock")
    assert publishing.slots() == []


def test_a_stop_is_heard_while_the_backfill_waits_for_a_lock(publishing: Publishing) -> None:
    with psycopg.connect(publishing.postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE PUBLICATION {publishing.slot} FOR TABLE t".encode())
        connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [f"{publishing.slot}_backfill"])
    with locked(publishing.postgres), publishing.running():
        publishing.wait_until(lambda: waits_for_the_lock(publishing.postgres), "the session waits for the lock")
    assert publishing.slots() == [f"{publishing.slot}_backfill"]


def test_losing_the_database_while_the_slot_is_made_begins_anew(publishing: Publishing) -> None:
    making: LiteralString = (
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender' AND datname = current_database()"
    )
    with (
        psycopg.connect(publishing.postgres.dsn_admin, autocommit=True) as admin,
        psycopg.connect(publishing.postgres.dsn) as open_,
    ):
        open_.execute("INSERT INTO t VALUES (1000)")  # the slot waits for its end
        with publishing.running():
            publishing.wait_until(lambda: bool(publishing.slots()), "the slot is being made")
            first = admin.execute(making).fetchall()
            admin.execute("SELECT pg_terminate_backend(pid) FROM (" + making + ") w")
            publishing.wait_until(lambda: admin.execute(making).fetchall() not in ([], first), "it is made once more")
            open_.commit()
            publishing.wait_for(1000)


def test_a_connection_gives_up_a_source_that_acknowledges_nothing(publishing: Publishing) -> None:
    with closing(connect(publishing.postgres.dsn)) as connection:
        assert connection.info.get_parameters()["tcp_user_timeout"] == "60000"


def test_a_silent_source_answers_when_it_is_asked(publishing: Publishing) -> None:
    with publishing.running():
        publishing.wait_until(lambda: publishing.slots() == [publishing.slot], "the backfill is complete")
    with closing(connect(publishing.postgres.dsn, replication=True)) as connection:
        stream = ReplicationStream(connection, publishing.slot)
        stream.start(publishing.slot)
        heard: list[object] = []

        def answers() -> bool:
            stream.confirm(0, 0, wants_reply=True)
            heard.append(stream.read())
            return [type(one) for one in heard].count(Keepalive) > 3

        wait_until(answers, TIMEOUT_SECONDS, "it answers more often than it would by itself")


@pytest.mark.parametrize("part", ["dbname", "user", "password"])
def test_a_wrong_name_or_password_is_fatal(server: Postgres, part: str) -> None:
    dsn = conninfo.make_conninfo(server.dsn, **{part: "errado"})
    with pytest.raises(FatalFault, match="cannot connect") as caught:
        connect(dsn)
    assert "right database, user and password" in caught.value.hint


def test_a_server_that_is_not_there_is_waited_for() -> None:
    with pytest.raises(TransientFault, match="cannot connect"):
        connect(f"postgresql://app:x@127.0.0.1:{free_port()}/app")
