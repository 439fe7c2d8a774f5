"""A raw zone made by hand: what the consumer would have written, for tests of the compactor."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import msgspec

from cdc import raw
from cdc.objects import ObjectStore
from cdc.raw import BatchRecord, Evidence, ObjectRef, RawLine

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
PLACEHOLDER = "__debezium_unavailable_value"
NO_MARKS: Mapping[int, raw.SnapshotWord] = MappingProxyType({})


class MemoryObjects:
    """The object store in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put_new(self, path: str, body: bytes) -> None:
        assert self.objects.setdefault(path, body) == body

    def put_if_absent(self, path: str, body: bytes) -> bool:
        return self.objects.setdefault(path, body) is body

    def put(self, path: str, body: bytes) -> None:
        self.objects[path] = body

    def get(self, path: str) -> bytes:
        return self.objects[path]

    def list_after(self, prefix: str, after: str = "") -> Any:
        return iter(sorted(path for path in self.objects if path.startswith(prefix) and path > after))

    def sizes(self, prefix: str, after: str = "") -> Any:
        return ((path, len(self.objects[path])) for path in self.list_after(prefix, after))

    def list_folders(self, prefix: str) -> Any:
        below = (path[len(prefix) :] for path in self.objects if path.startswith(prefix))
        return iter(sorted({rest.split("/")[0] for rest in below if "/" in rest}))


def at(seconds: float) -> datetime:
    """A commit time at the source."""
    return START + timedelta(seconds=seconds)


def event(
    op: str, lsn: int, row: dict[str, Any] | None, *, table: str = "Usuários", seconds: float | None = None
) -> bytes:
    """A Debezium event; the row is `before` of a delete, else `after`. Commit time follows the LSN unless given."""
    moment = at(lsn if seconds is None else seconds)
    source = {
        "schema": "public", "table": table, "lsn": lsn, "ts_us": round(moment.timestamp() * 1e6),
        "snapshot": "true" if op == "r" else "false",
    }  # fmt: skip
    before, after = (row, None) if op == "d" else (None, row)
    return json.dumps({"before": before, "after": after, "source": source, "op": op}, ensure_ascii=False).encode()


@dataclass
class ShardWriter:
    """Writes batches of one shard; sequence numbers count up."""

    store: ObjectStore
    shard: str = "shardId-000000000000"
    stream: str = "usuarios-20261121T000000Z"
    upto: int = raw.START

    def __post_init__(self) -> None:
        tip = raw.Tip(None, str(raw.START))
        self.store.put_if_absent(raw.tip_path(self.stream, self.shard), msgspec.json.encode(tip))

    def batch(
        self,
        events: Sequence[bytes | None],
        *,
        table: str = "usuarios",
        evidence: datetime | None = None,
        after: int | None = None,
        closed: bool = False,
        children: tuple[str, ...] = (),
        marks: Sequence[raw.SnapshotWord] = (),
        marks_at: Mapping[int, raw.SnapshotWord] = NO_MARKS,
    ) -> None:
        """Write a batch of events; `after` re-reads from an earlier sequence number, as a zombie or a restart would.

        An event that is None is a record of which nothing is kept for this table, such as a heartbeat. `marks` are a
        publisher's words of its snapshots, ahead of the events; `marks_at` are such in the place of some events.
        """
        start = self.upto if after is None else after
        numbers = range(start + 1 + len(marks), start + 1 + len(marks) + (len(events) or not marks))
        upto = numbers[-1] if numbers else start + len(marks)
        refs: tuple[ObjectRef, ...] = ()
        if any(events):
            lines = [
                msgspec.json.encode(
                    RawLine(self.shard, str(number), 0, START.isoformat(), msgspec.Raw(raw.one_line(body)))
                )
                for number, body in zip(numbers, events, strict=True)
                if body is not None
            ]
            content = raw.encode_lines(lines)
            path = raw.object_path(table, self.stream, self.shard, start, upto, START)
            self.store.put_new(path, content)
            refs = (
                ObjectRef(
                    path, table, len(lines), len(content), raw.sha256(content), sum(map(len, lines)) + len(lines)
                ),
            )
        record = BatchRecord(
            self.stream, self.shard, str(start), str(upto), refs,
            evidence=Evidence(evidence, 0) if evidence else None, closed=closed, children=children, tables=(table,),
            marks=(
                *(raw.SnapshotMark(str(number), word) for number, word in enumerate(marks, start + 1)),
                *(raw.SnapshotMark(str(numbers[place]), word) for place, word in sorted(marks_at.items())),
            ),
        )  # fmt: skip
        path = raw.batch_path(self.stream, self.shard, start, upto)
        self.store.put_new(path, msgspec.json.encode(record))
        self.upto = max(self.upto, upto)
