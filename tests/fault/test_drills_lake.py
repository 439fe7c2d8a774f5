"""Drills of the compactor's alarms: each fault is produced in a raw zone, and the real compactor's metrics move."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from cdc_ops.epoch_run import Asked, tell_and_record
from compactor.lake.catalog import open_catalog
from compactor.progress import Progress, parse_progress
from compactor.statement import LAST_PROOF
from sandbox.aws import LAKE_BUCKET, Aws
from tests.compactor_world import NAMES, change
from tests.drill import PATIENCE_SECONDS, LakeScene
from tests.faulty_aws import faulty_aws
from tests.integration.test_epoch_operator import read
from tests.integration.test_epoch_source import OTHER, OURS, word
from tests.raw_zone import ShardWriter, at, event

pytestmark = pytest.mark.slow


@pytest.fixture
def scene(aws: Aws, tmp_path: Path) -> Iterator[LakeScene]:
    made = LakeScene(aws, tmp_path, f"drill_{next(NAMES)}")
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def catalog(aws_environment: dict[str, str]) -> Catalog:
    return open_catalog("lake")


def progress_of(catalog: Catalog, scene: LakeScene) -> Progress:
    return parse_progress(catalog.load_table(("lake", scene.name)).properties, scene.name)


def snapshot(scene: LakeScene, shard: ShardWriter, name: str, source: str, *reads: bytes, seconds: float) -> None:
    scene.put(shard, *reads, marks=[word(name, source, shard, seconds=seconds)])
    scene.put(shard, marks=[word(name, source, shard, seconds=seconds, reads=len(reads))], evidence=at(seconds))


def test_what_cannot_be_merged_and_columns_without_a_contract(scene: LakeScene) -> None:
    shard, sees = scene.shard(), scene.monitor
    scene.put(shard, change("c", 5, 1, "a", "x"))
    scene.start()
    sees.wait_until_over("not-merging", "changes-quarantined", "columns-held")
    extra = event("c", 7, {"id": 2, "nome": "b", "bio": "y", "cor": "z"}, table="t")
    scene.put(shard, b'{"no": "event"}', extra)
    sees.wait("changes-quarantined", "columns-held")
    scene.contract = scene.contract.replace("value: public.t}", "value: public.t}, {property: leftOut, value: [cor]}")
    scene.restart()
    sees.wait_until_over("changes-quarantined", "columns-held", "not-merging")


def test_a_named_column_whose_older_values_nobody_knows(scene: LakeScene) -> None:
    shard, sees = scene.shard(), scene.monitor
    scene.put(shard, change("c", 5, 1, "a", "x"))
    scene.put(shard, event("c", 7, {"id": 2, "nome": "b", "bio": "y", "cor": "z"}, table="t"))
    scene.start()
    sees.wait("columns-held")
    named = "      - {name: cor, physicalType: text, classification: internal}\nslaProperties"
    scene.contract = scene.contract.replace("slaProperties", named)
    scene.restart()
    sees.wait("columns-waiting")
    # Once the older row has changed as well, all values are known.
    scene.put(shard, event("u", 9, {"id": 1, "nome": "a", "bio": "x", "cor": "w"}, table="t"))
    sees.wait_until_over("columns-waiting")


def test_a_change_that_waits_for_another_shard(scene: LakeScene) -> None:
    left, right, sees = scene.shard(0), scene.shard(1), scene.monitor
    scene.put(left, change("c", 5, 1, "a", "x"), evidence=at(5))
    scene.put(right, change("c", 7, 2, "a"), evidence=at(30))
    scene.start()
    sees.wait("shards-held")
    scene.put(left, change("d", 7, 1), evidence=at(40))
    sees.wait_until_over("shards-held")


def test_an_epoch_that_nobody_recorded(scene: LakeScene, catalog: Catalog) -> None:
    shard, sees = scene.shard(), scene.monitor
    scene.put(shard, read(1, 1, "a", "x"), change("u", 100, 1, "a2"))
    scene.put(shard, read(500, 1, "new", "n"))
    scene.start()
    sees.wait("epoch-waits")
    told: list[str] = []
    agreed = Asked(scene.name, {}, is_agreed=True)
    code = tell_and_record(scene.store, progress_of(catalog, scene), agreed, told.append, lambda: None)
    assert code == 0
    sees.wait_until_over("epoch-waits")


def test_a_snapshot_of_another_database(scene: LakeScene) -> None:
    shard, sees = scene.shard(), scene.monitor
    snapshot(scene, shard, "first", OURS, change("r", 0, 1, "a", "x"), seconds=10)
    scene.start()
    scene.wait_for_rows(1)
    snapshot(scene, shard, "wrong", OTHER, change("r", 0, 1, "no", "no"), seconds=500)
    sees.wait("snapshot-refused")
    # The publisher is back at the table's own database: what came of the other one is left out.
    snapshot(scene, shard, "second", OURS, change("r", 0, 1, "b", "x"), seconds=400)
    sees.wait("records-discarded")
    sees.wait_until_over("snapshot-refused", "records-discarded")


def test_another_writer_commits(scene: LakeScene, catalog: Catalog) -> None:
    shard, sees = scene.shard(), scene.monitor
    scene.put(shard, change("c", 5, 1, "a", "x"))
    scene.start()
    scene.wait_for_rows(1)
    table = catalog.load_table(("lake", scene.name))
    assert table.current_snapshot() is not None
    table.append(pa.Table.from_pylist([], schema=table.schema().as_arrow()))
    scene.put(shard, change("u", 9, 1, "b", "y"))
    sees.wait("foreign-commits")
    sees.wait_until_over("foreign-commits", "not-merging")


def test_a_broken_chain_ends_the_compactor_again_and_again(scene: LakeScene, aws: Aws) -> None:
    shard, sees, s3 = scene.shard(), scene.monitor, aws.client("s3")
    for number in range(3):
        scene.put(shard, change("c", 5 + number, number, "a", "x"))
    listed = s3.list_objects_v2(Bucket=LAKE_BUCKET, Prefix=f"{scene.name}/raw/_batches/")["Contents"]
    key = sorted(one["Key"] for one in listed)[1]
    body = s3.get_object(Bucket=LAKE_BUCKET, Key=key)["Body"].read()
    s3.delete_object(Bucket=LAKE_BUCKET, Key=key)
    for _ in range(5):  # an orchestrator would do so
        assert scene.start().finish(PATIENCE_SECONDS) == 1
    scene.process = None
    sees.wait("chain-broken", "program-failed", "program-restarts", "not-merging")
    s3.put_object(Bucket=LAKE_BUCKET, Key=key, Body=body)
    scene.start()
    sees.wait_until_over("chain-broken", "program-failed", "program-restarts", "not-merging")


def test_a_table_that_was_never_proven_and_a_status_that_cannot_be_told(
    scene: LakeScene, catalog: Catalog, aws: Aws
) -> None:
    shard, sees = scene.shard(), scene.monitor
    scene.put(shard, change("c", 5, 1, "a", "x"))
    with faulty_aws(aws.port) as proxy, proxy.refusing("status", lambda request: b"cdc_status" in request.body):
        scene.start(PYICEBERG_CATALOG__LAKE__GLUE__ENDPOINT=proxy.url)
        scene.wait_for_rows(1)
        sees.wait("proof-old")
        sees.wait("status-stale", scale=10)  # one failure, not six a minute apart
    scene.restart()
    scene.wait_for_rows(1)
    sees.wait_until_over("status-stale")
    table = catalog.load_table(("lake", scene.name))
    with table.transaction() as transaction:
        transaction.set_properties({LAST_PROOF: datetime.now(UTC).isoformat()})
    scene.put(shard, change("u", 9, 1, "b", "y"))
    sees.wait_until_over("proof-old")
