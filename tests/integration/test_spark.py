"""Spark, the engine that Iceberg itself is tested with, reads in the lake what DuckDB and pyiceberg read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import spark_lake
from tests.lake_machine.columns_change import ColumnsChange
from tests.lake_machine.contract import COMPOSITE_KEYS
from tests.lake_machine.epochs_begin import EpochsBegin
from tests.lake_machine.lively import lively_run, prepare
from tests.lake_machine.machine import LakeMachine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not spark_lake.IS_HERE, reason=spark_lake.REASON),
    # Spark's client uses what Python deprecates, and leaves its sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Whole(EpochsBegin, ColumnsChange):
    """Columns that come and go, and epochs."""


class Composite(Whole):
    """A key of a text and a number."""

    key_columns = (("ramo", "text"), ("id", "bigint"))
    keys = COMPOSITE_KEYS


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    session = spark_lake.start_spark(tmp_path_factory.mktemp("spark"))
    yield session
    session.stop()


@pytest.mark.parametrize("machine", [Whole, Composite])
def test_spark_reads_what_the_others_read(spark: Any, machine: type[LakeMachine], tmp_path: Path) -> None:
    prepare(machine, tmp_path)
    compared = 0
    for seed in range(2):
        world = lively_run(machine, seed)
        table = world.view.table.table
        keys, columns = machine.key_columns, sorted(machine.readers.columns(table))
        names = (*(name for name, _ in keys), *columns, "cdc_epoch", "cdc_lsn", "cdc_ordinal")
        listed = [*names, "unix_micros(cdc_committed_at) AS moment"]
        read = spark.read.format("iceberg").load(table.metadata_location).selectExpr(*listed).collect()
        rows = {tuple(row)[: len(keys)]: tuple(row)[len(keys) :] for row in read}
        ours = {
            key: (*(value for _, value in row.values), *row.position, round(row.committed_at.timestamp() * 1e6))
            for key, row in machine.readers.rows(table).items()
        }
        assert len(read) == len(rows)
        assert rows == ours
        compared += len(rows)
    assert compared
