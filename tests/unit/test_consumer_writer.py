"""Writing a batch where another try has written before: the same, the same in other bytes, and something else."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from cdc.objects import OtherContent
from cdc.raw import sha256
from cdc_consumer.backoff import FaultReport
from cdc_consumer.batch import Batch, OpenBatch, Place, build
from cdc_consumer.clock import SYSTEM_CLOCK
from cdc_consumer.filing import file_record
from cdc_consumer.halt import Halt
from cdc_consumer.stream import Record
from cdc_consumer.writer import BatchWriter
from tests.kpl import aggregate
from tests.raw_zone import MemoryObjects

TABLES = {("public", "Usuários"): "usuarios", ("public", "pedidos"): "pedidos"}


class Objects(MemoryObjects):
    """Objects in memory that never change."""

    def put_new(self, path: str, body: bytes) -> None:
        if self.objects.setdefault(path, body) != body:
            raise OtherContent("other content", where=path)


def event(table: str, number: int) -> bytes:
    source = {"schema": "public", "table": table, "lsn": number}
    return json.dumps({"op": "c", "source": source, "after": {"id": number}}, ensure_ascii=False).encode()


def batch() -> Batch:
    records = OpenBatch()
    data = aggregate([event("Usuários", 1), event("pedidos", 2), b"{", event("Usuários", 3)])
    records.add(file_record("0", Record("7", datetime(2026, 11, 21, tzinfo=UTC), data), TABLES))
    return build(Place("s-1", "0", "0"), records, TABLES.values())


@dataclass
class Stores:
    raw: Objects = field(default_factory=Objects)
    quarantine: Objects = field(default_factory=Objects)

    def write(self) -> Batch:
        report = FaultReport(SYSTEM_CLOCK.monotonic, "0")
        return BatchWriter(self.raw, self.quarantine, Halt(SYSTEM_CLOCK), lambda: 0.0, report).write(batch())


@pytest.fixture
def stores() -> Stores:
    return Stores()


def test_several_tables_out_of_one_record_have_an_object_each(stores: Stores) -> None:
    written = stores.write()
    assert written == batch()
    assert [(ref.table, ref.records) for ref in written.record.objects] == [("pedidos", 1), ("usuarios", 2)]
    assert len(stores.raw.objects) == 3
    assert len(stores.quarantine.objects) == 1


def test_writing_again_changes_nothing(stores: Stores) -> None:
    stores.write()
    before = dict(stores.raw.objects)
    assert stores.write() == batch()
    assert stores.raw.objects == before


def test_objects_with_the_same_lines_in_other_bytes_stay_and_are_named(stores: Stores) -> None:
    ours = batch()
    path, body = ours.objects[1]
    there = gzip.compress(gzip.decompress(body), 9, mtime=1)
    stores.raw.objects[path] = there
    lost = ours.quarantine[0]
    stores.quarantine.objects[lost.path] = gzip.compress(gzip.decompress(lost.body), 9)
    written = stores.write()
    assert stores.raw.objects[path] == there
    assert written.record.objects[0] == ours.record.objects[0]
    ref = written.record.objects[1]
    assert (ref.path, ref.bytes, ref.sha256, ref.records) == (path, len(there), sha256(there), 2)
    assert json.loads(stores.raw.objects[ours.path])["objects"][1]["sha256"] == sha256(there)


def test_objects_with_other_lines_stop_the_shard_before_the_batch_record(stores: Stores) -> None:
    path, _ = batch().objects[0]
    stores.raw.objects[path] = gzip.compress(b"{}\n")
    with pytest.raises(OtherContent):
        stores.write()
    assert batch().path not in stores.raw.objects
