"""A world whose status is told: its sources, and damage planted in its raw zone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import msgspec

from cdc.raw import BatchRecord
from cdc_ops.report import Level, Report
from cdc_ops.status_read import Sources, read_status
from compactor.lake.view import look
from tests.compactor_world import World
from tests.raw_zone import MemoryObjects


def status_of(world: World, now: datetime, level: Level | None = None) -> Report:
    sources = Sources(lambda name: look(world.catalog, "lake", name), world.raw, world.quarantine)
    with ThreadPoolExecutor(2) as threads:
        return read_status([world.contract], sources, now, threads, level)


def kinds(report: Report) -> set[str]:
    return {problem.kind for problem in report.problems}


def batches(store: MemoryObjects) -> list[str]:
    return sorted(path for path in store.objects if path.startswith("_batches/"))


def raw_objects(store: MemoryObjects) -> list[str]:
    return sorted(path for path in store.objects if path.startswith("postgres/"))


def rewrite(store: MemoryObjects, path: str, **changes: object) -> None:
    """A batch record with other content."""
    record = msgspec.json.decode(store.objects[path], type=BatchRecord)
    store.put(path, msgspec.json.encode(msgspec.structs.replace(record, **changes)))
