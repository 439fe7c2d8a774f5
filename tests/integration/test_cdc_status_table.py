"""The table `cdc_status`: one row a table, one small file, and nothing that grows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pyiceberg.catalog import Catalog

from cdc.contract import parse_contract
from compactor.lake.catalog import open_catalog
from compactor.lake.landing import CommitConflict
from compactor.lake.status_table import KEPT, StatusTable
from compactor.progress import Progress
from compactor.statement import Statement, statement
from sandbox.aws import Aws
from sandbox.reports import open_lake
from tests.compactor_world import CONTRACT, World, change, put
from tests.raw_zone import event

pytestmark = pytest.mark.slow
NOW = datetime.now(UTC).replace(microsecond=0)


def told(seconds: float, table: str = "t") -> Statement:
    contract = parse_contract(CONTRACT.format(name=table))
    return statement(contract, Progress(), 3, ("cor",), {}, NOW + timedelta(seconds=seconds))


@pytest.fixture
def catalog(aws: Aws, aws_environment: dict[str, str]) -> Iterator[Catalog]:
    """The lake's catalog, with an empty namespace for the statements."""
    opened = open_catalog("lake")
    opened.create_namespace_if_not_exists("herald")
    yield opened
    if opened.table_exists("herald.cdc_status"):
        opened.purge_table("herald.cdc_status")


def test_a_statement_is_read_back_as_it_was_written_also_by_duckdb(catalog: Catalog, aws: Aws) -> None:
    board = StatusTable(catalog, "herald")
    assert board.read() == {}
    statements = {"t": told(0), "u": replace(told(1, "u"), valid_through=NOW, source_lsn=2**62)}
    board.replace(statements, NOW)
    assert StatusTable(catalog, "herald").read() == statements
    location = catalog.load_table("herald.cdc_status").metadata_location
    with open_lake(aws.environment()) as duck:
        query = f"SELECT table_name, row_count, held_columns, source_lsn FROM iceberg_scan('{location}') ORDER BY ALL"
        assert duck.execute(query).fetchall() == [("t", 3, '["cor"]', None), ("u", 3, '["cor"]', 2**62)]


def test_many_refreshes_leave_no_more_files_than_a_few(catalog: Catalog, aws: Aws) -> None:
    board = StatusTable(catalog, "herald")
    for minute in range(30):
        board.replace({"t": told(60 * minute)}, NOW + timedelta(minutes=60))
    table = catalog.load_table("herald.cdc_status")
    assert len(table.metadata.snapshots) <= 2
    bucket, prefix = table.location().removeprefix("s3://").split("/", 1)
    listed = aws.client("s3").list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/")["Contents"]
    kinds = Counter(entry["Key"].rsplit(".", 1)[-1] for entry in listed if not entry["Key"].endswith("/"))
    # Two snapshots, each with data, two manifests and their list; 20 logged metadata files and the current one.
    assert kinds == {"parquet": 2, "avro": 6, "json": 21}
    assert StatusTable(catalog, "herald").read() == {"t": told(60 * 29)}


def test_a_snapshot_of_the_last_minutes_stays_readable(catalog: Catalog) -> None:
    board = StatusTable(catalog, "herald")
    for minute in range(4):
        board.replace({"t": told(60 * minute)}, NOW)
    table = catalog.load_table("herald.cdc_status")
    for snapshot in table.metadata.snapshots:
        assert table.scan(snapshot_id=snapshot.snapshot_id).to_arrow().num_rows == 1


def test_a_file_that_a_kept_snapshot_still_has_is_not_deleted(catalog: Catalog) -> None:
    StatusTable(catalog, "herald").replace({"t": told(0)}, NOW)
    table = catalog.load_table("herald.cdc_status")
    table.append(table.scan().to_arrow())  # another engine's INSERT: its snapshot has both files
    foreign = table.metadata.current_snapshot()
    assert foreign is not None
    now = datetime.fromtimestamp(foreign.timestamp_ms / 1000, UTC) + KEPT
    StatusTable(catalog, "herald").replace({"t": told(60)}, now)
    table = catalog.load_table("herald.cdc_status")
    assert len(table.metadata.snapshots) == 2
    assert table.scan(snapshot_id=foreign.snapshot_id).to_arrow().num_rows == 2


def test_of_two_writers_the_second_is_told(catalog: Catalog) -> None:
    first, second = StatusTable(catalog, "herald"), StatusTable(catalog, "herald")
    first.replace({"t": told(0)}, NOW)
    with pytest.raises(CommitConflict):
        second.replace({"u": told(0, "u")}, NOW)
    assert list(StatusTable(catalog, "herald").read()) == ["t"]


def test_a_compactor_states_its_table(world: World) -> None:
    shard = world.shard()
    assert world.compactor.statement(NOW) is None
    row = {"id": 1, "nome": "a", "bio": "x", "cor": "azul"}
    put(shard, world.contract, event("c", 5, row, table="t"), change("c", 6, 2, "b", "y"), b"{}", seconds=6)
    world.merge()
    said = world.compactor.statement(NOW)
    assert said is not None
    assert (said.row_count, said.quarantined, said.quarantined_by_reason) == (2, 1, '{"not-debezium":1}')
    assert said.held_columns == '["cor"]'
    assert "azul" not in repr(said)
